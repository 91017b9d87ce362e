"""The nats notifier: events into a stream of NATS JetStream, over one connection that all listeners share.

Messages go out in a pipelined window and count as delivered when the stream has stored them. Each has the event's id as
`Nats-Msg-Id`, by which the server drops repeats within the stream's duplicate window. A lost connection is reopened for
the next event, and a missing stream is created.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import nats.errors

from pulpit.delivery.headers import http_headers
from pulpit.delivery.notifiers.nats_connection import (
    Acknowledgement,
    Connection,
    Link,
    NatsServers,
    NatsUnavailable,
    said,
)
from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Pace, Refused, Retry
from pulpit.errors import InvalidValue
from pulpit.events import SUBJECT_PREFIX, Event
from pulpit.listener_options import NATS
from pulpit.text import one_line

ACK_TIMEOUT: Final = 30.0
"""Seconds within which the stream must store a window of messages."""
DEFAULT_SUBJECT: Final = SUBJECT_PREFIX + "{event_type}"
LONGEST_SUBJECT: Final = 200
NOTHING: Final = "_"
"""Stands for a missing value, and for characters that a subject must not have within a word."""

_PLACEHOLDER: Final = re.compile(r"\{(event_type|repo_id|result)\}")
_STREAM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_WORDS: Final = re.compile(r"[A-Za-z0-9_-]+(\.([A-Za-z0-9_-]|\{[a-z_]+\})+)*\Z")
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")
_TOO_LARGE: Final = 10054
"""JetStream's error for a message that is larger than the stream allows."""


class Nats:
    """Publishes to the first usable server."""

    kind: Final = NATS
    pace: Final = Pace(batch=250, overlap=4, first_retry=timedelta(seconds=0.5), longest_retry=timedelta(seconds=15))

    def __init__(
        self, servers: NatsServers, default_stream: str, *, source: str = "/pulpit", ack_timeout: float = ACK_TIMEOUT
    ) -> None:
        self._connection: Final = Connection(servers)
        self._default_stream: Final = default_stream
        self._source: Final = source
        self._ack_timeout: Final = ack_timeout

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept `stream` and `subject`.

        Raises:
            InvalidValue: `notifier_config`.
        """
        NATS.check(config)
        check_stream(config.get("stream") or self._default_stream)
        _check_subject(config.get("subject") or DEFAULT_SUBJECT)

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Publish to the listener's stream, or to the default one if it names none."""
        stream, template = (config.get(key) for key in ("stream", "subject"))
        return _Notifier(
            self._connection,
            str(stream or self._default_stream),
            str(template or DEFAULT_SUBJECT),
            source=self._source,
            ack_timeout=self._ack_timeout,
        )

    async def close(self) -> None:
        await self._connection.drop()


