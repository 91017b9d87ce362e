"""Queues: declaring, redeclaring, exclusive and auto-deleted ones, purging and deleting."""

import itertools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pamqp import commands

from support.amqp import Content, Wire, refused
from support.waiting import until

_numbers = itertools.count()


def unused(what: str) -> str:
    return f"{what}-{os.getpid()}-{next(_numbers)}"


def test_the_broker_names_a_queue(port: int) -> None:
    with Wire(port) as wire:
        assert wire.queue().startswith("amq.gen-")


def test_what_is_wrong_with_a_queue_that_the_broker_names_is_told_by_that_name(port: int) -> None:
    with Wire(port) as wire, refused(406, "invalid arg 'x-message-ttl' for queue 'amq.gen-"):
        wire.declare(arguments={"x-message-ttl": -1})


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        (b"d", bytes(8), "double"),
        (b"f", bytes(4), "float"),
        (b"D", bytes(5), "decimal"),
        (b"S", b"\0\0\0\x041000", "longstr"),
        (b"T", bytes(8), "timestamp"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_its_name(port: int, kind: bytes, value: bytes, name: str) -> None:
    entry = b"\x0dx-message-ttl" + kind + value
    payload = struct.pack(">HHH", 50, 10, 0) + b"\0\x04" + struct.pack(">I", len(entry)) + entry
    with Wire(port) as wire, refused(406, f'"expected integer, got {name}"', cause=(50, 10)):
        wire.raw(struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce")
        wire.expect(commands.Queue.DeclareOk)


def test_a_text_may_be_sent_as_a_binary_when_a_queue_is_declared_again(port: int) -> None:
    with Wire(port) as wire:
        name = unused("texts")
        wire.declare(name, arguments={"x-dead-letter-exchange": "amq.fanout"})
        assert wire.declare(name, arguments={"x-dead-letter-exchange": bytearray(b"amq.fanout")}).queue == name


def test_declaring_twice_is_once(port: int) -> None:
    name = unused("twice")
    with Wire(port) as wire:
        wire.declare(name)
        wire.publish(b"x", name)
        until(lambda: wire.declare(name).message_count == 1)
        again = wire.declare(name)
        assert (again.queue, again.consumer_count) == (name, 0)


def test_the_empty_name_is_the_queue_declared_last(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        wire.publish(b"x", name)
        assert wire.call(commands.Queue.Purge()).message_count == 1
        wire.bind("", "amq.topic", "some.key")
        wire.publish(b"x", "some.key", exchange="amq.topic")
        assert wire.call(commands.Queue.Purge()).message_count == 1
        wire.consume("")


def test_without_a_queue_declared_before_the_empty_name_is_refused(port: int) -> None:
    with Wire(port) as wire, refused(404, "NOT_FOUND - no previously declared queue", cause=(60, 20)):
        wire.consume("")


def test_a_missing_queue_is_not_found(port: int) -> None:
    with Wire(port) as wire, refused(404, "NOT_FOUND - no queue 'none' in vhost '/'", cause=(50, 10)):
        wire.declare("none", passive=True)


@pytest.mark.parametrize(
    "method",
    [
        commands.Basic.Consume(0, "none"),
        commands.Basic.Get(0, "none"),
        commands.Queue.Purge(0, "none"),
        commands.Queue.Bind(0, "none", "amq.topic", "k"),
    ],
)
def test_a_missing_queue_is_not_found_by(port: int, method: Any) -> None:
    with Wire(port) as wire, refused(404, "NOT_FOUND - no queue 'none' in vhost '/'"):
        wire.call(method)


def test_deleting_a_missing_queue_is_no_error(port: int) -> None:
    with Wire(port) as wire:
        assert wire.call(commands.Queue.Delete(0, "none")).message_count == 0


def test_unbinding_what_is_missing_is_no_error(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.call(commands.Queue.Unbind(0, queue, "amq.topic", "never"), answer=commands.Queue.UnbindOk)
        wire.call(commands.Queue.Unbind(0, queue, "none", "k"), answer=commands.Queue.UnbindOk)
        wire.call(commands.Queue.Unbind(0, "none", "amq.topic", "k"), answer=commands.Queue.UnbindOk)


def test_reserved_names_are_refused(port: int) -> None:
    with (
        Wire(port) as wire,
        refused(403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'", cause=(50, 10)),
    ):
        wire.declare("amq.mine")


def test_a_queue_that_the_broker_named_is_not_declared_again(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        assert wire.declare(name, passive=True).queue == name
        with refused(403, f"ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'", cause=(50, 10)):
            wire.declare(name)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (
            {},
            {"auto_delete": True},
            "inequivalent arg 'auto_delete' for queue 'NAME' in vhost '/': received 'true' but current is 'false'",
        ),
        (
            {"arguments": {"x-max-length": 5}},
            {"arguments": {"x-max-length": 6}},
            "inequivalent arg 'x-max-length' for queue 'NAME' in vhost '/': received '6' but current is '5'",
        ),
        (
            {"arguments": {"x-message-ttl": 5000}},
            {},
            "inequivalent arg 'x-message-ttl' for queue 'NAME' in vhost '/': received none but current is the value",
        ),
        (
            {},
            {"arguments": {"x-dead-letter-exchange": "dead"}},
            "inequivalent arg 'x-dead-letter-exchange' for queue 'NAME' in vhost '/': received the value 'dead'",
        ),
    ],
)
def test_declaring_again_otherwise_is_refused(port: int, first: Any, second: Any, text: str) -> None:
    name = unused("again")
    with Wire(port) as wire:
        wire.declare(name, **first)
        with refused(406, text.replace("NAME", name), cause=(50, 10)):
            wire.declare(name, **second)


def test_numbers_of_another_width_are_the_same_argument(port: int) -> None:
    name = unused("width")
    with Wire(port) as wire:
        wire.declare(name, arguments={"x-max-length": 5})
        wire.declare(name, arguments={"x-max-length": 5, "x-unknown": 1})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-message-ttl": "soon"}, "invalid arg 'x-message-ttl'"),
        ({"x-message-ttl": -1}, "invalid arg 'x-message-ttl'"),
        ({"x-expires": 0}, "invalid arg 'x-expires'"),
        ({"x-expires": "later"}, "invalid arg 'x-expires'"),
        ({"x-max-length": -1}, "invalid arg 'x-max-length'"),
        ({"x-max-length-bytes": "much"}, "invalid arg 'x-max-length-bytes'"),
        ({"x-max-priority": 256}, "invalid arg 'x-max-priority'"),
        ({"x-max-priority": -1}, "invalid arg 'x-max-priority'"),
        ({"x-dead-letter-exchange": 5}, "invalid type 'byte' for arg 'x-dead-letter-exchange'"),
        ({"x-delivery-limit": 5}, "of queue type rabbit_classic_queue"),
        ({"x-dead-letter-routing-key": "k"}, "invalid arg 'x-dead-letter-routing-key'"),
        ({"x-overflow": "explode"}, "invalid arg 'x-overflow'"),
        ({"x-queue-mode": "hasty"}, "invalid arg 'x-queue-mode'"),
        ({"x-single-active-consumer": "yes"}, "invalid arg 'x-single-active-consumer'"),
    ],
)
def test_bad_arguments_are_refused(port: int, arguments: Any, text: str) -> None:
    with Wire(port) as wire, refused(406, text, cause=(50, 10)):
        wire.declare(unused("bad"), arguments=arguments)


@pytest.mark.parametrize("kind", ["unheard-of", 5])
def test_unknown_queue_types_are_refused(port: int, kind: Any) -> None:
    with Wire(port) as wire, refused(406):
        wire.declare(unused("type"), arguments={"x-queue-type": kind})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-max-age": "1D"}, "'x-max-age' for {} of queue type rabbit_classic_queue"),
        ({"x-delivery-limit": 5}, "'x-delivery-limit' for {} of queue type rabbit_classic_queue"),
        ({"x-dead-letter-strategy": "at-least-once"}, "'x-dead-letter-strategy' for {} of queue type rabbit_classic_"),
        ({"x-queue-version": 9}, "'x-queue-version' for {}: \"unsupported queue version '9'\""),
        ({"x-queue-type": "quorum", "x-max-priority": 5}, "'x-max-priority' for {} of queue type rabbit_quorum_queue"),
        ({"x-queue-type": "quorum", "x-queue-mode": "lazy"}, "'x-queue-mode' for {} of queue type rabbit_quorum_queue"),
        (
            {"x-queue-type": "quorum", "x-quorum-initial-group-size": 0},
            "'x-quorum-initial-group-size' for {}: {{value_",
        ),
        ({"x-queue-type": "quorum", "x-queue-leader-locator": "n"}, "'x-queue-leader-locator' for {}: invalid_queue_"),
        ({"x-queue-type": "quorum", "x-dead-letter-strategy": "n"}, "'x-dead-letter-strategy' for {}: invalid_dlx_"),
    ],
)
def test_each_type_of_queue_has_its_own_arguments(port: int, arguments: Any, text: str) -> None:
    name = unused("fit")
    with Wire(port) as wire, refused(406, "invalid arg " + text.format(f"queue '{name}' in vhost '/'")):
        wire.declare(name, exclusive=False, durable=True, arguments=arguments)


