# SPDX-License-Identifier: Apache-2.0
"""What a way out must do: the port between the delivery engine and everything that opens sockets.

A notifier never decides about time, order or giving up. It is handed events in order, tries each once, and says for
each what came of it. Failure that can be foreseen is a value; an exception from `deliver` is a bug.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Lock
from typing import Any, Final, Protocol

from pulpit.errors import InvalidValue
from pulpit.events import Event


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
    def secret_keys(self) -> frozenset[str]:
        """Keys of the configuration that are never shown again."""

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Refuse a configuration that cannot work.

        Raises:
            InvalidValue: `notifier_config`, and what is wrong with it.
        """

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Make the notifier of one listener; it connects when it is first used, and nothing is raised here."""

    async def close(self) -> None:
        """Let go of what its notifiers share; never raises."""


class NotifierTypes:
    """The types by their id, as the API needs them to check what it is given."""

    def __init__(
        self, by_id: Mapping[str, NotifierType], *, on_demand: Mapping[str, Callable[[], NotifierType]] | None = None
    ) -> None:
        """Take those that are there, and how to make others when somebody first asks for them."""
        self._by_id: Final = dict(by_id)
        self._on_demand: Final = dict(on_demand or {})
        self._lock: Final = Lock()

    def __contains__(self, type_id: object) -> bool:
        return type_id in self._by_id or type_id in self._on_demand

    def __getitem__(self, type_id: str) -> NotifierType:
        if type_id not in self._by_id and type_id in self._on_demand:
            with self._lock:
                if type_id not in self._by_id:
                    self._by_id[type_id] = self._on_demand[type_id]()
        return self._by_id[type_id]

    def check_config(self, type_id: str, config: Mapping[str, Any]) -> None:
        """Refuse a configuration that cannot work.

        Raises:
            InvalidValue: `notifier_config`, and what is wrong with it.
        """
        self[type_id].check_config(config)

    def pace(self, type_id: str, config: Mapping[str, Any]) -> Pace:
        """How a listener is to be used: `lanes` keep order within a repository, `concurrency` gives it up."""
        pace = replace(self[type_id].pace, lanes=_number(config.get("lanes")))
        several = _number(config.get("concurrency"))
        return replace(pace, batch=1, overlap=several) if several > 1 else pace

    def secret_keys(self, type_id: str) -> frozenset[str]:
        """Keys that are never shown again; none for a kind that is unknown here."""
        return self[type_id].secret_keys if type_id in self else frozenset()

    async def close(self) -> None:
        """Close every type that was used."""
        for notifier_type in list(self._by_id.values()):
            await notifier_type.close()


def _number(given: object) -> int:
    """A number of a configuration; whatever a plug-in may mean by another value is none of ours."""
    text = str(given)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 1  # noqa: PLR2004 - digits


class Misconfigured:
    """What a listener gets whose stored configuration cannot be used: it fails with the reason until that is mended."""

    def __init__(self, complaint: InvalidValue) -> None:
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
