"""Exchanges: kinds and routing, declaring and deleting, bindings between exchanges, alternates, copies."""

import itertools
import os
from collections.abc import Iterable
from typing import Any

import pytest
from pamqp import commands

from support.amqp import Wire, refused

_numbers = itertools.count()


def unused(what: str = "exchange") -> str:
    return f"{what}-{os.getpid()}-{next(_numbers)}"


def arrived(wire: Wire, queues: Iterable[str]) -> list[list[bytes]]:
    return [wire.drain(queue) for queue in queues]


@pytest.mark.parametrize("name", ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"])
def test_the_exchanges_of_the_standard_are_there(port: int, name: str) -> None:
    kind = "headers" if name == "amq.match" else name.removeprefix("amq.")
    with Wire(port) as wire:
        wire.exchange(name, kind, passive=True)
        wire.exchange(name, kind, durable=True)


def test_the_default_exchange_routes_by_queue_name(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"x", queue)
        assert wire.drain(queue) == [b"x"]


@pytest.mark.parametrize(
    "method",
    [
        commands.Queue.Bind(0, "QUEUE", "", "k"),
        commands.Queue.Unbind(0, "QUEUE", "", "k"),
        commands.Exchange.Declare(0, "", "direct"),
        commands.Exchange.Delete(0, ""),
        commands.Exchange.Bind(0, "amq.topic", "", "k"),
        commands.Exchange.Bind(0, "", "amq.topic", "k"),
    ],
)
def test_nothing_else_may_be_done_to_the_default_exchange(port: int, method: Any) -> None:
    with Wire(port) as wire:
        if hasattr(method, "queue"):
            method.queue = wire.queue()
        with refused(403, "ACCESS_REFUSED - operation not permitted on the default exchange"):
            wire.call(method)


def test_a_missing_exchange_is_not_found(port: int) -> None:
    with Wire(port) as wire, refused(404, "NOT_FOUND - no exchange 'none' in vhost '/'", cause=(40, 10)):
        wire.exchange("none", passive=True)
    with Wire(port) as wire, refused(404, "no exchange 'none' in vhost '/'", cause=(60, 40)):
        wire.publish(b"x", "k", exchange="none")
        wire.expect(commands.Basic.Ack)
    with Wire(port) as wire, refused(404, "no exchange 'none' in vhost '/'"):
        wire.bind(wire.queue(), "none")
    with Wire(port) as wire:
        wire.call(commands.Exchange.Delete(0, "none"), answer=commands.Exchange.DeleteOk)


def test_reserved_names_are_refused(port: int) -> None:
    with Wire(port) as wire, refused(403, "exchange name 'amq.mine' contains reserved prefix 'amq.*'", cause=(40, 10)):
        wire.exchange("amq.mine")
    with (
        Wire(port) as wire,
        refused(403, "deletion of system exchange 'amq.topic' in vhost '/' not allowed", cause=(40, 20)),
    ):
        wire.call(commands.Exchange.Delete(0, "amq.topic"))


@pytest.mark.rabbitmq_4_differs("closes the channel with 406")
def test_an_unknown_kind_is_refused(port: int) -> None:
    with Wire(port) as wire, refused(503, "COMMAND_INVALID - unknown exchange type 'odd'", hard=True, cause=(40, 10)):
        wire.exchange(unused(), "odd")


@pytest.mark.parametrize(
    ("kind", "flags", "text"),
    [
        (
            "fanout",
            {},
            "inequivalent arg 'type' for exchange 'NAME' in vhost '/': received 'fanout' but current is 'topic'",
        ),
        (
            "topic",
            {"durable": True},
            "inequivalent arg 'durable' for exchange 'NAME' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            "topic",
            {"auto_delete": False},
            "inequivalent arg 'auto_delete' for exchange 'NAME' in vhost '/': received 'false' but current is 'true'",
        ),
        (
            "topic",
            {"internal": True},
            "inequivalent arg 'internal' for exchange 'NAME' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            "topic",
            {"arguments": {"alternate-exchange": "x"}},
            "inequivalent arg 'alternate-exchange' for exchange 'NAME' in vhost '/'",
        ),
    ],
)
def test_declaring_again_otherwise_is_refused(port: int, kind: str, flags: dict[str, Any], text: str) -> None:
    name = unused()
    with Wire(port) as wire:
        wire.exchange(name, "topic", auto_delete=True)
        with refused(406, text.replace("NAME", name), cause=(40, 10)):
            wire.exchange(name, kind, **({"auto_delete": True} | flags))
    with Wire(port) as wire:
        wire.call(commands.Exchange.Delete(0, name))


def test_direct_matches_the_whole_key(port: int) -> None:
    with Wire(port) as wire:
        one, two = wire.queue(), wire.queue()
        wire.bind(one, "amq.direct", key := unused())
        wire.bind(two, "amq.direct", key)
        wire.bind(two, "amq.direct", key + ".more")
        wire.publish(b"x", key, exchange="amq.direct")
        wire.publish(b"y", key + ".more", exchange="amq.direct")
        assert arrived(wire, (one, two)) == [[b"x"], [b"x", b"y"]]


def test_fanout_ignores_the_key(port: int) -> None:
    name = unused()
    with Wire(port) as wire:
        wire.exchange(name, "fanout", auto_delete=True)
        queues = [wire.queue() for _ in range(3)]
        for queue in queues:
            wire.bind(queue, name, "whatever")
        wire.publish(b"x", "else", exchange=name)
        assert arrived(wire, queues) == [[b"x"]] * 3


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#", "a.b", True),
        ("*", "", False),
        ("*.b", "a.b", True),
        ("#.b", "b", True),
        ("#.b", "x.y.b", True),
        ("a.#.z", "a.z", True),
        ("a.#.z", "a.b.c.z", True),
        ("a.#.#.z", "a.z", True),
        ("*.#", "", False),
        ("#.*", "a", True),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
        ("A.b", "a.b", False),
        ("a*", "ab", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_topic_patterns(port: int, pattern: str, key: str, matches: bool) -> None:
    with Wire(port) as wire:
        wire.exchange(name := unused(), "topic", auto_delete=True)
        queue = wire.queue()
        wire.bind(queue, name, pattern or "") if pattern else wire.call(
            commands.Queue.Bind(0, queue, name, "", arguments={})
        )
        wire.publish(b"x", key, exchange=name)
        assert wire.drain(queue) == ([b"x"] if matches else [])


def test_a_queue_gets_a_message_once_however_many_bindings_match(port: int) -> None:
    with Wire(port) as wire:
        wire.exchange(name := unused(), "topic", auto_delete=True)
        queue = wire.queue()
        for pattern in ("#", "a.*", "a.b", "*.b"):
            wire.bind(queue, name, pattern)
        wire.publish(b"x", "a.b", exchange=name)
        assert wire.drain(queue) == [b"x"]


def test_an_unbound_queue_gets_nothing_more(port: int) -> None:
    with Wire(port) as wire:
        wire.exchange(name := unused(), "topic")
        queue = wire.queue()
        wire.bind(queue, name, "a")
        wire.bind(queue, name, "a")
        wire.publish(b"1", "a", exchange=name)
        wire.call(commands.Queue.Unbind(0, queue, name, "a"), answer=commands.Queue.UnbindOk)
        wire.publish(b"2", "a", exchange=name)
        assert wire.drain(queue) == [b"1"]
        wire.call(commands.Exchange.Delete(0, name))


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"x-match": "all", "a": 1, "b": "2"}, {"a": 1, "b": "2", "c": 3}, True),
        ({"x-match": "all", "a": 1, "b": "2"}, {"a": 1}, False),
        ({"a": 1, "b": "2"}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": "2"}, {"a": 1}, True),
        ({"x-match": "any", "a": 1, "b": "2"}, {"a": 2}, False),
        ({"x-match": "any"}, {"a": 2}, False),
        ({"x-match": "all"}, {"a": 2}, True),
        ({}, {}, True),
        ({"x-match": "all", "a": None}, {"a": "anything"}, True),
        ({"x-match": "all", "a": True}, {"a": True}, True),
        ({"x-match": "all", "x-a": 1}, {}, True),
        ({"x-match": "all-with-x", "x-a": 1}, {}, False),
        ({"x-match": "any-with-x", "x-a": 1}, {"x-a": 1}, True),
        ({"x-match": "all", "a": 1}, {"a": 70_000}, False),
        ({"x-match": "all", "a": 1}, None, False),
        ({"a": "text"}, {"a": bytearray(b"text")}, True),
        ({"a": bytearray(b"text")}, {"a": "text"}, True),
        ({"a": bytearray(b"text")}, {"a": "other"}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
    ],
)
def test_headers_are_compared(port: int, arguments: Any, headers: Any, matches: bool) -> None:
    with Wire(port) as wire:
        wire.exchange(name := unused(), "headers", auto_delete=True)
        queue = wire.queue()
        wire.bind(queue, name, "", arguments)
        wire.publish(b"x", "any", exchange=name, headers=headers)
        assert wire.drain(queue) == ([b"x"] if matches else [])


