"""Direct reply-to: answers that go straight to the channel of the asker, without a queue."""

import base64
import os
from typing import Final, Protocol

from pulpit.broker.message import Message

PSEUDO_QUEUE: Final = "amq.rabbitmq.reply-to"
PREFIX: Final = PSEUDO_QUEUE + "."


class Asker(Protocol):
    """A channel that consumes from the pseudo-queue."""

    def answer(self, message: Message) -> None:
        """Deliver an answer."""


class ReplyDesk:
    """The askers of a broker, by the address that they put into their questions."""

    def __init__(self) -> None:
        self._askers: dict[str, Asker] = {}

    def enter(self, asker: Asker) -> str:
        """Give an asker an address that nobody can guess."""
        address = PREFIX + base64.urlsafe_b64encode(os.urandom(18)).decode()
        self._askers[address] = asker
        return address

    def leave(self, address: str) -> None:
        """The asker is gone."""
        self._askers.pop(address, None)

    def find(self, address: str) -> Asker | None:
        """Who waits at this address."""
        return self._askers.get(address)
