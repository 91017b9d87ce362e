"""Webhook requests: bodies with their headers, signed, for one event or several."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pulpit import __version__
from pulpit.clock import Clock
from pulpit.delivery import headers as event_headers
from pulpit.delivery.notifiers import cdevents, templates
from pulpit.delivery.notifiers.http_bodies import JSON, Body, Format, bodies_of, body_of
from pulpit.delivery.notifiers.http_config import Batch, Hook
from pulpit.delivery.notifiers.port import Later
from pulpit.delivery.notifiers.templates import Renderer, TemplateTrouble
from pulpit.events import HOPS, Event

MOST_CHARACTERS: Final = 1024 * 1024
"""Of the messages in one batch, unless a single one has more."""

_SAME: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"Pulpit/{__version__}"}


@dataclass(frozen=True, slots=True)
class Request:
    """What one attempt sends, besides the listener's own headers."""

    headers: dict[str, str]
    body: bytes


class RequestWriter:
    """Writes the requests of one listener."""

    def __init__(self, hook: Hook, source: str, clock: Clock, renderer: Renderer) -> None:
        self._hook: Final = hook
        self._source: Final = source
        self._clock: Final = clock
        self._renderer: Final = renderer

    def missing(self, event: Event) -> str | None:
        """Say why there is nothing to send for an event; empty if there is."""
        return cdevents.missing(event) if self._hook.form is Format.CDEVENTS else None

    def one(self, event: Event) -> Request:
        """Return the request for one event; slow if there is a template.

        Raises:
            TemplateTrouble: the template renders no body.
        """
        body = self._rendered(event) if self._hook.template else body_of(event, self._hook.form, self._source)
        headers = {**_SAME, "Content-Type": body.content_type, "pulpit-number": str(event.number)}
        if event.repo_number is not None:
            headers["pulpit-repo-number"] = str(event.repo_number)
        headers["traceparent"] = event.traceparent
        if '"hops":' in event.body:  # fired by a hook, which a receiver that is a hook itself must know
            headers[f"pulpit-{HOPS}"] = str(_hops(event))
        if self._hook.form is Format.CDEVENTS:
            headers |= event_headers.as_http(cdevents.attributes(event, self._source))
        elif self._hook.form is not Format.CLOUDEVENTS:
            headers |= event_headers.http_headers(event, self._source)
        return self._signed(headers, event.id, body)

    def several(self, events: Sequence[Event]) -> Request:
        """Return the request for several events; its id is the same whenever the same events are sent."""
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
            headers[f"pulpit-{HOPS}"] = str(max(map(_hops, events)))
        return self._signed(headers, f"{first.id}-{last.number}-{len(events)}", body)

    def _rendered(self, event: Event) -> Body:
        text = self._renderer.render(self._hook.template, templates.variables_of(event, self._source))
        if self._hook.content_type.partition(";")[0].endswith(JSON.partition("/")[2]):
            try:
                json.loads(text)
            except ValueError as error:
                raise TemplateTrouble(f"makes no JSON of event {event.number}: {error}") from None
        return Body(text.encode(), self._hook.content_type)

    def _signed(self, headers: dict[str, str], message_id: str, body: Body) -> Request:
        hook = self._hook
        if hook.keys:
            headers |= event_headers.signature_headers(message_id, body.content, hook.keys, self._clock())
        if hook.plain_key:
            headers |= event_headers.plain_signatures(body.content, hook.plain_key)
        return Request(headers, body.content)


def portion(events: Sequence[Event], batch: Batch, clock: Clock) -> Sequence[Event] | Later:
    """Return the next events that go together, or `Later` to wait for more of them."""
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
    hops = event.payload.get(HOPS)
    return hops if isinstance(hops, int) else 0
