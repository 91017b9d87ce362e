"""The configuration of an amqp listener for both versions of AMQP, and an event as an AMQP 1.0 message."""

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from pulpit.amqp.amqp10.message import Message
from pulpit.backoff import delay
from pulpit.delivery.headers import attributes
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Notifier, Pace
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.listener_options import AMQP

PACE: Final = Pace(batch=500, overlap=2, first_retry=timedelta(seconds=0.5), longest_retry=timedelta(seconds=15))
LONGEST_NAME: Final = 127
"""Bytes of an exchange name (AMQP 0-9-1, domain `exchange-name`), and of a template for routing keys."""
LONGEST_KEY: Final = 255
"""Bytes of a routing key (AMQP 0-9-1, a short string)."""
PLACEHOLDERS: Final = ("event_type", "repo_id", "result")
"""What a routing key template may contain, in braces."""
_PLACEHOLDER: Final = re.compile(f"{{({'|'.join(PLACEHOLDERS)})}}")
NOTHING: Final = "_"
"""Stands for a missing value, and for the dots in a repository's id, so that the number of words stays the same."""
APP_ID: Final = "pulpit"
PERSISTENT: Final = 2


class Format(StrEnum):
    """The headers of a message over AMQP 0-9-1.

    CloudEvents defines a binding for AMQP 1.0 only, which messages over 1.0 always follow; over 0-9-1 its attributes
    are headers with the prefix of that binding.
    """

    PULP = "pulp"
    """What Pulp 2 sent, the numbers, and the trace."""
    CLOUDEVENTS = "cloudevents"
    """The same and the attributes of CloudEvents, most of which repeat standard properties."""


def check_config(config: Mapping[str, Any]) -> None:
    """Reject unknown keys and values that AMQP does not allow.

    Raises:
        InvalidValue: `notifier_config`.
    """
    AMQP.refuse_strangers(config)
    for key in ("exchange", "routing_key"):
        text = config.get(key)
        if text is not None and not isinstance(text, str):
            raise InvalidValue("notifier_config", f"{key} must be text.")
        if text and (len(text.encode()) > LONGEST_NAME or not text.isprintable()):
            raise InvalidValue(
                "notifier_config", f"{key} must be at most {LONGEST_NAME} bytes of printable characters."
            )
    unknown = [name for name in re.findall(r"{([^}]*)}", config.get("routing_key") or "") if name not in PLACEHOLDERS]
    if unknown:
        names = ", ".join(PLACEHOLDERS)
        raise InvalidValue("notifier_config", f"routing_key has no {unknown[0]!r} to fill in; there are {names}.")
    if not isinstance(config.get("require_route", False), bool):
        raise InvalidValue("notifier_config", "require_route must be true or false.")
    if config.get("format") not in (None, "", *Format):
        raise InvalidValue("notifier_config", f"format must be one of {', '.join(Format)}.")


def routing_key(event: Event, template: str | None) -> str:
    """Return the routing key (0-9-1) or subject (1.0): the event's own or the listener's template, cut at 255 bytes."""
    key = event.subject if template is None else _filled(event, template)
    return key.encode()[:LONGEST_KEY].decode(errors="ignore")


def delivered(event: Event, template: str | None) -> Delivered:
    """Return the outcome of an event that the broker has accepted; it says so if the key had to be cut."""
    if template is None or len(_filled(event, template).encode()) <= LONGEST_KEY:
        return DELIVERED
    return Delivered(answer=f"The routing key was cut at {LONGEST_KEY} bytes, which AMQP allows at most.")


class Upkeep:
    """Prepares the notifiers of a connection again after it was lost, even idle ones.

    So a broker that keeps nothing on disk has its exchange back before the next event, and subscribers can bind to it.
    """

    def __init__(self, connected: Callable[[], bool]) -> None:
        self._connected: Final = connected
        self._notifiers: Final[set[Notifier]] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, notifier: Notifier) -> None:
        self._notifiers.add(notifier)

    def discard(self, notifier: Notifier) -> None:
        self._notifiers.discard(notifier)

    def on_lost(self) -> None:
        """Start preparing, unless that is already running."""
        if self._notifiers and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._restore())

    async def close(self) -> None:
        self._notifiers.clear()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _restore(self) -> None:
        attempts = 0
        while self._notifiers:
            attempts += 1
            pause = delay(attempts, first=PACE.first_retry, longest=PACE.longest_retry, random=random.random())  # noqa: S311
            await asyncio.sleep(pause.total_seconds())
            for notifier in tuple(self._notifiers):
                await notifier.prepare()
                if not self._connected():
                    break  # the others would only wait for the same broker
            else:
                return


def _filled(event: Event, template: str) -> str:
    """Fill in a template; a repository's id stays one word, so that subscribers can rely on the number of words."""
    values = {
        "event_type": event.event_type,
        "repo_id": (event.repo_id or NOTHING).replace(".", NOTHING),
        "result": event.result or NOTHING,
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def message(event: Event, source: str, *, subject: str, to: str | None) -> Message:
    """Return the AMQP 1.0 message of an event; identical on every attempt."""
    return Message(
        durable=True,
        message_id=event.id,
        correlation_id=task_id(event),
        to=to,
        subject=subject,
        content_type="application/json",
        creation_time=round(event.occurred_at.timestamp() * 1000),
        application_properties=application_properties(event, source),
        body=event.body.encode(),
    )


def application_properties(event: Event, source: str) -> dict[str, Any]:
    """The headers of 0-9-1 under the same names; `datacontenttype` is the content type (section 3.1)."""
    said: dict[str, Any] = {"pulpit-number": event.number, "traceparent": event.traceparent}
    if event.repo_id is not None:
        said["pulpit-repo-id"] = event.repo_id
    if event.repo_number is not None:
        said["pulpit-repo-number"] = event.repo_number
    return said | {f"cloudEvents:{name}": text for name, text in attributes(event, source).items()}


def task_id(event: Event) -> str | None:
    """The task that fired an event, taken from its trace; an event outside a task is its own trace."""
    trace = event.traceparent[3:35]
    if trace == event.id.replace("-", ""):
        return None
    return f"{trace[:8]}-{trace[8:12]}-{trace[12:16]}-{trace[16:20]}-{trace[20:]}"