@pytest.mark.rabbitmq_4_differs("words it differently")
def test_the_type_of_a_queue_can_be_left_out_if_it_is_classic(port: int) -> None:
    name = unused("typed")
    with Wire(port) as wire:
        wire.declare(name)
        assert wire.declare(name, arguments={"x-queue-type": "classic"}).queue == name
        with refused(
            406, f"inequivalent arg 'x-queue-type' for queue '{name}' in vhost '/': received the value 'quorum'"
        ):
            wire.declare(name, arguments={"x-queue-type": "quorum"})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("classic", "x-stream-offset"),
        pytest.param("quorum", "x-cancel-on-ha-failover", marks=pytest.mark.rabbitmq_4_differs("ignores it")),
    ],
)
def test_each_type_of_queue_takes_its_own_arguments_from_consumers(port: int, kind: str, text: str) -> None:
    with (
        quorum_queue(port, {"x-queue-type": kind}) as (wire, name),
        refused(406, f"{text}' for queue '{name}' in vhost"),
    ):
        wire.consume(name, arguments={text: True})


@contextmanager
def quorum_queue(port: int, arguments: dict[str, Any]) -> Iterator[tuple[Wire, str]]:
    """A durable queue with a name of its own, and who declared it."""
    name = unused("quorum")
    with Wire(port) as wire:
        wire.declare(name, exclusive=False, durable=True, arguments={"x-queue-type": "quorum"} | arguments)
        yield wire, name
    with Wire(port) as wire:
        wire.call(commands.Queue.Delete(0, name))


