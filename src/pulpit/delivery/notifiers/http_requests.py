"""What is posted: bodies with their headers, signed, for one event or for several together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pulpit import __version__
from pulpit.clock import Clock
from pulpit.delivery import headers as event_headers
from pulpit.delivery.notifiers import cdevents
from pulpit.delivery.notifiers.http_bodies import Body, Format, bodies_of, body_of
from pulpit.delivery.notifiers.http_config import Batch, Hook
from pulpit.delivery.notifiers.port import Later
from pulpit.events import Event

MOST_CHARACTERS: Final = 1024 * 1024
"""Of the messages in one batch, but for a single one that has more."""

_SAME: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"Pulpit/{__version__}"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent in one attempt, beside the listener's own headers."""

    headers: dict[str, str]
    body: bytes


class RequestWriter:
    """Writes the requests of one listener."""

    def __init__(self, hook: Hook, source: str, clock: Clock) -> None:
        self._hook: Final = hook
        self._source: Final = source
        self._clock: Final = clock

    def missing(self, event: Event) -> str | None:
        """Why there is nothing to send for an event, or nothing if there is."""
        return cdevents.missing(event) if self._hook.form is Format.CDEVENTS else None

    def one(self, event: Event) -> Request:
        """The request that tells of one event."""
        body = body_of(event, self._hook.form, self._source)
        headers = {**_SAME, "Content-Type": body.content_type, "pulpit-number": str(event.number)}
        if event.repo_number is not None:
            headers["pulpit-repo-number"] = str(event.repo_number)
        headers["traceparent"] = event.traceparent
        if '"hops":' in event.body:  # a hook has fired it, which a receiver that is one must know
            headers[f"pulpit-{event_headers.HOPS}"] = str(_hops(event))
        if self._hook.form is Format.CDEVENTS:
            headers |= event_headers.as_http(cdevents.attributes(event, self._source))
        elif self._hook.form is not Format.CLOUDEVENTS:
            headers |= event_headers.http_headers(event, self._source)
        return self._signed(headers, event.id, body)

    def several(self, events: Sequence[Event]) -> Request:
        """The request that tells of some events together; its id is the same whenever the same ones are sent."""
        first, last = events[0], events[-1]
        body = bodies_of(events, self._hook.form, self._source)
        headers = {
            **_SAME,
            "Content-Type": body.content_type,
            "pulpit-first-number": str(first.number),
            "pulpit-last-number": str(last.number),
            "pulpit-count": str(len(events)),
        }
        if any('"hops":' in event.body for event in events):
            headers[f"pulpit-{event_headers.HOPS}"] = str(max(map(_hops, events)))
        return self._signed(headers, f"{first.id}-{last.number}-{len(events)}", body)

    def _signed(self, headers: dict[str, str], message_id: str, body: Body) -> Request:
        hook = self._hook
        if hook.keys:
            headers |= event_headers.signature_headers(message_id, body.content, hook.keys, self._clock())
        if hook.plain_key:
            headers |= event_headers.plain_signatures(body.content, hook.plain_key)
        return Request(headers, body.content)


def portion(events: Sequence[Event], batch: Batch, clock: Clock) -> Sequence[Event] | Later:
    """The next events that go together, or the wish to wait for more of them."""
    characters = 0
    for count, event in enumerate(events[: batch.most]):
        characters += len(event.body)
        if characters > MOST_CHARACTERS and count:
            return events[:count]
    wait = events[0].occurred_at + batch.wait - clock()
    if len(events) < batch.most and timedelta(0) < wait <= batch.wait:
        return Later(reason="The batch is gathering.", after=wait)
    return events[: batch.most]


def _hops(event: Event) -> int:
    hops = event.payload.get(event_headers.HOPS)
    return hops if isinstance(hops, int) else 0
