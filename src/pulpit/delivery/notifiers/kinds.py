"""The kinds of notifiers that a server has, by id: its own, those of plug-ins, and those that cannot be used.

A listener whose kind is missing or unusable fails with the reason until that is fixed: operators see it, its events
wait, and no other listener is affected.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Lock
from typing import Any, Final

from pulpit.delivery.notifiers.port import Discarding, Misconfigured, Notifier, NotifierType, Pace
from pulpit.errors import InvalidValue
from pulpit.listener_options import ListenerKind

_log = logging.getLogger(__name__)

OURS: Final = "pulpit"
"""The distribution of Pulpit's own kinds."""
MOST_TOGETHER: Final = 500
"""Events in one call that a configuration may ask for."""
MOST_AT_ONCE: Final = 64
"""Concurrent calls of one listener, if it gives up order or keeps it only within a repository."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A kind, and a factory for its notifier type, called at first use."""

    kind: ListenerKind
    make: Callable[[], NotifierType]
    brought_by: str = OURS
    """The distribution, with its version if it is not Pulpit."""
    problem: str = ""
    """Why no listener of the kind can be served here, as a sentence."""


class Unusable:
    """Stands for a kind that cannot be used on this server."""

    pace: Final = Pace(batch=1, overlap=1, first_retry=timedelta(seconds=5), longest_retry=timedelta(minutes=5))

    def __init__(self, kind: ListenerKind, problem: str) -> None:
        self.kind: Final = kind
        self._problem: Final = problem

    def check_config(self, config: Mapping[str, Any]) -> None:  # noqa: ARG002 - the port's form
        """Reject every configuration.

        Raises:
            InvalidValue: `notifier_type_id`, with the reason.
        """
        raise InvalidValue("notifier_type_id", self._problem)

    def open(self, config: Mapping[str, Any]) -> Notifier:  # noqa: ARG002 - the port's form
        """Return a notifier that retries every event with the reason."""
        return Misconfigured(self._problem)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


class SwitchedOff:
    """Stands for a kind that the configuration switches off: listeners exist and nothing is sent (Pulp 2's rule)."""

    pace: Final = Pace(batch=500, overlap=1, first_retry=timedelta(seconds=5), longest_retry=timedelta(minutes=5))

    def __init__(self, kind: ListenerKind, check_config: Callable[[Mapping[str, Any]], object], reason: str) -> None:
        """Accept the configurations that the real notifier type would accept; the reason is a sentence."""
        self.kind: Final = kind
        self._reason: Final = f"Nothing is sent: {reason}"
        self._check_config: Final = check_config

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Reject an invalid configuration.

        Raises:
            InvalidValue: `notifier_config`.
        """
        self._check_config(config)

    def open(self, config: Mapping[str, Any]) -> Notifier:  # noqa: ARG002 - the port's form
        """Return a notifier that accepts every event and sends none."""
        _log.debug("%s is switched off: nothing is sent", self.kind.id, extra={"action": f"{self.kind.id}_disabled"})
        return Discarding(self._reason)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def unusable(kind: ListenerKind, problem: str, brought_by: str = OURS) -> Registered:
    """Register a kind that is known but unusable; the problem is a sentence that says what to do."""
    return Registered(kind=kind, make=lambda: Unusable(kind, problem), brought_by=brought_by, problem=problem)


class NotifierTypes:
    """All kinds: the delivery engine opens notifiers with them, and the API validates configurations."""

    def __init__(self, by_id: Mapping[str, NotifierType], on_demand: Iterable[Registered] = ()) -> None:
        """Register the types that exist already, and those to be created at first use."""
        self._made: Final = dict(by_id)
        self._registered: Final = {registered.kind.id: registered for registered in on_demand}
        self._lock: Final = Lock()

    def __contains__(self, type_id: object) -> bool:
        return type_id in self._made or type_id in self._registered

    def __getitem__(self, type_id: str) -> NotifierType:
        """Return the notifier type of a kind; for an unknown kind one that fails with the reason."""
        if type_id not in self._made:
            if type_id not in self._registered:
                kind = ListenerKind(id=type_id, summary="", options=())
                return Unusable(kind, f"This server has no notifier of kind {type_id}; install what brings it.")
            with self._lock:
                if type_id not in self._made:
                    self._made[type_id] = self._registered[type_id].make()
        return self._made[type_id]

    @property
    def registered(self) -> list[Registered]:
        """Every kind, by its id."""
        own = [
            Registered(kind=made.kind, make=lambda made=made: made)  # type: ignore[misc] # mypy infers no such lambda
            for type_id, made in self._made.items()
            if type_id not in self._registered
        ]
        return sorted([*own, *self._registered.values()], key=lambda registered: registered.kind.id)

    def kind(self, type_id: str) -> ListenerKind | None:
        """Return the options of a kind, if known, without creating its notifier type."""
        if type_id in self._registered:
            return self._registered[type_id].kind
        return self._made[type_id].kind if type_id in self._made else None

    def check_config(self, type_id: str, config: Mapping[str, Any]) -> None:
        """Reject an invalid configuration.

        Raises:
            InvalidValue: `notifier_config`, with the reason; `notifier_type_id` if the kind cannot be used.
        """
        self[type_id].check_config(config)

    def pace(self, type_id: str, config: Mapping[str, Any]) -> Pace:
        """Return a listener's pace: `lanes` keeps order within a repository, `concurrency` gives it up.

        A kind with `batch` names the number of events in one batch first. With lanes a call has one batch: the events
        of several calls are in memory, and those of slow repositories must leave room for others.
        """
        pace = replace(self[type_id].pace, lanes=_number(config.get("lanes")))
        together = str(config.get("batch") or "").partition("/")[0]
        if together.isascii() and together.isdigit():
            batches = pace.batches if pace.lanes == 1 else 1
            pace = replace(pace, batch=batches * max(1, min(int(together[:10]), MOST_TOGETHER)))
        several = _number(config.get("concurrency"))
        return replace(pace, batch=1, overlap=several) if several > 1 else pace

    def secret_keys(self, type_id: str, config: Mapping[str, Any]) -> frozenset[str]:
        """Return the keys that are never shown again: all of them if the kind is unknown."""
        kind = self.kind(type_id)
        declared = frozenset[str]() if kind is None else kind.secrets
        return declared | (config.keys() - set(kind.names if kind else ()))

    def target(self, type_id: str, config: Mapping[str, Any]) -> str:
        """Say where a listener's events go, for lists; empty if unknown."""
        kind = self.kind(type_id)
        return kind.target(config) if kind else ""

    async def close(self) -> None:
        for notifier_type in list(self._made.values()):
            await notifier_type.close()


def _number(given: object) -> int:
    """Read a number from a configuration; other values are left to the plug-in."""
    text = str(given)
    return max(1, min(int(text[:10]), MOST_AT_ONCE)) if text.isascii() and text.isdigit() else 1