def test_a_wrong_x_match_is_refused(port: int) -> None:
    with Wire(port) as wire, refused(406, "nvalid x-match field value", cause=(50, 20)):
        wire.bind(wire.queue(), "amq.headers", "", {"x-match": "some"})


def test_exchanges_are_bound_to_exchanges(port: int) -> None:
    source, middle, end = unused(), unused(), unused()
    with Wire(port) as wire:
        wire.exchange(source, "topic")
        wire.exchange(middle, "fanout")
        wire.exchange(end, "direct")
        queue = wire.queue()
        wire.call(commands.Exchange.Bind(0, middle, source, "a.#"), answer=commands.Exchange.BindOk)
        wire.call(commands.Exchange.Bind(0, end, middle, ""), answer=commands.Exchange.BindOk)
        wire.call(commands.Exchange.Bind(0, source, end, "a.b"), answer=commands.Exchange.BindOk)
        wire.bind(queue, end, "a.b")
        wire.publish(b"1", "a.b", exchange=source)
        wire.publish(b"2", "a.c", exchange=source)
        wire.call(commands.Exchange.Unbind(0, middle, source, "a.#"), answer=commands.Exchange.UnbindOk)
        wire.publish(b"3", "a.b", exchange=source)
        assert wire.drain(queue) == [b"1"]
        for name in (source, middle, end):
            wire.call(commands.Exchange.Delete(0, name))


