"""Queues: what happens to a message whose queue is deleted while it is being handled."""

from typing import Any

from pamqp import body, commands

from pulpit.broker.queue import DEAD_AT_ONCE
from support.broker_box import Box, BoxClient


def test_what_comes_back_to_a_queue_that_is_gone_takes_no_memory() -> None:
    box = Box()
    client = box.client()
    client.send(commands.Queue.Declare(0, "q", auto_delete=True))
    for _ in range(5):
        client.publish(b"x" * 1000, "q")
    client.send(commands.Basic.Consume(0, "q"))
    assert box.state.store.memory.used > 5000
    client.send(commands.Channel.Close(200, "", 0, 0))
    assert (box.state.store.memory.used, box.state.hosts["/"].queues) == (0, {})


def with_dead_letters(box: Box) -> BoxClient:
    """A client of a queue `q`, whose dead letters go to the queue `dead`."""
    client = box.client()
    client.send(commands.Queue.Declare(0, "dead"))
    arguments: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.send(commands.Queue.Declare(0, "q", arguments=arguments))
    return client


def test_many_messages_that_expire_together_leave_the_event_loop_to_others() -> None:
    box = Box()
    client = with_dead_letters(box)
    queues = box.state.hosts["/"].queues
    for number in range(3 * DEAD_AT_ONCE + 1):
        client.publish(b"%d" % number, "q", expiration="1000")
    client.publish(b"lasts", "q")
    left: list[int] = []
    box.timers.after(1, lambda: left.append(len(queues["q"])))  # the turn of somebody else, at the same time
    box.timers.milliseconds += 1000
    client.send(commands.Basic.Consume(0, "q"))
    assert len(queues["q"]) == 2 * DEAD_AT_ONCE + 2
    box.timers.pass_time(0)
    assert left == [DEAD_AT_ONCE + 2]
    assert (len(queues["q"]), len(queues["dead"])) == (0, 3 * DEAD_AT_ONCE + 1)
    delivered = [value.value for _, value in client.read() if isinstance(value, body.ContentBody)]
    assert delivered == [b"lasts"]


def test_many_messages_that_are_rejected_together_leave_the_event_loop_to_others() -> None:
    box = Box()
    client = with_dead_letters(box)
    client.send(commands.Basic.Consume(0, "q"))
    for number in range(2 * DEAD_AT_ONCE + 1):
        client.publish(b"%d" % number, "q")
    queues = box.state.hosts["/"].queues
    client.send(commands.Basic.Nack(2 * DEAD_AT_ONCE + 1, multiple=True, requeue=False))
    assert (len(queues["dead"]), queues["q"].unacknowledged) == (DEAD_AT_ONCE, DEAD_AT_ONCE + 1)
    client.send(commands.Channel.Close(200, "", 0, 0))
    box.timers.pass_time(0)
    assert (len(queues["dead"]), queues["q"].unacknowledged, len(queues["q"])) == (2 * DEAD_AT_ONCE + 1, 0, 0)
