"""The http notifier: each event as a POST of its own, or several together, over connections that are kept.

event ──▶ body, headers, signature ──▶ POST ──▶ status ──▶ outcome                (http_requests.py, http_reply.py)
                                        │
                                        └─ by libcurl, every socket guarded       (http_connections.py, addresses.py)
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urljoin

from yarl import URL

from pulpit.clock import Clock
from pulpit.delivery.notifiers import http_config, http_reply
from pulpit.delivery.notifiers.http_config import Batch, Hook, Proxy
from pulpit.delivery.notifiers.http_connections import (
    LONGEST_ANSWER,
    Connections,
    Exchange,
    NoReply,
    Receiver,
    place_of,
)
from pulpit.delivery.notifiers.http_requests import Request, RequestWriter, portion
from pulpit.delivery.notifiers.port import (
    DELIVERED,
    Delivered,
    Later,
    Misconfigured,
    Notifier,
    Outcome,
    Pace,
    Refused,
    Retry,
)
from pulpit.delivery.notifiers.templates import Renderer, RendererTrouble, TemplateTrouble
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.listener_options import HTTP
from pulpit.net.addresses import Anywhere, Network, WebhookGuard
from pulpit.net.urls import http_url
from pulpit.text import one_line

LONGEST_CALL: Final = 30
"""Seconds after which a batch that was refused is not halved further, so that progress is recorded."""
LONGEST_RUN: Final = 1
"""Seconds after which a call starts no further event or batch, for the same reason."""
MOST_REDIRECTS: Final = 5
_MORE: Final = Later(reason="More follow.", after=timedelta(0))
_COMMON: Final[Mapping[tuple[int, str | None], Outcome]] = {
    (status, status.phrase): Delivered(answer=f"{status} {status.phrase}")
    for status in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT)
}
"""The outcomes of the most common replies without a body."""
_REPEATED: Final = frozenset({301, 302, 307, 308})
"""Redirects after which the same POST is repeated; 303 asks for a GET, which would lose the event."""


class Http:
    """Posts events; listeners share the connection pool."""

    pace: Final = Pace(
        batch=64, batches=5, overlap=1, first_retry=timedelta(seconds=2), longest_retry=timedelta(minutes=5)
    )
    kind: Final = HTTP

    def __init__(
        self, clock: Clock, *, allow: Sequence[Network] = (), source: str = "/pulpit", proxy: Proxy | None = None
    ) -> None:
        """Prepare; `proxy` is used by listeners that name none, and trusted because the operator configured it."""
        self._clock: Final = clock
        self._guard: Final = WebhookGuard(allow)
        self._source: Final = source
        self._proxy: Final = proxy
        self._renderer: Final = Renderer()
        self._connections: Final[dict[bool, Connections]] = {}

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Reject an invalid configuration, and an address that the operator did not allow.

        Raises:
            InvalidValue: `notifier_config`.
        """
        http_config.check(config, self._guard)

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Post to the listener's URL."""
        try:
            return _Poster(http_config.read(config), self)
        except InvalidValue as error:
            return Misconfigured(error)

    async def close(self) -> None:
        """Close every connection, and end the template process."""
        await asyncio.to_thread(self._renderer.close)
        for connections in self._connections.values():
            connections.close()
        self._connections.clear()

    def proxy_for(self, hook: Hook) -> Proxy | None:
        """Return the proxy for a listener's requests."""
        return hook.proxy or (None if hook.direct else self._proxy)

    def connections(self, proxy: Proxy | None) -> Connections:
        """Return the connections for requests: each is guarded, except those to the operator's own proxy."""
        trusted = proxy is not None and proxy is self._proxy
        if trusted not in self._connections:
            self._connections[trusted] = Connections(Anywhere() if trusted else self._guard)
        return self._connections[trusted]

    def writer(self, hook: Hook) -> RequestWriter:
        """Return the writer of a listener's requests."""
        return RequestWriter(hook, self._source, self._clock, self._renderer)

    def portion(self, events: Sequence[Event], batch: Batch) -> Sequence[Event] | Later:
        """Return the events of the next request of a listener with batches."""
        return portion(events, batch, self._clock)

    def pause(self, reply: Exchange) -> timedelta | None:
        """Return how long the receiver asked to be left alone."""
        return http_reply.pause(reply.headers.get("retry-after"), self._clock())


