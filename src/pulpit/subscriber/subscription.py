# SPDX-License-Identifier: Apache-2.0
"""The subscription that a program iterates over."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from pulpit.errors import ConfigurationError
from pulpit.subscriber.event import Event, read
from pulpit.subscriber.gaps import Gap, Gaps, leaves_nothing_out
from pulpit.subscriber.source import Delivery, MessageStream, Verdict
from pulpit.text import escaped

OnGap = Callable[[Gap], None]
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Subscription:
    """Events, one after another: `async with … as events: async for event in events: …`.

    An event is acknowledged, and deleted by the broker, when the next one is requested, or when the `async with` block
    is left without an exception; with one it is redelivered. With `acknowledge="explicit"` it is acknowledged by
    `acknowledge`. Only one task may iterate; any may acknowledge.
    """

    def __init__(
        self, stream: MessageStream, *, automatic: bool, remember: int, gaps: Gaps | None, on_gap: OnGap | None
    ) -> None:
        self._stream: Final = stream
        self._automatic: Final = automatic
        self._handled: Final = HandledIds(remember)
        self._unsettled: Final = _Unsettled(merge=remember > 0)
        self._gaps: Final = gaps
        self._on_gap: Final = on_gap
        self._last: Event | None = None
        self._entered = False

    async def __aenter__(self) -> Self:
        """Wait until the broker and the exchange exist, and subscribe.

        Raises:
            SubscriptionRefused: every broker refuses permanently.
        """
        await self._stream.start()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered = False
        if kind is None:
            self._settle_last()
        await self._stream.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event, reconnecting as often as needed.

        Raises:
            SubscriptionRefused: as above, when the subscription has to be made again after a loss.
            RuntimeError: it is called outside of `async with`.
        """
        if not self._entered:
            raise RuntimeError("a subscription is iterated over within `async with`, which also ends it")
        self._settle_last()
        while True:
            delivery = await self._stream.next()
            event = self._read(delivery)
            if event is None:
                continue
            if event.id in self._handled:
                delivery.line.settle(delivery, Verdict.ACCEPTED)
            elif not self._unsettled.join(event.id, delivery):
                self._unsettled.take(event, delivery)
                self._last = event
                self._count(event)
                return event

    def acknowledge(self, event: Event) -> None:
        """Acknowledge an event; a second time has no effect."""
        for delivery in self._unsettled.drop(event):
            delivery.line.settle(delivery, Verdict.ACCEPTED)
            self._handled.add(event.id)

    def release(self, event: Event) -> None:
        """Requeue an event: it is redelivered, here or to another consumer, without a pause."""
        for delivery in self._unsettled.drop(event):
            delivery.line.settle(delivery, Verdict.RELEASED)

    def reject(self, event: Event) -> None:
        """Reject an event: it is not redelivered; it goes to the queue's dead-letter exchange, if any."""
        for delivery in self._unsettled.drop(event):
            delivery.line.settle(delivery, Verdict.REJECTED)

    @property
    def missing(self) -> tuple[Gap, ...]:
        """Return what was missing and has not arrived since; empty without `on_gap`."""
        return self._gaps.open if self._gaps else ()

    @property
    def last_numbers(self) -> dict[str, int]:
        """Return the highest number that has arrived for each repository; empty without `on_gap`."""
        return self._gaps.last_numbers if self._gaps else {}

    def _read(self, delivery: Delivery) -> Event | None:
        """Parse a message; reject one that cannot be parsed, because the next consumer would fail too."""
        try:
            return read(delivery.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be redelivered for ever
            delivery.line.settle(delivery, Verdict.REJECTED)
            subject = escaped(delivery.message.subject)
            self._stream.tell(f"a message with the subject {subject} cannot be read ({error!r}) and is rejected")
            return None

    def _settle_last(self) -> None:
        last, self._last = self._last, None
        if last is not None and self._automatic:
            self.acknowledge(last)

    def _count(self, event: Event) -> None:
        if self._gaps is None or self._on_gap is None or event.repo_id is None or not event.repo_number:
            return
        shown = self._gaps.note(event.repo_id, event.repo_number, event.occurred_at or _LONG_AGO)
        if isinstance(shown, Gap):
            self._on_gap(shown)
        elif shown is not None:
            self._stream.tell(
                f"the numbers of repository {shown.repo_id} start again, with {shown.number} after {shown.highest}: "
                "the server's database was restored or recreated, and events may be missing"
            )


class _Unsettled:
    """Events that were returned and are not settled, each with its deliveries.

    After a lost connection the broker redelivers what was not acknowledged. Such a duplicate of an event in progress is
    not returned but settled together with it.
    """

    def __init__(self, *, merge: bool) -> None:
        self._merge: Final = merge
        self._deliveries: dict[int, tuple[Event, list[Delivery]]] = {}
        self._by_id: dict[str, list[Delivery]] = {}

    def take(self, event: Event, delivery: Delivery) -> None:
        """Add an event that is being handled."""
        deliveries = [delivery]
        self._deliveries[id(event)] = event, deliveries
        if event.id and self._merge:
            self._by_id[event.id] = deliveries

    def join(self, event_id: str, delivery: Delivery) -> bool:
        """Add a delivery to the event with this id, if it is being handled."""
        deliveries = self._by_id.get(event_id)
        if deliveries is None:
            return False
        deliveries.append(delivery)
        return True

    def drop(self, event: Event) -> list[Delivery]:
        """Remove an event and return the deliveries to settle; none if it was not being handled."""
        known = self._deliveries.pop(id(event), None)
        if known is None or known[0] is not event:
            return []
        self._by_id.pop(event.id, None)
        return known[1]


class HandledIds:
    """Remembers the last ids, at most `limit` of them; empty ids are ignored."""

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, event_id: str) -> None:
        """Remember one, and forget the oldest beyond the limit."""
        if not event_id or not self._limit:
            return
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)


def counting(on_gap: OnGap | None, subject: str, last_numbers: Mapping[str, int]) -> Gaps | None:
    """Return the tracker of gaps, if `on_gap` is given.

    Raises:
        ConfigurationError: the subject excludes some events, so a missing number proves nothing.
    """
    if on_gap is None:
        return None
    if not leaves_nothing_out(subject):
        reason = (
            f"the subject {subject} leaves events out, so a missing number proves nothing; subscribe to # for this."
        )
        raise ConfigurationError("on_gap", reason)
    return Gaps(last_numbers, datetime.now(UTC))
