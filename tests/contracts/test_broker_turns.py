"""Fair turns: several queues under one prefetch limit or behind one slow reader, and expiry meanwhile."""

import contextlib
import socket
import time
from collections import Counter
from itertools import groupby
from typing import Any

import pytest
from pamqp import commands

from support.amqp import Wire
from support.waiting import until


def backlog(wire: Wire, count: int, size: int = 1) -> list[str]:
    """Three queues that hold so many messages each."""
    queues = [wire.queue() for _ in range(3)]
    for queue in queues:
        for _ in range(count):
            wire.publish(bytes(size), queue)
        until(lambda queue=queue: wire.ready(queue) == count)  # type: ignore[misc] # called at once
    return queues


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_queues_take_turns_under_a_global_prefetch(port: int, limit: int) -> None:
    """E3: the queue behind the one that was served last begins.

    RabbitMQ's queues are processes, and its scheduler decides who is first when a place becomes free; on a busy
    machine it gave one of them 19 of 99. Without turns a queue gets none or one.
    """
    with Wire(port) as wire:
        queues = backlog(wire, 100)
        wire.call(commands.Basic.Qos(0, limit, True), answer=commands.Basic.QosOk)
        for queue in queues:
            wire.send(commands.Basic.Consume(0, queue, queue, nowait=True))
        seen: Counter[str] = Counter()
        for number in range(99):
            content = wire.content()
            seen[content.method.consumer_tag] += 1
            if number >= limit - 1:
                wire.send(commands.Basic.Ack(content.method.delivery_tag - limit + 1))
        assert min(seen[queue] for queue in queues) >= 5, seen


@pytest.mark.parametrize("channels", [1, 3])
def test_a_slow_reader_gets_something_of_everything(port: int, channels: int) -> None:
    """E4: no queue's and no channel's backlog comes whole before the next begins."""
    with Wire(port, seconds=60) as wire:
        queues = backlog(wire, 400, 20_000)
        for number in range(2, channels + 1):
            wire.open(number)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for number, queue in enumerate(queues, 1):
            method = commands.Basic.Consume(0, queue, queue, no_ack=True, nowait=True)
            wire.send(method, number if channels > 1 else 1)
        time.sleep(0.3)  # nothing is read meanwhile
        order = [wire.content().method.consumer_tag for _ in range(1200)]
        assert Counter(order) == dict.fromkeys(queues, 400)
        assert len(list(groupby(order))) > 3  # one queue after the other
        assert all(order.index(queue) < 800 for queue in queues)


def test_who_does_not_acknowledge_waits_while_the_global_prefetch_is_reached(port: int) -> None:
    """E5: it does not count, and is held back with the others."""
    with Wire(port) as wire:
        counted, free = wire.queue(), wire.queue()
        wire.call(commands.Basic.Qos(0, 1, True), answer=commands.Basic.QosOk)
        wire.consume(counted, "counted")
        wire.consume(free, "free", no_ack=True)
        wire.publish(b"x", counted)
        held = wire.content().method
        for _ in range(5):
            wire.publish(b"x", free)
        assert wire.silent(0.3)
        wire.send(commands.Basic.Ack(held.delivery_tag))
        assert [wire.content().method.consumer_tag for _ in range(5)] == ["free"] * 5


@pytest.mark.parametrize("taken_by", ["get", "consume"])
def test_what_expired_behind_one_that_lives_becomes_a_dead_letter(port: int, taken_by: str) -> None:
    """E6: the head is looked at after every message that is taken."""
    with Wire(port) as wire:
        dead = wire.queue()
        queue = wire.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        wire.publish(b"lives", queue)
        for number in range(3):
            wire.publish(b"%d" % number, queue, expiration="50")
        wire.publish(b"lives too", queue, expiration="60000")
        until(lambda: wire.ready(queue) == 5)
        time.sleep(0.2)
        if taken_by == "get":
            first = wire.get(queue)
            assert first is not None
            assert (first.body, first.method.message_count) == (b"lives", 1)
        else:
            wire.send(commands.Basic.Consume(0, queue, no_ack=True, nowait=True))
            assert [wire.content().body for _ in range(2)] == [b"lives", b"lives too"]
        until(lambda: wire.ready(dead) == 3)
        for number in range(3):
            content = wire.get(dead)
            assert content is not None
            assert content.body == b"%d" % number
            headers: Any = content.properties.headers
            assert [death["reason"] for death in headers["x-death"]] == ["expired"]


def deaths_after(port: int, x_death: Any, **headers: Any) -> tuple[list[Any], dict[str, Any]]:
    """What `x-death` and its kin say of a message that came with an `x-death` and was rejected in the queue `dying`."""
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Wire(port))
        dead = wire.queue()
        wire.declare("dying", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        wire.publish(b"x", "dying", headers={"x-death": x_death, **headers})
        until(lambda: wire.ready("dying") == 1)
        content = wire.get("dying", no_ack=False)
        assert content is not None
        wire.send(commands.Basic.Reject(content.method.delivery_tag, False))
        until(lambda: wire.ready(dead) == 1)
        content = wire.get(dead)
        assert content is not None
        found: Any = content.properties.headers
        shown = [(death.get("queue"), death.get("reason"), death.get("count")) for death in found["x-death"]]
        return shown, {name: value for name, value in found.items() if name.startswith("x-first-death")}


REJECTED = {"queue": "dying", "reason": "rejected", "exchange": "there"}
EXPIRED = {"queue": "other", "reason": "expired", "exchange": "there"}


@pytest.mark.rabbitmq_4_differs("ignores an x-death that a client sent")
@pytest.mark.parametrize(
    ("came", "stands"),
    [
        ([REJECTED, REJECTED, REJECTED, EXPIRED], [("dying", "rejected", 4), ("other", "expired", 1)]),
        ([EXPIRED, EXPIRED], [("dying", "rejected", 1), ("other", "expired", 2)]),
        ([EXPIRED | {"count": 7}, EXPIRED], [("dying", "rejected", 1), ("other", "expired", 7)]),
        ([REJECTED | {"count": 0}], [("dying", "rejected", 1)]),
        ([REJECTED], [("dying", "rejected", 1)]),
        ([EXPIRED], [("dying", "rejected", 1), ("other", "expired", None)]),
        ([REJECTED | {"count": 3}], [("dying", "rejected", 4)]),
    ],
    ids=repr,
)
def test_the_deaths_that_others_wrote_are_merged(port: int, came: list[Any], stands: list[Any]) -> None:
    """E7: one entry a queue and reason, its count that of the first, else how many there were."""
    shown, first = deaths_after(port, came)
    assert shown == stands
    assert first == {}


@pytest.mark.rabbitmq_4_differs("ignores an x-death that a client sent")
def test_a_first_death_is_told_once(port: int) -> None:
    shown, first = deaths_after(port, [EXPIRED], **{"x-first-death-queue": "other"})
    assert [death[:2] for death in shown] == [("dying", "rejected"), ("other", "expired")]
    assert first == {"x-first-death-queue": "other"}