def test_a_quorum_queue_counts_how_often_a_message_came_back(port: int) -> None:
    with quorum_queue(port, {}) as (wire, name):
        wire.publish(b"x", name, headers={"mine": 1, "x-delivery-count": 7})
        wire.consume(name)
        seen = []
        for _ in range(3):
            content = wire.content()
            seen.append(content.properties.headers)
            wire.send(commands.Basic.Nack(content.method.delivery_tag, False, True))
        assert seen == [{"mine": 1, "x-delivery-count": count} for count in (7, 1, 2)]


def test_a_quorum_queue_lets_a_message_die_that_came_back_too_often(port: int) -> None:
    with Wire(port) as watcher:
        dead = watcher.queue()
        limits = {"x-delivery-limit": 1, "x-dead-letter-exchange": "amq.direct", "x-dead-letter-routing-key": dead}
        watcher.bind(dead, "amq.direct", dead)
        with quorum_queue(port, limits) as (wire, name):
            wire.publish(b"poison", name)
            wire.consume(name)
            wire.content()
            wire.hang_up()
            with Wire(port) as again:
                again.consume(name)
                content = again.content()
                assert content.method.redelivered
                again.send(commands.Basic.Reject(content.method.delivery_tag, True))
                letter: Content = until(lambda: watcher.get(dead))  # type: ignore[assignment]
        assert letter.body == b"poison"
        headers: Any = letter.properties.headers
        [death] = headers["x-death"]
        assert (death["reason"], death["queue"], death["count"]) == ("delivery_limit", name, 1)