class _Notifier:
    def __init__(self, connection: Connection, stream: str, template: str, *, source: str, ack_timeout: float) -> None:
        self._connection: Final = connection
        self._stream: Final = stream
        self._template: Final = template
        self._source: Final = source
        self._ack_timeout: Final = ack_timeout
        self._sending: Final = asyncio.Lock()
        self._failures = 0

    async def prepare(self) -> None:
        """Create the stream, so that consumers can be created before the first event."""
        with contextlib.suppress(NatsUnavailable):
            await self._link()

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Publish all in order, wait until they are stored, and return the outcomes."""
        failures_before = self._failures
        outcomes = await self._publish(events, failures_before)
        if outcomes and isinstance(outcomes[-1], Retry):
            self._failures += 1
        return outcomes

    def describe(self, event: Event) -> dict[str, Any]:
        return {
            "server": self._connection.address,
            "stream": self._stream,
            "subject": subject_of(event, self._template),
            "headers": self._headers(event),
            "body": event.body,
        }

    async def close(self) -> None:
        """Do nothing: the connection is shared."""

    async def _publish(self, events: Sequence[Event], failures_before: int) -> Sequence[Outcome]:
        acknowledgements: list[Acknowledgement] = []
        stopped: Outcome | None = None
        try:
            async with self._sending, asyncio.timeout(self._ack_timeout):
                link = await self._link()
                if self._failures != failures_before:
                    return []  # an earlier call failed while this one waited: sending now would break the order
                for event in events:
                    stopped = await self._send(link, event, acknowledgements)
                    if stopped:
                        break
            if acknowledgements:
                await link.settled(acknowledgements, self._ack_timeout)
        except NatsUnavailable as error:
            return [Retry(reason=str(error))]
        except TimeoutError:
            stopped = Retry(reason=f"The NATS server at {self._connection.address} took no message in time.")
        outcomes = self._outcomes(acknowledgements)
        if len(outcomes) == len(acknowledgements) and not (outcomes and isinstance(outcomes[-1], Retry)) and stopped:
            outcomes.append(stopped)
        if len(outcomes) < len(events) and not (outcomes and isinstance(outcomes[-1], Retry | Refused)):
            outcomes.append(Retry(reason=await self._silent()))
        return outcomes

    async def _send(self, link: Link, event: Event, acknowledgements: list[Acknowledgement]) -> Outcome | None:
        """Publish an event and keep its pending acknowledgement; returns an outcome if it cannot be published."""
        try:
            subject = subject_of(event, self._template)
            acknowledgement = await link.publish(subject, event.body.encode(), self._headers(event))
        except nats.errors.MaxPayloadError:
            size = len(event.body.encode())
            return Refused(reason=f"The message has {size} bytes, more than the NATS server takes.")
        except (nats.errors.Error, OSError) as error:
            return Retry(reason=f"The connection to {self._connection.address} was lost ({said(error)}).")
        acknowledgements.append(acknowledgement)
        return None

    async def _silent(self) -> str:
        """Say why messages were not acknowledged; an unresponsive connection is dropped."""
        reason = self._connection.complaint
        await self._connection.drop()
        said = f": {reason}" if reason else "."
        return f"The NATS server at {self._connection.address} did not say that the stream {self._stream} has it{said}"

    def _outcomes(self, acknowledgements: Sequence[Acknowledgement]) -> list[Outcome]:
        """Return the outcomes of the acknowledged ones, up to the first that is pending or must be retried."""
        outcomes: list[Outcome] = []
        for acknowledgement in acknowledgements:
            if not acknowledgement.done() or acknowledgement.cancelled():
                break
            error = acknowledgement.result()
            outcomes.append(DELIVERED if error is None else self._refusal(error))
            if isinstance(outcomes[-1], Retry):
                break
        for acknowledgement in acknowledgements:
            acknowledgement.cancel()
        return outcomes

    def _refusal(self, error: Mapping[str, Any]) -> Outcome:
        if not error:
            self._connection.forget(self._stream)
            return Retry(reason=f"No stream of the NATS server takes what is published for {self._stream}.")
        if error.get("err_code") == _TOO_LARGE:
            return Refused(reason=f"The stream {self._stream} takes no message so large.")
        said = one_line(str(error.get("description") or error), 300)
        return Retry(reason=f"The stream {self._stream} did not take it: {said}.")

    async def _link(self) -> Link:
        return await self._connection.link(self._stream, _subjects(self._template))

    def _headers(self, event: Event) -> dict[str, str]:
        """CloudEvents headers in the binary mode of NATS, and those that drop repeats and keep other streams out."""
        headers = {
            "Nats-Msg-Id": event.id,
            "Nats-Expected-Stream": self._stream,
            "content-type": "application/json",
            "pulpit-number": str(event.number),
            "traceparent": event.traceparent,
        }
        if event.repo_number is not None:
            headers["pulpit-repo-number"] = str(event.repo_number)
        return headers | http_headers(event, self._source)


def subject_of(event: Event, template: str) -> str:
    """Return the subject of an event; inserted values stay one word, except for the dots of its type."""
    values = {
        "event_type": event.event_type,
        "repo_id": _ODD.sub(NOTHING, event.repo_id or NOTHING),
        "result": _ODD.sub(NOTHING, event.result or NOTHING),
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def _subjects(template: str) -> str:
    """Return the subjects of a stream that is created here: all below the words with which every subject begins."""
    words = template.partition("{")[0].split(".")[:-1] if "{" in template else [template]
    return ".".join([*words, ">"]) if "{" in template else template


def check_stream(name: object) -> None:
    """Reject an invalid stream name.

    Raises:
        InvalidValue: `notifier_config`.
    """
    if not isinstance(name, str) or not _STREAM.match(name):
        raise InvalidValue("notifier_config", "stream must be 1 to 64 letters, digits, '-' and '_'.")


def _check_subject(template: str) -> None:
    unknown = [name for name in re.findall(r"{([^}]*)}", template) if name not in ("event_type", "repo_id", "result")]
    if unknown:
        reason = f"subject has no {unknown[0][:40]!r} to fill in; there are event_type, repo_id and result."
        raise InvalidValue("notifier_config", reason)
    if len(template) > LONGEST_SUBJECT or not _WORDS.match(template):
        reason = (
            f"subject must be at most {LONGEST_SUBJECT} characters: words of letters, digits, '-' and '_' with dots "
            "between, of which the first is written out, such as pulp.{repo_id}.{event_type}."
        )
        raise InvalidValue("notifier_config", reason)
