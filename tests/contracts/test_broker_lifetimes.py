"""Messages that expire, are dead-lettered, are dropped, or have a priority."""

import itertools
import os
from typing import Any

import pytest
from pamqp import commands

from support.amqp import Content, Wire, refused
from support.waiting import until

_numbers = itertools.count()


def with_dead_letters(wire: Wire, **arguments: Any) -> tuple[str, str]:
    """A queue, and another one that gets what dies in it."""
    name = f"dead-{os.getpid()}-{next(_numbers)}"
    wire.exchange(name, "topic", auto_delete=True)
    dead = wire.queue()
    wire.bind(dead, name, "#")
    return wire.queue(arguments={"x-dead-letter-exchange": name} | arguments), dead


def wait_for(wire: Wire, queue: str) -> Content:
    return until(lambda: wire.get(queue))  # type: ignore[return-value]


def test_messages_expire_by_the_queues_ttl(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-message-ttl": 1000})
        wire.publish(b"x", queue)
        until(lambda: wire.ready(queue) == 1)
        until(lambda: wire.ready(queue) == 0)


def test_messages_expire_by_their_own_ttl(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"short", queue, expiration="1000")
        wire.publish(b"long", queue, expiration="60000")
        until(lambda: wire.ready(queue) == 2)
        until(lambda: wire.ready(queue) == 1)
        assert wire.drain(queue) == [b"long"]


def test_the_shorter_ttl_counts(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-message-ttl": 100})
        wire.publish(b"x", queue, expiration="60000")
        until(lambda: wire.ready(queue) == 0)


def test_a_ttl_of_zero_is_now_or_never(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-message-ttl": 0})
        wire.publish(b"never", queue)
        until(lambda: wire.ready(queue) == 0)
        wire.consume(queue, no_ack=True)
        wire.publish(b"now", queue)
        assert wire.content().body == b"now"


@pytest.mark.parametrize("expiration", ["soon", "-1", "1.5", "99999999999999"])
def test_a_wrong_expiration_is_refused(port: int, expiration: str) -> None:
    with Wire(port) as wire, refused(406, f"invalid expiration '{expiration}'", cause=(60, 40)):
        wire.publish(b"x", wire.queue(), expiration=expiration)
        wire.expect(commands.Basic.Ack)


TEN_YEARS = 315_360_000_000


@pytest.mark.parametrize("name", ["x-message-ttl", "x-expires", "expiration"])
def test_a_time_to_live_may_be_ten_years_and_no_longer(port: int, name: str) -> None:
    """Sixty days are more milliseconds than 32 bits hold, and people ask for them."""

    def declare_and_publish(wire: Wire, milliseconds: int) -> str:
        by_message = name == "expiration"
        queue = wire.queue(arguments={} if by_message else {name: milliseconds})
        expiration = str(milliseconds) if by_message else None
        wire.publish(b"kept", queue, expiration=expiration)
        return queue

    with Wire(port) as wire:
        for milliseconds in (60 * 24 * 3600 * 1000, TEN_YEARS):
            assert wire.drain(declare_and_publish(wire, milliseconds)) == [b"kept"]
        with refused(406, f"{{value_too_large,{TEN_YEARS + 1}}}"):
            declare_and_publish(wire, TEN_YEARS + 1)
            wire.expect(commands.Basic.Ack)


def test_an_expired_message_tells_its_story(port: int) -> None:
    with Wire(port) as wire:
        queue, dead = with_dead_letters(wire)
        wire.publish(b"x", queue, expiration="50", headers={"mine": 1}, delivery_mode=2)
        content = wait_for(wire, dead)
        assert content.body == b"x"
        assert content.properties.expiration in (None, "")
        assert content.properties.delivery_mode == 2
        headers: Any = content.properties.headers
        (death,) = headers["x-death"]
        assert death.pop("time")
        assert death == {
            "count": 1,
            "reason": "expired",
            "queue": queue,
            "exchange": "",
            "routing-keys": [queue],
            "original-expiration": "50",
        }
        assert headers["mine"] == 1
        assert headers["x-first-death-reason"] == "expired"
        assert headers["x-first-death-queue"] == queue
        assert headers["x-first-death-exchange"] == ""
        assert content.method.routing_key == queue


@pytest.mark.parametrize("method", [commands.Basic.Reject(1, False), commands.Basic.Nack(1, True, False)])
def test_a_rejected_message_is_a_dead_letter(port: int, method: object) -> None:
    with Wire(port) as wire:
        queue, dead = with_dead_letters(wire)
        wire.publish(b"x", queue)
        wire.get(queue, no_ack=False)
        wire.send(method)
        headers: Any = wait_for(wire, dead).properties.headers
        assert [death["reason"] for death in headers["x-death"]] == ["rejected"]


@pytest.mark.rabbitmq_4_differs("keeps CC")
def test_the_dead_letter_key_replaces_the_own(port: int) -> None:
    with Wire(port) as wire:
        queue, dead = with_dead_letters(wire, **{"x-dead-letter-routing-key": "grave"})
        wire.publish(b"x", queue, headers={"CC": ["nowhere"]})
        wire.get(queue, no_ack=False)
        wire.send(commands.Basic.Reject(1, False))
        content = wait_for(wire, dead)
        headers: Any = content.properties.headers
        assert content.method.routing_key == "grave"
        assert "CC" not in headers
        assert headers["x-death"][0]["routing-keys"] == [queue, "nowhere"]


@pytest.mark.rabbitmq_4_differs("ignores an x-death that a client sent")
def test_dying_again_in_the_same_way_counts_up(port: int) -> None:
    with Wire(port) as wire:
        queue, dead = with_dead_letters(wire)
        wire.publish(b"x", queue)
        for count in (1, 2):
            held = wire.get(queue, no_ack=False)
            assert held
            wire.send(commands.Basic.Reject(held.method.delivery_tag, False))
            content = wait_for(wire, dead)
            headers: Any = content.properties.headers
            assert [death["count"] for death in headers["x-death"]] == [count]
            wire.publish(b"x", queue, headers=headers)


def test_two_queues_that_feed_each_other_stop_when_nobody_rejects(port: int) -> None:
    with Wire(port) as wire:
        one, two = f"one-{id(wire)}", f"two-{id(wire)}"
        for name, other in ((one, two), (two, one)):
            wire.declare(
                name,
                arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other, "x-message-ttl": 50},
            )
        wire.publish(b"x", one)
        wire.silent(0.5)
        assert (wire.ready(one), wire.ready(two)) == (0, 0)


def test_a_missing_dead_letter_exchange_drops(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-dead-letter-exchange": "none"})
        wire.publish(b"x", queue)
        wire.get(queue, no_ack=False)
        wire.send(commands.Basic.Reject(1, False))
        assert wire.drain(queue) == []


def test_a_full_queue_drops_its_oldest(port: int) -> None:
    with Wire(port) as wire:
        queue, dead = with_dead_letters(wire, **{"x-max-length": 2})
        for number in range(4):
            wire.publish(b"%d" % number, queue)
        assert wire.drain(queue) == [b"2", b"3"]
        content = wait_for(wire, dead)
        headers: Any = content.properties.headers
        assert (content.body, headers["x-death"][0]["reason"]) == (b"0", "maxlen")


def test_a_dead_letter_never_expires_by_its_own_ttl(port: int) -> None:
    with Wire(port) as wire:
        queue, dead = with_dead_letters(wire, **{"x-max-length": 1})
        wire.publish(b"1", queue, expiration="60000")
        wire.publish(b"2", queue)
        content = wait_for(wire, dead)
        headers: Any = content.properties.headers
        assert content.properties.expiration in {None, ""}
        assert headers["x-death"][0]["original-expiration"] == "60000"


def test_a_queue_may_be_limited_in_bytes(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-max-length-bytes": 10})
        for body in (b"11111", b"22222", b"33333"):
            wire.publish(body, queue)
        assert wire.drain(queue) == [b"22222", b"33333"]


def test_a_limit_of_nothing_holds_nothing(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-max-length": 0})
        wire.publish(b"x", queue)
        assert wire.drain(queue) == []


def test_a_full_queue_may_refuse_publishes(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        wire.call(commands.Confirm.Select(), answer=commands.Confirm.SelectOk)
        wire.publish(b"1", queue)
        assert wire.expect(commands.Basic.Ack).delivery_tag == 1
        wire.publish(b"2", queue)
        assert wire.expect(commands.Basic.Nack).delivery_tag == 2
        assert wire.drain(queue) == [b"1"]


def test_a_full_queue_may_refuse_publishes_by_way_of_the_dead_letters(port: int) -> None:
    with Wire(port) as wire:
        queue, dead = with_dead_letters(wire, **{"x-max-length": 1, "x-overflow": "reject-publish-dlx"})
        wire.publish(b"1", queue)
        wire.publish(b"2", queue)
        headers: Any = wait_for(wire, dead).properties.headers
        assert headers["x-death"][0]["reason"] == "maxlen"
        assert wire.drain(queue) == [b"1"]


def test_urgent_messages_overtake(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-max-priority": 5})
        for body, priority in ((b"0", None), (b"1", 1), (b"5", 5), (b"9", 9), (b"1b", 1)):
            wire.publish(body, queue, priority=priority)
        assert wire.drain(queue) == [b"5", b"9", b"1", b"1b", b"0"]


def test_without_a_declared_maximum_nothing_overtakes(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue()
        wire.publish(b"1", queue, priority=0)
        wire.publish(b"2", queue, priority=9)
        assert wire.drain(queue) == [b"1", b"2"]


def test_a_full_priority_queue_drops_the_most_urgent_which_is_its_head(port: int) -> None:
    with Wire(port) as wire:
        queue = wire.queue(arguments={"x-max-priority": 5, "x-max-length": 2})
        for body, priority in ((b"low", 0), (b"high", 5), (b"middle", 3)):
            wire.publish(body, queue, priority=priority)
        assert wire.drain(queue) == [b"middle", b"low"]
