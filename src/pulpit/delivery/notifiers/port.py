# SPDX-License-Identifier: Apache-2.0
"""What a way out must do: the port between the delivery engine and everything that opens sockets.

A notifier never decides about time, order or giving up. It is handed events in order, tries each once, and says for
each what came of it. Failure that can be foreseen is a value; an exception from `deliver` is a bug.
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
    """The far side has taken responsibility."""

    answer: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Addresses of a listener with several that refused this event for good, with their reasons; the others have it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """It did not work and may heal; `after` is the far side's own wish, or `None`."""

    reason: str
    after: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone(Retry):
    """The far side asked never to be called again: the listener pauses before this event, until somebody resumes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Later(Retry):
    """Not tried, and no failure: the notifier itself wants to be asked again when `after` has passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """It did not work and never will for this event."""

    reason: str


Outcome = Delivered | Retry | Refused

DELIVERED = Delivered()


def described(outcome: Outcome) -> tuple[str, str]:
    """The word for an outcome, and the far side's answer or the reason."""
    if isinstance(outcome, Delivered):
        return "delivered", outcome.answer
    if isinstance(outcome, Gone):
        return "gone", outcome.reason
    return ("retry" if isinstance(outcome, Retry) else "refused"), outcome.reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How a kind of notifier likes to be used."""

    batch: int
    """Most events in one call."""
    overlap: int
    """Calls that may be under way at one time; they are begun in order and never after one has failed."""
    first_retry: timedelta
    longest_retry: timedelta
    lanes: int = 1
    """Repositories that are served beside each other; with more than one, `deliver` is called for several at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What a plug-in is told of the server that it is loaded into."""

    source: str
    """The CloudEvents attribute `source` of all its events: `/pulpit/` and the id of the server."""
    clock: Clock
    """The time, in UTC."""


class Notifier(Protocol):
    """The way out of one listener."""

    async def prepare(self) -> None:
        """Get ready for the first event as far as that can be done in advance; trouble will show when it comes."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Try the events, of which there is at least one, in order.

        Returns one outcome for each event in order, and may stop early: events without an outcome have not been tried,
        or nobody can know what became of them, and are tried again. Nothing follows a `Retry` of any kind.
        Must return within a bounded time whatever the far side does, and can be cancelled at any moment.
        """

    def describe(self, event: Event) -> dict[str, Any]:
        """What `deliver` would send for an event, as JSON values for an operator to read, without secrets."""

    async def close(self) -> None:
        """Let go of every resource; never raises."""


class NotifierType(Protocol):
    """One kind of notifier: checks configurations and opens notifiers."""

    @property
    def pace(self) -> Pace:
        """How it likes to be used."""

    @property
    def kind(self) -> ListenerKind:
        """What its listeners can be told: the options of the command, the form of the page, and which are secrets."""

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Refuse a configuration that cannot work.

        Raises:
            InvalidValue: `notifier_config`, and what is wrong with it.
        """

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Make the notifier of one listener; it connects when it is first used, and nothing is raised here."""

    async def close(self) -> None:
        """Let go of what its notifiers share; never raises."""


class Misconfigured:
    """What a listener gets that cannot be served as it is: it fails with the reason until that is mended."""

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
    """What a notifier type opens that the configuration switches off: it takes everything (Pulp 2's silent no-op)."""

    async def prepare(self) -> None:
        pass

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return [DELIVERED] * len(events)

    def describe(self, event: Event) -> dict[str, Any]:  # noqa: ARG002 - the port's form
        return {}

    async def close(self) -> None:
        pass