def test_a_quorum_queue_cannot_be_deleted_by_its_last_consumer(port: int) -> None:
    with Wire(port) as wire, refused(406, "invalid property 'auto-delete'"):
        wire.declare(
            unused("auto"), exclusive=False, durable=True, auto_delete=True, arguments={"x-queue-type": "quorum"}
        )


def test_a_quorum_queue_must_be_durable(port: int) -> None:
    with Wire(port) as wire, refused(406, "invalid property 'non-durable'"):
        wire.declare(unused("quorum"), exclusive=False, arguments={"x-queue-type": "quorum"})


def test_a_quorum_queue_cannot_be_exclusive(port: int) -> None:
    with Wire(port) as wire, refused(406, "invalid property 'exclusive-owner'"):
        wire.declare(unused("quorum"), durable=True, arguments={"x-queue-type": "quorum"})


def test_a_quorum_queue_is_not_named_by_the_broker(port: int) -> None:
    with Wire(port) as wire, refused(406, "Cannot declare a server-named queue for type rabbit_quorum_queue"):
        wire.declare("", exclusive=False, durable=True, arguments={"x-queue-type": "quorum"})


def test_an_exclusive_queue_is_locked_for_others(port: int) -> None:
    with Wire(port) as owner, Wire(port) as other:
        name = owner.queue()
        with refused(405, f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'"):
            other.declare(name, passive=True)
    for method in (
        commands.Basic.Consume(0, name),
        commands.Basic.Get(0, name),
        commands.Queue.Purge(0, name),
        commands.Queue.Delete(0, name),
        commands.Queue.Bind(0, name, "amq.topic", "k"),
        commands.Queue.Declare(0, name, exclusive=True),
        commands.Queue.Declare(0, name),
    ):
        with Wire(port) as owner, Wire(port) as other:
            owner.declare(name := unused("own"))
            method.queue = name
            with refused(405):
                other.call(method)


def test_a_shared_queue_cannot_be_redeclared_as_exclusive(port: int) -> None:
    name = unused("shared")
    with Wire(port) as wire:
        wire.declare(name, exclusive=False, auto_delete=True)
        with refused(405, cause=(50, 10)):
            wire.declare(name, exclusive=True, auto_delete=True)
    with Wire(port) as wire:
        wire.call(commands.Queue.Delete(0, name))


def test_an_exclusive_queue_goes_with_its_connection(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        wire.close()
    with Wire(port) as wire, refused(404):
        until(lambda: wire.declare(name, passive=True) is None)


def test_an_auto_deleted_queue_goes_with_its_last_consumer(port: int) -> None:
    name = unused("auto")
    with Wire(port) as wire:
        wire.declare(name, exclusive=False, auto_delete=True)
        first = wire.consume(name)
        second = wire.consume(name)
        wire.call(commands.Basic.Cancel(first))
        assert wire.declare(name, passive=True).consumer_count == 1
        wire.call(commands.Basic.Cancel(second))
        with refused(404):
            until(lambda: wire.declare(name, passive=True) is None)


def test_deleting_asks_whether_the_queue_is_used_or_full(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        wire.publish(b"x", name)
        with refused(406, f"queue '{name}' in vhost '/' not empty", cause=(50, 40)):
            wire.call(commands.Queue.Delete(0, name, if_empty=True))
    with Wire(port) as wire:
        name = wire.queue()
        wire.consume(name)
        with refused(406, f"queue '{name}' in vhost '/' in use", cause=(50, 40)):
            wire.call(commands.Queue.Delete(0, name, if_unused=True))


def test_deleting_and_purging_say_how_many_messages_went(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        for _ in range(3):
            wire.publish(b"x", name)
        assert wire.call(commands.Queue.Purge(0, name)).message_count == 3
        wire.publish(b"x", name)
        assert wire.call(commands.Queue.Delete(0, name)).message_count == 1


def test_purging_leaves_what_is_unacknowledged(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        wire.publish(b"held", name)
        wire.publish(b"ready", name)
        held = wire.get(name, no_ack=False)
        assert held
        assert wire.call(commands.Queue.Purge(0, name)).message_count == 1
        wire.call(commands.Basic.Recover(True), answer=commands.Basic.RecoverOk)
        assert wire.drain(name) == [b"held"]


def test_nowait_is_not_answered(port: int) -> None:
    name = unused("nowait")
    with Wire(port) as wire:
        wire.send(commands.Queue.Declare(0, name, exclusive=True, nowait=True))
        wire.send(commands.Exchange.Declare(0, name, "fanout", auto_delete=True, nowait=True))
        wire.send(commands.Queue.Bind(0, name, name, nowait=True))
        wire.publish(b"x", exchange=name)
        wire.send(commands.Basic.Consume(0, name, "tag", no_ack=True, nowait=True))
        assert wire.content().body == b"x"
        wire.send(commands.Basic.Cancel("tag", nowait=True))
        wire.send(commands.Queue.Purge(0, name, nowait=True))
        wire.send(commands.Confirm.Select(nowait=True))
        wire.send(commands.Queue.Delete(0, name, nowait=True))
        wire.send(commands.Exchange.Delete(0, name, nowait=True))
        with refused(404):
            wire.declare(name, passive=True)


def test_an_unused_queue_expires(port: int) -> None:
    name = unused("expires")
    with Wire(port) as wire:
        wire.declare(name, exclusive=False, arguments={"x-expires": 300})
        with refused(404):
            until(lambda: (wire.silent(0.5), wire.declare(name, passive=True))[1] is None)


def test_a_consumed_queue_does_not_expire(port: int) -> None:
    name = unused("consumed")
    with Wire(port) as wire:
        wire.declare(name, exclusive=False, arguments={"x-expires": 200})
        wire.consume(name)
        assert wire.silent(0.6)
        assert wire.declare(name, passive=True).consumer_count == 1


def test_a_consumer_is_told_when_its_queue_is_deleted(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        tag = wire.consume(name)
        wire.open(2)
        wire.send(commands.Queue.Delete(0, name), 2)
        seen = {type(value): value for _, value in (wire.read(), wire.read())}
        assert seen[commands.Basic.Cancel].consumer_tag == tag
        assert commands.Queue.DeleteOk in seen


def test_the_deleter_hears_first_that_the_queue_is_deleted(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        tag = wire.consume(name)
        wire.send(commands.Queue.Delete(0, name))
        wire.expect(commands.Queue.DeleteOk)
        assert wire.expect(commands.Basic.Cancel).consumer_tag == tag


def test_a_client_without_the_capability_is_not_told(port: int) -> None:
    with Wire(port, capabilities={}) as wire:
        name = wire.queue()
        wire.consume(name)
        wire.call(commands.Queue.Delete(0, name), answer=commands.Queue.DeleteOk)
        assert wire.silent()


def test_declaring_shows_messages_and_consumers(port: int) -> None:
    with Wire(port) as wire:
        name = wire.queue()
        wire.publish(b"x", name)
        wire.publish(b"x", name)
        wire.get(name, no_ack=False)
        answer = wire.declare(name, passive=True)
        assert (answer.message_count, answer.consumer_count) == (1, 0)


def test_a_shared_queue_cannot_become_durable(port: int) -> None:
    name = unused("durable")
    text = f"inequivalent arg 'durable' for queue '{name}' in vhost '/': received 'true' but current is 'false'"
    with Wire(port) as wire:
        wire.declare(name, exclusive=False, auto_delete=True)
        with refused(406, text):
            wire.declare(name, exclusive=False, auto_delete=True, durable=True)
    with Wire(port) as wire:
        wire.call(commands.Queue.Delete(0, name))


def test_the_empty_name_is_nobodys_in_a_passive_declare(port: int) -> None:
    with Wire(port) as wire:
        wire.queue()
        with refused(404, "NOT_FOUND - no queue '' in vhost '/'"):
            wire.declare("", passive=True)
