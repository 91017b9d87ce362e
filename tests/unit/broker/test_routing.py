"""Routing: cached results are dropped when a binding changes."""

from pamqp import commands

from support.broker_box import Box, BoxClient


def bodies(client: BoxClient, queue: str) -> list[bytes]:
    """Take everything out of a queue."""
    found: list[bytes] = []
    while True:
        client.send(commands.Basic.Get(0, queue, True))
        values = [value for _, value in client.read()]
        if isinstance(values[-1], commands.Basic.GetEmpty):
            return found
        found.append(bytes(values[-1].value))


def test_a_remembered_route_follows_every_change() -> None:
    client = Box().client()
    client.send(commands.Queue.Declare(0, "q"))
    client.send(commands.Exchange.Declare(0, "e", "topic", arguments={"alternate-exchange": "other"}))
    expected = []

    def publish(number: int, *, arrives: bool) -> None:
        client.publish(b"%d" % number, "a.b", exchange="e")
        expected.extend([b"%d" % number] if arrives else [])

    publish(1, arrives=False)
    client.send(commands.Queue.Bind(0, "q", "e", "a.*"))
    publish(2, arrives=True)
    client.send(commands.Queue.Unbind(0, "q", "e", "a.*"))
    publish(3, arrives=False)
    client.send(commands.Exchange.Declare(0, "other", "fanout"))
    client.send(commands.Queue.Bind(0, "q", "other", ""))
    publish(4, arrives=True)
    client.send(commands.Exchange.Delete(0, "other"))
    publish(5, arrives=False)
    client.send(commands.Exchange.Bind(0, "amq.fanout", "e", "#"))
    client.send(commands.Queue.Bind(0, "q", "amq.fanout", ""))
    publish(6, arrives=True)
    client.read()
    assert bodies(client, "q") == expected


def test_headers_are_asked_every_time() -> None:
    client = Box().client()
    client.send(commands.Queue.Declare(0, "q"))
    client.send(commands.Queue.Bind(0, "q", "amq.headers", "", arguments={"wanted": True}))
    for wanted in (True, False, True):
        client.publish(str(wanted).encode(), "k", exchange="amq.headers", headers={"wanted": wanted})
    client.read()
    assert bodies(client, "q") == [b"True", b"True"]


def test_time_is_handed_in() -> None:
    box = Box()
    client = box.client()
    client.send(commands.Queue.Declare(0, "q", arguments={"x-message-ttl": 1000}))
    client.publish(b"x", "q")
    queue = box.state.hosts["/"].queues["q"]
    box.timers.pass_time(999)
    assert len(queue) == 1
    box.timers.pass_time(1)
    assert len(queue) == 0
    assert box.state.store.memory.used == 0