def test_binding_a_missing_exchange_is_refused(port: int) -> None:
    with Wire(port) as wire, refused(404, "no exchange 'none' in vhost '/'"):
        wire.call(commands.Exchange.Bind(0, "none", "amq.topic", "k"))
    with Wire(port) as wire, refused(404, "no exchange 'none' in vhost '/'"):
        wire.call(commands.Exchange.Bind(0, "amq.topic", "none", "k"))


def test_an_auto_deleted_exchange_goes_with_its_last_binding(port: int) -> None:
    name = unused()
    with Wire(port) as wire:
        wire.exchange(name, "topic", auto_delete=True)
        queue = wire.queue()
        wire.bind(queue, name, "a")
        wire.bind(queue, name, "b")
        wire.call(commands.Queue.Unbind(0, queue, name, "a"))
        wire.exchange(name, passive=True)
        wire.call(commands.Queue.Delete(0, queue))
        with refused(404):
            wire.exchange(name, passive=True)


def test_an_exchange_in_use_is_not_deleted_if_unused_is_asked_for(port: int) -> None:
    name = unused()
    with Wire(port) as wire:
        wire.exchange(name, "topic", auto_delete=True)
        wire.bind(wire.queue(), name, "a")
        with refused(406, f"exchange '{name}' in vhost '/' in use", cause=(40, 20)):
            wire.call(commands.Exchange.Delete(0, name, if_unused=True))


def test_an_internal_exchange_takes_no_publishes(port: int) -> None:
    name, outer = unused(), unused()
    with Wire(port) as wire:
        wire.exchange(name, "fanout", internal=True, auto_delete=True)
        wire.exchange(outer, "fanout", auto_delete=True)
        queue = wire.queue()
        wire.bind(queue, name)
        wire.call(commands.Exchange.Bind(0, name, outer, ""))
        wire.publish(b"x", exchange=outer)
        assert wire.drain(queue) == [b"x"]
        wire.publish(b"y", exchange=name)
        with refused(403, f"cannot publish to internal exchange '{name}' in vhost '/'", cause=(60, 40)):
            wire.expect(commands.Basic.Ack)


def test_the_alternate_exchange_gets_what_nobody_wants(port: int) -> None:
    name, other = unused(), unused()
    with Wire(port) as wire:
        wire.exchange(other, "fanout", auto_delete=True)
        wire.exchange(name, "direct", auto_delete=True, arguments={"alternate-exchange": other})
        wanted, unwanted = wire.queue(), wire.queue()
        wire.bind(wanted, name, "good")
        wire.bind(unwanted, other)
        wire.publish(b"1", "good", exchange=name, mandatory=True)
        wire.publish(b"2", "bad", exchange=name, mandatory=True)
        assert arrived(wire, (wanted, unwanted)) == [[b"1"], [b"2"]]


def test_a_wrong_alternate_exchange_is_refused(port: int) -> None:
    with Wire(port) as wire, refused(406, "alternate-exchange"):
        wire.exchange(unused(), arguments={"alternate-exchange": 5})


def test_copies_go_to_further_queues(port: int) -> None:
    with Wire(port) as wire:
        to, cc, bcc = wire.queue(), wire.queue(), wire.queue()
        wire.publish(b"x", to, headers={"CC": [cc], "BCC": [bcc]})
        for queue in (to, cc, bcc):
            content = wire.get(queue)
            assert content
            assert content.properties.headers == {"CC": [cc]}


def test_copies_must_be_a_list(port: int) -> None:
    with Wire(port) as wire:
        wire.publish(b"x", wire.queue(), headers={"CC": "me"})
        with refused(406, cause=(60, 40)):
            wire.expect(commands.Basic.Ack)
