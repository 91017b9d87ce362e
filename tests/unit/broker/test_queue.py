"""Queues: what happens to a message whose queue is deleted while it is being handled."""

from pamqp import commands

from support.broker_box import Box


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
