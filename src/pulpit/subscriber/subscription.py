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
    """Events, one after the other: `async with … as events: async for event in events: …`.

    An event counts as done, and the broker forgets it, when the next one is asked for, or when the `async with` block
    is left without an exception; with one it comes again. With `acknowledge="explicit"` it is done when it is given to
    `acknowledge`. One task iterates; any may acknowledge.
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
        """Wait until the broker and the exchange are there, and subscribe.

        Raises:
            SubscriptionRefused: the broker says no for good, or every one of them does.
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
        """Wait for the next event, over as many connections as it takes.

        Raises:
            SubscriptionRefused: as above, when the subscription has to be made again after a loss.
            RuntimeError: it is asked outside of `async with`.
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
        """Say that an event is done. Saying it twice is saying it once."""
        for delivery in self._unsettled.drop(event):
            delivery.line.settle(delivery, Verdict.ACCEPTED)
            self._handled.add(event.id)

    def release(self, event: Event) -> None:
        """Give an event back into its queue: it comes again, here or to another reader, without a pause."""
        for delivery in self._unsettled.drop(event):
            delivery.line.settle(delivery, Verdict.RELEASED)

    def reject(self, event: Event) -> None:
        """Say that an event will never do: it does not come again; the queue's dead-letter exchange has it, if any."""
        for delivery in self._unsettled.drop(event):
            delivery.line.settle(delivery, Verdict.REJECTED)

    @property
    def missing(self) -> tuple[Gap, ...]:
        """What was missing and has not come since; empty without `on_gap`."""
        return self._gaps.open if self._gaps else ()

    @property
    def last_numbers(self) -> dict[str, int]:
        """The highest number that has come of each repository; empty without `on_gap`."""
        return self._gaps.last_numbers if self._gaps else {}

    def _read(self, delivery: Delivery) -> Event | None:
        """Read a message; one that cannot be read is set aside, because the next reader would fare no better."""
        try:
            return read(delivery.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not come again for ever
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
                f"the events of repository {shown.repo_id} are counted anew, by {shown.number} after {shown.highest}: "
                "the server's database was restored or made anew, and events may be missing"
            )


class _Unsettled:
    """Events that were handed out and are not done, each with its deliveries.

    After a lost connection the broker hands out again what it had no word of. Such a second copy of an event that
    somebody is at work on joins the first: it is not handed out, and is settled with it.
    """

    def __init__(self, *, merge: bool) -> None:
        self._merge: Final = merge
        self._deliveries: dict[int, tuple[Event, list[Delivery]]] = {}
        self._by_id: dict[str, list[Delivery]] = {}

    def take(self, event: Event, delivery: Delivery) -> None:
        """Put an event into somebody's hands."""
        deliveries = [delivery]
        self._deliveries[id(event)] = event, deliveries
        if event.id and self._merge:
            self._by_id[event.id] = deliveries

    def join(self, event_id: str, delivery: Delivery) -> bool:
        """Add a delivery to the event that has this id, if it is in somebody's hands."""
        deliveries = self._by_id.get(event_id)
        if deliveries is None:
            return False
        deliveries.append(delivery)
        return True

    def drop(self, event: Event) -> list[Delivery]:
        """Take an event out of the hands, and answer what there is to settle: nothing, if it was not in them."""
        known = self._deliveries.pop(id(event), None)
        if known is None or known[0] is not event:
            return []
        self._by_id.pop(event.id, None)
        return known[1]


class HandledIds:
    """Remembers the last ids, at most `limit` of them; an empty id is nobody's."""

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, event_id: str) -> None:
        """Remember one, and forget the oldest above the limit."""
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
    """What follows the counters, if somebody wants to hear of gaps.

    Raises:
        ConfigurationError: the subject leaves events out, so that a number that does not come proves nothing.
    """
    if on_gap is None:
        return None
    if not leaves_nothing_out(subject):
        reason = (
            f"the subject {subject} leaves events out, so a missing number proves nothing; subscribe to # for this."
        )
        raise ConfigurationError("on_gap", reason)
    return Gaps(last_numbers, datetime.now(UTC))
