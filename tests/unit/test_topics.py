"""Topic matching, with the cases of the brokers' own tests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.topics import TopicTrie, matches, words

TABLE = [
    ("a.*.b", ["a.xx.b"], ["a.b"]),
    ("*.x", ["y.x", ".x"], ["x"]),
    ("x.x.*", ["x.x.y", "x.x."], ["x.x"]),
    ("a.#", ["a", "a.b", "a.b.c"], ["b", "ab"]),
    ("#.a", ["a", "x.y.a"], ["a.x"]),
    ("a.#.b", ["a.b", "a.x.b", "a..x.y.zz.b"], ["a.b.", "q.x.b"]),
    ("*.x.#.y", ["a.x.y", "a.x.p.qq.y"], ["a.a.x.y"]),
    ("*.*.*.#", ["x.y.z", "x.y.z.a.b"], ["x.y", "x"]),
    ("ab.cd.e", ["ab.cd.e"], ["ab.cd", "ab.cd.e.", ".ab.cd.e", "AB.cd.e"]),
    ("", [""], ["a", "."]),
    (".", ["."], ["", "a"]),
    ("#", ["", "a", "a.b", "#", "*"], []),
    ("*", ["a", "#"], ["", "a.b"]),
    ("#.*.#", ["a", "a.b"], [""]),
    ("#.#", ["", "a", "a.b"], []),
    ("pulp.server.#", ["pulp.server", "pulp.server.repo.sync.start"], ["pulp.serverx.a"]),
    ("pulp.server.repo.*", ["pulp.server.repo.x"], ["pulp.server.repo.sync.start"]),
    ("sync*", ["sync*"], ["sync", "syncs", "sync.a"]),
]


@pytest.mark.parametrize(("pattern", "key"), [(pattern, key) for pattern, keys, _ in TABLE for key in keys])
def test_pattern_matches(pattern: str, key: str) -> None:
    assert matches(pattern, key)


@pytest.mark.parametrize(("pattern", "key"), [(pattern, key) for pattern, _, keys in TABLE for key in keys])
def test_pattern_does_not_match(pattern: str, key: str) -> None:
    assert not matches(pattern, key)


def test_removing_one_binding_leaves_the_others_and_no_empty_branch() -> None:
    trie: TopicTrie[str] = TopicTrie()
    trie.add("a.b", "one")
    trie.add("a.b", "two")
    trie.add("a.b.c", "three")
    trie.remove("a.b", "one")
    trie.remove("a.b.c", "three")
    trie.remove("a.b.c.d", "never bound")
    assert trie.match("a.b") == {"two"}
    trie.remove("a.b", "two")
    assert not trie._root.children


texts = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=7).map(".".join)
keys = st.lists(st.sampled_from(["a", "b", ""]), max_size=7).map(".".join)


def reference(pattern: list[str], key: list[str]) -> bool:
    """The rules again, written as plainly as they are said."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(reference(pattern[1:], key[skip:]) for skip in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and reference(pattern[1:], key[1:])


@given(st.lists(texts, max_size=8), keys)
def test_trie_agrees_with_the_rules(patterns: list[str], key: str) -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in patterns:
        trie.add(pattern, pattern)
    assert trie.match(key) == {pattern for pattern in patterns if reference(words(pattern), words(key))}
