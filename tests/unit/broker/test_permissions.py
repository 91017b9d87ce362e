"""Name patterns, and what grants allow."""

import pytest

from pulpit.broker.permissions import (
    CONFIGURE,
    EXCHANGE,
    QUEUE,
    READ,
    WRITE,
    AllRights,
    Grant,
    GrantedRights,
    fits,
)
from pulpit.broker.refusals import ChannelRefusal

ALONE = frozenset({WRITE})


def rights(*grants: Grant) -> GrantedRights:
    return GrantedRights(user="ann", host="/", grants=grants)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("", ""), ("a", "a"), ("*", ""), ("*", "a.b"), ("a*", "a"), ("a*", "abc"), ("*c", "abc"), ("a*c", "ac"),
        ("a*b*c", "a1b2c"), ("a**c", "abc"), ("*b*", "abc"), ("a*a", "aa"), ("*ab*ab*", "abab"), ("a.*", "a."),
        ("[a]?", "[a]?"), ("a*\n*b", "a1\n2b"),
    ],
)  # fmt: skip
def test_names_fit(pattern: str, name: str) -> None:
    assert fits(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("", "a"), ("a", ""), ("a", "A"), ("a*", "ba"), ("*c", "cd"), ("a*a", "a"), ("a*b*c", "acb"),
        ("*ab*ab*", "aba"), ("a.*", "a"), ("a?", "ab"), ("a", "a\n"), ("a*b*b", "ab"),
    ],
)  # fmt: skip
def test_names_do_not_fit(pattern: str, name: str) -> None:
    assert not fits(pattern, name)


def test_a_long_pattern_costs_no_time() -> None:
    assert not fits("*a" * 500 + "b", "a" * 255)


def test_nothing_is_allowed_that_no_grant_names() -> None:
    mine = rights(Grant(operations=ALONE, kinds=frozenset({QUEUE}), name="q"))
    mine.require(WRITE, QUEUE, "q")
    for asked in ((READ, QUEUE, "q"), (WRITE, EXCHANGE, "q"), (WRITE, QUEUE, "other")):
        for _ in range(2):  # a verdict that is remembered is the same
            with pytest.raises(ChannelRefusal) as refused:
                mine.require(*asked)
            assert refused.value.code == 403
    AllRights().require(CONFIGURE, EXCHANGE, "anything")


def test_a_grant_for_some_keys_counts_where_a_key_decides() -> None:
    mine = rights(Grant(name="x", key="zoo.*"), Grant(name="x", key="farm"))
    mine.require(WRITE, EXCHANGE, "x", "zoo.sync")
    mine.require(WRITE, EXCHANGE, "x", "farm")
    with pytest.raises(ChannelRefusal, match=r"topic 'zoo\.a\.b' in exchange 'x'"):
        mine.require(WRITE, EXCHANGE, "x", "zoo.a.b")
    with pytest.raises(ChannelRefusal, match="access to exchange 'x'"):
        mine.require(READ, EXCHANGE, "x")
    rights(Grant(name="x", key="zoo.*"), Grant(name="x")).require(READ, EXCHANGE, "x")


def test_the_nameless_exchange_is_called_as_in_rabbitmq() -> None:
    rights(Grant(kinds=frozenset({EXCHANGE}), name="amq.default")).require(WRITE, EXCHANGE, "", "q")
    with pytest.raises(ChannelRefusal, match="queue ''"):
        rights(Grant(kinds=frozenset({QUEUE}), name="amq.default")).require(WRITE, QUEUE, "")