class _Poster:
    """Posts the events of one listener."""

    def __init__(self, hook: Hook, kind: Http) -> None:
        self._hook: Final = hook
        self._kind: Final = kind
        self._writer: Final = kind.writer(hook)
        self._proxy: Final = kind.proxy_for(hook)
        secrets = {*hook.hidden, *(self._proxy.hidden if self._proxy else ())}
        self._receiver: Receiver | None = None
        self._hidden: Final = sorted(secrets, key=len, reverse=True)

    async def prepare(self) -> None:
        """Do nothing: the receiver is not contacted before there is an event."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Post one event or batch after another until one must be retried or the call's time is up."""
        outcomes: list[Outcome] = []
        written: dict[int, Request] = {}
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            while (count := len(outcomes)) < len(events):
                if outcomes and loop.time() > began + LONGEST_RUN:
                    return [*outcomes, _MORE]
                some = self._portion(events, count)
                if isinstance(some, Later):
                    return [*outcomes, _MORE if outcomes else some]
                # These are sent in this turn of the loop; encode the next ones while the receiver handles them.
                loop.call_soon(self._write_ahead, events, count + len(some), written)
                request = written.pop(some[0].number, None)
                if self._hook.batch is None:
                    outcomes.append(await self._single(some[0], request))
                else:
                    outcomes += await self._together(some, request, began + LONGEST_CALL)
                if isinstance(outcomes[-1], Retry):
                    break
            return outcomes
        finally:
            if self._receiver:
                self._receiver.rest()

    def describe(self, event: Event) -> dict[str, Any]:
        """Return the request; of the listener's own headers only the names, because values may be tokens."""
        missing = self._writer.missing(event)
        if missing:
            return {"nothing": missing}
        own = dict.fromkeys(self._hook.headers, "*****")
        try:
            request = self._writer.one(event) if self._hook.batch is None else self._writer.several([event])
        except TemplateTrouble as trouble:
            return {"nothing": f"The template {trouble}."}
        url = self._without_secrets(str(self._hook.url.with_user(None)))
        return {"method": "POST", "url": url, "headers": request.headers | own, "body": request.body.decode()}

    async def close(self) -> None:
        """Do nothing: the connections are shared."""

    def _portion(self, events: Sequence[Event], start: int) -> Sequence[Event] | Later:
        """Return the events of the next request, or `Later` while they are gathered."""
        if self._hook.batch is None:
            return events[start : start + 1]
        return self._kind.portion(events[start:], self._hook.batch)

    def _write_ahead(self, events: Sequence[Event], start: int, written: dict[int, Request]) -> None:
        if self._hook.template or start == len(events):
            return
        some = self._portion(events, start)
        if not isinstance(some, Later) and (request := self._written(some)):
            written[some[0].number] = request

    def _written(self, events: Sequence[Event]) -> Request | None:
        """Write the request of some events, if there is something to send."""
        sent = [event for event in events if not self._writer.missing(event)]
        if not sent:
            return None
        return self._writer.one(sent[0]) if self._hook.batch is None else self._writer.several(sent)

    async def _single(self, event: Event, written: Request | None) -> Outcome:
        missing = self._writer.missing(event)
        if missing:
            return Delivered(answer=f"Nothing was sent: {missing}")
        if not self._hook.template:
            return await self._send(written or self._writer.one(event))
        try:
            request = await asyncio.to_thread(self._writer.one, event)
        except RendererTrouble as trouble:
            return Retry(reason=f"The template {trouble}.")
        except TemplateTrouble as trouble:
            return Refused(reason=f"The template {trouble}.")
        return await self._send(request)

    async def _together(self, events: Sequence[Event], written: Request | None, end: float) -> list[Outcome]:
        """Post some events in one request; if it is refused, halve it until only the refused events are left."""
        request = written or self._written(events)
        outcome = await self._send(request) if request else DELIVERED
        if isinstance(outcome, Retry):
            return [outcome]
        if isinstance(outcome, Delivered) or len(events) == 1:
            return [outcome] * len(events)
        if asyncio.get_running_loop().time() > end:
            return [_MORE]
        middle = len(events) // 2
        outcomes = await self._together(events[:middle], None, end)
        if isinstance(outcomes[-1], Retry):
            return outcomes
        return [*outcomes, *await self._together(events[middle:], None, end)]

    async def _send(self, request: Request) -> Outcome:
        try:
            return await self._follow(request, asyncio.get_running_loop().time() + self._hook.timeout)
        except NoReply as error:
            return Retry(reason=self._without_secrets(str(error)))

    async def _follow(self, request: Request, end: float) -> Outcome:
        """Post, and follow redirects if the listener allows it."""
        url = self._hook.url
        own: Mapping[str, str] = self._hook.headers
        receiver = self._receiver or self._receiver_at(url)
        self._receiver = receiver
        for _ in range(MOST_REDIRECTS + 1):
            reply = await receiver.post(_merged(request.headers, own), request.body, end)
            if not (self._hook.redirects and reply.status in _REPEATED):
                return self._judge(reply, url)
            target = _target(url, reply.headers.get("location", ""))
            if isinstance(target, Retry):
                return target
            if target.origin() != url.origin():
                own = {}  # secrets are only sent to the origin that they are for
            url, receiver = target, self._receiver_at(target)
        return Retry(reason=f"{place_of(self._hook.url)} redirects more than {MOST_REDIRECTS} times.")

    def _receiver_at(self, url: URL) -> Receiver:
        return Receiver(self._kind.connections(self._proxy), self._hook, self._proxy, url)

    def _judge(self, reply: Exchange, url: URL) -> Outcome:
        if not reply.body and (common := _COMMON.get((reply.status, reply.reason))):
            return common
        text = self._without_secrets(
            one_line(self._without_secrets(reply.body.decode(errors="replace")), LONGEST_ANSWER)
        )
        return http_reply.outcome_of(
            reply.status,
            self._without_secrets(one_line(reply.reason, http_reply.QUOTED)),
            text,
            receiver=place_of(url),
            after=self._kind.pause(reply),
            target=_named(url, reply.headers.get("location", "")),
        )

    def _without_secrets(self, text: str) -> str:
        """Mask secrets that a receiver may have sent back: some echo the whole request."""
        for secret in self._hidden:
            text = text.replace(secret, "*****")
        return text


def _merged(headers: Mapping[str, str], own: Mapping[str, str]) -> Mapping[str, str]:
    """Add a listener's own headers, which replace others of the same name in any case."""
    if not own:
        return headers
    names = {name.lower() for name in own}
    return {**{name: text for name, text in headers.items() if name.lower() not in names}, **own}


def _target(url: URL, location: str) -> URL | Retry:
    place = place_of(url)
    try:
        target = _joined(url, location) if location else None
    except ValueError as error:
        return Retry(reason=f"{place} redirects with a Location that {error}.")
    if target is None:
        return Retry(reason=f"{place} redirects without a Location.")
    if url.scheme == "https" and target.scheme == "http":
        return Retry(reason=f"{place} redirects from https to http, which is not followed.")
    return target


def _joined(url: URL, location: str) -> URL:
    try:
        whole = urljoin(str(url), location)
    except ValueError:
        raise ValueError("is not a URL") from None
    return http_url(whole)


def _named(url: URL, location: str) -> str:
    """Name a redirect target for users: without its query, and without a path that is the receiver's own."""
    target = _target(url, location)
    if isinstance(target, Retry):
        return ""
    own = url.raw_path
    return place_of(target) + (target.raw_path if len(own) <= 1 or own not in target.raw_path else "")
