# SPDX-License-Identifier: Apache-2.0
"""The port between the delivery engine and everything that sends events.

A notifier never decides about time, order or giving up. It gets events in order, tries each once, and returns an
outcome for each. Foreseeable failure is a value; an exception from `deliver` is a bug.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from pulpit.clock import Clock
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.listener_options import ListenerKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """The receiver has taken responsibility for the event."""

    answer: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    """For a listener with several addresses: those that refused this event permanently, with reasons.

    The others have it.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """A transient failure: try again later.

    `after` is the pause that the receiver asked for (such as `Retry-After`), or `None`.
    """

    reason: str
    after: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone(Retry):
    """The receiver asked never to be called again: the listener pauses before this event, until a user resumes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Later(Retry):
    """Not tried and not a failure: the notifier wants to be called again when `after` has passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A permanent failure for this event: it becomes a dead letter."""

    reason: str


Outcome = Delivered | Retry | Refused

DELIVERED = Delivered()


def described(outcome: Outcome) -> tuple[str, str]:
    """Return the name of an outcome, and the receiver's answer or the reason."""
    if isinstance(outcome, Delivered):
        return "delivered", outcome.answer
    if isinstance(outcome, Gone):
        return "gone", outcome.reason
    return ("retry" if isinstance(outcome, Retry) else "refused"), outcome.reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How a kind of notifier should be called."""

    batch: int
    """Most events in one call."""
    batches: int = 1
    """The same as a number of batches, for a listener that names the events of one batch."""
    overlap: int
    """Calls that may be in flight at a time; they start in order and never after one has failed."""
    first_retry: timedelta
    longest_retry: timedelta
    lanes: int = 1
    """Repositories served concurrently; with more than one, `deliver` is called for several at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What a plug-in is told about the server that loads it."""

    source: str
    """The CloudEvents attribute `source` of all its events: `/pulpit/` and the server's id."""
    clock: Clock
    """The current time, in UTC."""


class Notifier(Protocol):
    """Delivers the events of one listener."""

    async def prepare(self) -> None:
        """Prepare for the first event, such as declaring an exchange.

        A failure will show when an event is delivered.
        """

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Try the events, at least one, in order.

        Returns one outcome for each event in order, and may stop early: events without an outcome have not been tried,
        or their outcome cannot be known, and they are tried again. Nothing follows a `Retry` of any kind. Must return
        within a bounded time whatever the receiver does, and can be cancelled at any moment.
        """

    def describe(self, event: Event) -> dict[str, Any]:
        """What `deliver` would send for an event, as JSON values for an operator to read, without secrets."""

    async def close(self) -> None:
        """Release every resource; never raises."""


class NotifierType(Protocol):
    """One kind of notifier: checks configurations and opens notifiers."""

    @property
    def pace(self) -> Pace:
        """How it should be called."""

    @property
    def kind(self) -> ListenerKind:
        """The options of its listeners: for the command and the form on the page, with which are secrets."""

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Reject an invalid configuration.

        Raises:
            InvalidValue: `notifier_config`, with the reason.
        """

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Create the notifier of one listener; it connects at first use and never raises here."""

    async def close(self) -> None:
        """Release what its notifiers share; never raises."""


class Misconfigured:
    """The notifier of a listener that cannot be served as configured: it fails with the reason until that is fixed."""

    def __init__(self, complaint: InvalidValue | str) -> None:
        self._reason: Final = str(complaint)

    async def prepare(self) -> None:
        pass

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:  # noqa: ARG002 - the port's form
        return [Retry(reason=self._reason)]

    def describe(self, event: Event) -> dict[str, Any]:  # noqa: ARG002 - the port's form
        return {}

    async def close(self) -> None:
        pass


class Discarding:
    """The notifier of a type that the configuration switches off: it discards everything, as Pulp 2 does."""

    def __init__(self, reason: str) -> None:
        self._discarded: Final = Delivered(answer=reason)

    async def prepare(self) -> None:
        pass

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return [self._discarded] * len(events)

    def describe(self, event: Event) -> dict[str, Any]:  # noqa: ARG002 - the port's form
        return {}

    async def close(self) -> None:
        pass
