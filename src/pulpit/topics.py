# SPDX-License-Identifier: Apache-2.0
"""AMQP topic patterns: a trie that is built when a pattern is bound and walked when a key is matched.

The rules (AMQP 0-9-1 section 3.1.3.3, with RabbitMQ's reading of the empty key):

* keys and patterns are words separated by `.`; a whole pattern matches a whole key; matching is case-sensitive;
* `*` as a whole word stands for exactly one word, which may be empty;
* `#` as a whole word stands for zero or more words;
* `*` or `#` inside a longer word is an ordinary character;
* the empty key has no words, so `#` and the empty pattern match it, and `*` does not.
"""

from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

ANY_WORD: Final = "*"
ANY_WORDS: Final = "#"

T = TypeVar("T", bound=Hashable)


def words(text: str) -> list[str]:
    """Split a key or a pattern; the empty text has no words."""
    return text.split(".") if text else []


class _Node(Generic[T]):
    """One position reached by the words of some pattern."""

    __slots__ = ("absorbs", "children", "values")

    def __init__(self, *, absorbs: bool) -> None:
        self.absorbs: Final = absorbs  # reached by `#`, so every further word may stay here
        self.children: dict[str, _Node[T]] = {}
        self.values: set[T] = set()


class TopicTrie(Generic[T]):
    """Values bound to topic patterns, looked up by key.

    Matching costs what the matching part of the trie costs: patterns that do not match are never looked at, however
    many there are. Several `#` in one pattern cannot make it explode, because the walk keeps one set of positions.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node(absorbs=False)

    def add(self, pattern: str, value: T) -> None:
        """Bind `value` to `pattern`; binding it again has no effect."""
        node = self._root
        for word in words(pattern):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = _Node(absorbs=word == ANY_WORDS)
            node = child
        node.values.add(value)

    def remove(self, pattern: str, value: T) -> None:
        """Remove one binding and prune the branch that it leaves empty; an unknown one is ignored."""
        path = list(self._path(pattern))
        if len(path) != len(words(pattern)):
            return
        node = path[-1][2] if path else self._root
        node.values.discard(value)
        for parent, word, child in reversed(path):
            if child.values or child.children:
                return
            del parent.children[word]

    def match(self, key: str) -> set[T]:
        """Return all values with a pattern that matches `key`."""
        positions = self._with_empty_runs({self._root})
        for word in words(key):
            positions = self._with_empty_runs(self._step(positions, word))
            if not positions:
                return set()
        found: set[T] = set()
        for node in positions:
            found |= node.values
        return found

    def _path(self, pattern: str) -> Iterator[tuple[_Node[T], str, _Node[T]]]:
        node = self._root
        for word in words(pattern):
            child = node.children.get(word)
            if child is None:
                return
            yield node, word, child
            node = child

    @staticmethod
    def _step(positions: set[_Node[T]], word: str) -> set[_Node[T]]:
        """Return every position that one more word of the key leads to."""
        reached: set[_Node[T]] = set()
        for node in positions:
            if node.absorbs:
                reached.add(node)
            for name in (word, ANY_WORD):
                child = node.children.get(name)
                if child is not None and not child.absorbs:
                    reached.add(child)
        return reached

    @staticmethod
    def _with_empty_runs(positions: set[_Node[T]]) -> set[_Node[T]]:
        """Add what `#` reaches by standing for no word."""
        for node in list(positions):
            child = node.children.get(ANY_WORDS)
            while child is not None:
                positions.add(child)
                child = child.children.get(ANY_WORDS)
        return positions


def matches(pattern: str, key: str) -> bool:
    """Whether one pattern matches one key."""
    trie: TopicTrie[bool] = TopicTrie()
    trie.add(pattern, True)
    return bool(trie.match(key))


def covers(pattern: str, other: str) -> bool:
    """Whether a pattern matches every key that another one matches; a key without wildcards is also a pattern.

    True is certain. False may be wrong for an equivalent pattern written in an unusual way: `*.#` for `#.*`.
    """
    wide, narrow = words(pattern), words(other)
    reached = {0}  # how many words of `wide` may be used up
    for word in narrow:
        reached = {
            at if wide[at] == ANY_WORDS else at + 1
            for at in _past_empty_runs(wide, reached)
            if at < len(wide) and _takes(wide[at], word)
        }
    return len(wide) in _past_empty_runs(wide, reached)


def _takes(wide: str, narrow: str) -> bool:
    return wide in (ANY_WORDS, narrow) or (wide == ANY_WORD and narrow != ANY_WORDS)


def _past_empty_runs(wide: list[str], reached: set[int]) -> set[int]:
    """Add what is reached by letting `#` stand for no word."""
    found = set(reached)
    for at in range(len(wide)):
        if at in found and wide[at] == ANY_WORDS:
            found.add(at + 1)
    return found
