"""Messages over AMQP 1.0, on the client of `pulpit.amqp.amqp10`.

    connect ──► which broker? ──► its way of subscribing (`manners10`) ──► attach with a window of credit

Where a broker speaks AMQP 0-9-1 on the same port, that is what makes and binds a queue: AMQP 1.0 itself knows neither.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from pulpit.amqp.amqp10 import client, words
from pulpit.amqp.amqp10.address import Address
from pulpit.amqp.amqp10.attached import Receiver
from pulpit.amqp.amqp10.client import Connection, Manner
from pulpit.amqp.amqp10.lost import Cause, Lost
from pulpit.subscriber.amqp091 import EXCHANGE_PAUSE, Amqp091Source
from pulpit.subscriber.arrival10 import read
from pulpit.subscriber.manners10 import Broker, Place, Recognize, recognize
from pulpit.subscriber.source import Delivery, Doubts, Interrupted, Line, Outgoing, SubscriptionRefused, Tell, Verdict
from pulpit.subscriber.wish import Wish
from pulpit.topics import matches

_HOPELESS: Final = frozenset(
    {
        words.UNAUTHORIZED,
        words.NOT_ALLOWED,
        words.PRECONDITION_FAILED,
        words.INVALID_FIELD,
        words.NOT_IMPLEMENTED,
        words.RESOURCE_LOCKED,
    }
)
_OUTCOMES: Final[Mapping[Verdict, words.Outcome]] = {Verdict.ACCEPTED: words.ACCEPTED, Verdict.RELEASED: words.RELEASED}


class Amqp10Source:
    """One broker that speaks AMQP 1.0."""

    def __init__(
        self, address: Address, manner: Manner, where: str, declaring: Amqp091Source, recognize: Recognize = recognize
    ) -> None:
        self._address: Final = address
        self._manner: Final = manner
        self._where: Final = where
        self._declaring: Final = declaring
        self._recognize: Final = recognize
        self._doubts: Final = Doubts()

    @property
    def where(self) -> str:
        """Its address."""
        return self._where

    async def open(self, wish: Wish, tell: Tell) -> Line:
        """Connect, find the place to receive from, and attach.

        Raises:
            Interrupted: it is not to be had now.
            SubscriptionRefused: credentials, certificate, permission, queue or protocol are refused.
        """
        try:
            connection = await client.connect(self._address, self._manner)
        except Lost as lost:
            raise self._judged(lost) from None
        try:
            line = await self._subscribed(connection, wish, tell)
        except Lost as lost:
            await connection.close()
            raise self._judged(lost) from None
        except BaseException:
            await connection.close()
            raise
        self._doubts.clear()
        return line

    async def _subscribed(self, connection: Connection, wish: Wish, tell: Tell) -> Line:
        broker = self._recognize(connection.remote)
        if broker.declares(wish):
            place = broker.queue(await self._declaring.declare(wish, tell))
            receiver = await connection.receiver(place.source, name=place.name, window=wish.prefetch)
        else:
            place = broker.exchange(wish)
            receiver = await self._attached(connection, place, wish, tell)
        return _Line(connection, receiver, wish=wish, broker=broker, place=place, where=self._where)

    async def _attached(self, connection: Connection, place: Place, wish: Wish, tell: Tell) -> Receiver:
        """Attach to the exchange, as soon as there is one."""
        told = False
        while True:
            try:
                return await connection.receiver(place.source, name=place.name, window=wish.prefetch)
            except Lost as lost:
                if connection.lost or lost.condition is None or lost.condition.name != words.NOT_FOUND:
                    raise
            if not told:
                tell(f"exchange {wish.exchange} does not exist yet, waiting for it")
            told = True
            await asyncio.sleep(EXCHANGE_PAUSE)

    def _judged(self, lost: Lost) -> Interrupted | SubscriptionRefused:
        """Tell what may heal from what will not."""
        reason = self._hopeless(lost)
        return Interrupted(_in_words(lost)) if reason is None else SubscriptionRefused(f"{self._where} {reason}")

    def _hopeless(self, lost: Lost) -> str | None:
        match lost.cause:
            case Cause.LOGIN:
                return "refuses the user name or password"
            case Cause.MECHANISM:
                return f"refuses the way of logging in: {_in_words(lost)}"
            case Cause.CERTIFICATE:
                return f"shows a certificate that is not trusted: {_in_words(lost)}"
            case Cause.PROTOCOL if self._doubts.believed():
                return f"does not speak AMQP 1.0: {_in_words(lost)}"
            case Cause.CLOSED if lost.condition and lost.condition.name in _HOPELESS:
                return f"refuses the subscription: {lost.condition}"
        return None


class _Line:
    """A receiving link."""

    def __init__(
        self, connection: Connection, receiver: Receiver, *, wish: Wish, broker: Broker, place: Place, where: str
    ) -> None:
        self._connection: Final = connection
        self._receiver: Final = receiver
        self._wish: Final = wish
        self._broker: Final = broker
        self._place: Final = place
        self._where: Final = where
        self._outgoing: Final = Outgoing(1)

    async def next(self) -> Delivery:
        """Wait for the next message; those that the broker could not leave out are left out here."""
        while True:
            await self._outgoing.written()
            try:
                arrived = await self._receiver.next()
            except Lost as lost:
                raise self._interrupted(lost) from None
            if self._wish.stays and self._receiver.lost:
                raise self._interrupted(self._receiver.lost)
            message = read(arrived.message, self._wish.exchange, self._broker)
            if not self._place.unfiltered or matches(self._wish.subject, message.subject):
                return Delivery(message=message, line=self, tag=arrived)
            self._receiver.settle(arrived, words.ACCEPTED)

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Accept or release."""
        self._receiver.settle(delivery.tag, _OUTCOMES[verdict])

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    def _interrupted(self, lost: Lost) -> Interrupted:
        gone = self._connection.lost is None
        told = f"the queue at {self._where} is gone, making it again" if gone else None
        return Interrupted(_in_words(lost), told=told)


def _in_words(lost: Lost) -> str:
    """The reason alone, where the client names the broker before it."""
    sentence = str(lost).rstrip(".")
    return sentence.partition(": ")[2] or sentence
