"""What tests of AMQP 1.0 share: whether it can run here, and two engines that talk to each other without a network."""

import pytest

from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.events import Attached, Event
from pulpit.amqp.amqp10.links import Link, Receiver, Sender
from pulpit.amqp.amqp10.words import Terminus

needs_amqp10 = pytest.mark.skipif(
    not proton.available(), reason="python-qpid-proton is not installed (it is built by pip; see .venv/amqp10.log)"
)


class Pair:
    """A client and a server, connected."""

    def __init__(self, *, largest_message: int = 1_000_000, idle_timeout: float = 0) -> None:
        self.client = Engine(Setup(container="client", hostname="here", idle_timeout=idle_timeout))
        self.server = Engine(Setup(container="server", largest_message=largest_message), server=True)

    def open(self) -> "Pair":
        """Open both."""
        self.client.open()
        self.server.open()
        self.talk()
        return self

    def talk(self) -> tuple[list[Event], list[Event]]:
        """Carry bytes to and fro until there are none; answers what happened at the client and at the server."""
        at_client: list[Event] = []
        at_server: list[Event] = []
        while True:
            up, down = self.client.take_output(), self.server.take_output()
            self.server.receive(up)
            self.client.receive(down)
            at_client += self.client.events()
            at_server += self.server.events()
            if not up and not down:
                return at_client, at_server

    def sending(self, credit: int = 10) -> tuple[Sender, Receiver]:
        """A link from the client to the server; the server's end has granted some credit."""
        sender = self.client.sender(self.client.begin(), "out")
        sender.attach(target=Terminus(address="exchange"))
        receiver = asked(self.talk()[1])
        assert isinstance(receiver, Receiver)
        receiver.attach(target=receiver.target)
        receiver.grant(credit)
        self.talk()
        return sender, receiver

    def free(self) -> None:
        """Give the memory back."""
        self.client.free()
        self.server.free()


def asked(events: list[Event]) -> Link:
    """The link that the peer asks for."""
    (link,) = (event.link for event in events if isinstance(event, Attached) and event.asked)
    return link
