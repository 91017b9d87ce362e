"""The two links by which a client talks to the node /management: requests in, answers out on the same session."""

from typing import Final, Protocol

from pulpit.amqp.amqp10 import words
from pulpit.amqp.amqp10.codec import DecodeError
from pulpit.amqp.amqp10.links import Receiver, Sender
from pulpit.amqp.amqp10.words import ACCEPTED, Condition, Rejected
from pulpit.broker.channel import Link as ChannelLink
from pulpit.broker.dialect10 import management
from pulpit.broker.outbox import Outbox

MAX_OPEN: Final = 32
"""Requests that a client may have sent without having taken the answers."""


class Client(ChannelLink, Protocol):
    """What the office needs of the connection."""

    @property
    def outbox(self) -> Outbox:
        """Where its turns end."""


class Answers:
    """The link by which answers go; they wait for credit."""

    def __init__(self, link: Sender) -> None:
        self.link: Final = link
        self._waiting: list[bytes] = []

    @property
    def is_full(self) -> bool:
        """Whether too many answers wait."""
        return len(self._waiting) >= MAX_OPEN

    def give(self, message: bytes) -> None:
        """Send an answer, now or later."""
        self._waiting.append(message)
        self.credit_changed()

    def credit_changed(self) -> None:
        """Send what waits."""
        while self._waiting and self.link.alive and self.link.credit > 0:
            self.link.send(self._waiting.pop(0), settled=True)
        if self.link.alive and self.link.draining and self.link.credit > 0:
            self.link.drained()


class Requests:
    """The link by which requests come; `answers` is found when the first one does."""

    def __init__(self, client: Client, link: Receiver) -> None:
        self.link: Final = link
        self._client: Final = client

    def grant(self) -> None:
        """Let the client ask."""
        if self.link.alive and self.link.credit < MAX_OPEN // 2:
            self.link.grant(MAX_OPEN - self.link.credit)

    def arrived(self, number: int, data: bytes, answers: Answers | None) -> None:
        """Do what is asked for."""
        if answers is None or answers.is_full:
            reason = "nobody takes the answers: attach a link from this node first, and give it credit"
            self.link.settle(number, Rejected(Condition(words.PRECONDITION_FAILED, reason)))
        else:
            try:
                answers.give(management.answer(self._client, data))
                self.link.settle(number, ACCEPTED)
            except DecodeError as error:
                self.link.settle(number, Rejected(Condition(words.DECODE_ERROR, str(error))))
        self.grant()
