"""The topic exchange: binding keys are patterns, kept in a trie."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pulpit.broker.exchanges.port import Binding, Destination
from pulpit.broker.refusals import Refusal
from pulpit.topics import TopicTrie


class Topic:
    """A trie of patterns; bindings that do not match cost nothing."""

    by_headers: ClassVar[bool] = False
    ignores_keys: ClassVar[bool] = False

    def __init__(self) -> None:
        self._trie: TopicTrie[Binding] = TopicTrie()

    def check(self, arguments: Mapping[str, Any]) -> Refusal | None:  # noqa: ARG002 - the port's
        """Any arguments will do."""
        return None

    def add(self, binding: Binding) -> None:
        """Plant the pattern."""
        self._trie.add(binding.key, binding)

    def remove(self, binding: Binding) -> None:
        """Cut the pattern out."""
        self._trie.remove(binding.key, binding)

    def match(self, key: str, headers: Mapping[str, Any]) -> Iterable[Destination]:  # noqa: ARG002 - the port's
        """Walk the trie along the key."""
        return [binding.destination for binding in self._trie.match(key)]
