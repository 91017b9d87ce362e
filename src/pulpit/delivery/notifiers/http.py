"""The http notifier: each event as a POST of its own, or several together, over connections that are kept.

event ──▶ body, headers, signature ──▶ POST ──▶ status ──▶ outcome                (http_requests.py, http_reply.py)
                                        │
                                        └─ every socket passes the guard          (addresses.py)
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from pulpit.clock import Clock
from pulpit.delivery.notifiers import http_config, http_reply
from pulpit.delivery.notifiers.http_config import Batch, Hook, Proxy
from pulpit.delivery.notifiers.http_connections import connected, open_session
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
from pulpit.net.addresses import Anywhere, ForbiddenAddress, Network, WebhookGuard
from pulpit.net.tls import client_context
from pulpit.net.urls import http_url
from pulpit.text import one_line, system_reason

LONGEST_ANSWER: Final = 4096
"""Bytes of a reply's body that are read."""
LONGEST_CALL: Final = 30
"""Seconds after which a call starts no further batch, so that progress is recorded with slow receivers too."""
LONGEST_RUN: Final = 1
"""The same for one event after the other."""
ANSWER_TIMEOUT: Final = 5
"""Seconds to read a reply's body; the status alone decides, so a body that never ends does no harm."""
MOST_REDIRECTS: Final = 5
_LARGE: Final = 1024 * 1024
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

    pace: Final = Pace(batch=64, overlap=1, first_retry=timedelta(seconds=2), longest_retry=timedelta(minutes=5))
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
        self._sessions: Final[dict[bool, aiohttp.ClientSession]] = {}
        self._system_trust: ssl.SSLContext | None = None
        self._reading: Final = asyncio.Lock()

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
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def proxy_for(self, hook: Hook) -> Proxy | None:
        """Return the proxy for a listener's requests."""
        return hook.proxy or (None if hook.direct else self._proxy)

    def session(self, proxy: Proxy | None) -> aiohttp.ClientSession:
        """Return the session for requests: every connection is guarded, except those to the operator's own proxy."""
        trusted = proxy is not None and proxy is self._proxy
        if trusted not in self._sessions:
            self._sessions[trusted] = open_session(Anywhere() if trusted else self._guard)
        return self._sessions[trusted]

    async def trust(self, ca_path: str) -> ssl.SSLContext:
        """Load the CA certificates of a file or folder, or the system's, which are loaded once for all listeners.

        One load at a time: thousands of listeners that start together would take every thread from the database.
        """
        async with self._reading:
            if ca_path:
                return await asyncio.to_thread(client_context, ca_path)
            if self._system_trust is None:
                self._system_trust = await asyncio.to_thread(client_context)
            return self._system_trust

    def writer(self, hook: Hook) -> RequestWriter:
        """Return the writer of a listener's requests."""
        return RequestWriter(hook, self._source, self._clock, self._renderer)

    def portion(self, events: Sequence[Event], batch: Batch) -> Sequence[Event] | Later:
        """Return the events of the next request of a listener with batches."""
        return portion(events, batch, self._clock)

    def pause(self, response: aiohttp.ClientResponse) -> timedelta | None:
        """Return how long the receiver asked to be left alone."""
        return http_reply.pause(response.headers.get("Retry-After"), self._clock())


class _Poster:
    """Posts the events of one listener."""

    def __init__(self, hook: Hook, kind: Http) -> None:
        self._hook: Final = hook
        self._kind: Final = kind
        self._writer: Final = kind.writer(hook)
        self._proxy: Final = kind.proxy_for(hook)
        self._trust: ssl.SSLContext | None = None

    async def prepare(self) -> None:
        """Do nothing: the receiver is not contacted before there is an event."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Post one event or batch after another until one must be retried or the call's time is up."""
        outcomes: list[Outcome] = []
        written: dict[int, Request] = {}
        loop = asyncio.get_running_loop()
        end = loop.time() + (LONGEST_RUN if self._hook.batch is None else LONGEST_CALL)
        while (count := len(outcomes)) < len(events):
            if outcomes and loop.time() > end:
                return [*outcomes, _MORE]
            if self._hook.batch is None:
                if count + 1 < len(events):
                    # Two turns of the loop later aiohttp has written this request; encode the next one while the
                    # receiver handles it.
                    loop.call_soon(loop.call_soon, self._write_ahead, events[count + 1], written)
                outcomes.append(await self._single(events[count], written.pop(events[count].number, None)))
            else:
                some = self._kind.portion(events[count:], self._hook.batch)
                outcomes += [some] if isinstance(some, Later) else await self._together(some, end)
            if isinstance(outcomes[-1], Retry):
                break
        return outcomes

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

    def _write_ahead(self, event: Event, written: dict[int, Request]) -> None:
        if not self._hook.template and not self._writer.missing(event):
            written[event.number] = self._writer.one(event)

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

    async def _together(self, events: Sequence[Event], end: float) -> list[Outcome]:
        """Post some events in one request; if it is refused, halve it until only the refused events are left."""
        sent = [event for event in events if not self._writer.missing(event)]
        outcome = await self._send(self._writer.several(sent)) if sent else DELIVERED
        if isinstance(outcome, Retry):
            return [outcome]
        if isinstance(outcome, Delivered) or len(events) == 1:
            return [outcome] * len(events)
        if asyncio.get_running_loop().time() > end:
            return [_MORE]
        middle = len(events) // 2
        outcomes = await self._together(events[:middle], end)
        return outcomes if isinstance(outcomes[-1], Retry) else [*outcomes, *await self._together(events[middle:], end)]

    async def _send(self, request: Request) -> Outcome:
        try:
            async with asyncio.timeout(self._hook.timeout):
                if self._trust is None and (self._hook.url.scheme == "https" or self._hook.redirects):
                    self._trust = await self._kind.trust(self._hook.ca_path)
                return await self._follow(request, self._trust)
        except TimeoutError:
            return Retry(reason=f"{_place(self._hook.url)} did not answer within {self._hook.timeout} seconds.")
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            return Retry(reason=f"The certificate of {_place(self._hook.url)} is not trusted: {why}.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Retry(reason=self._without_secrets(complaint(error, self._hook)))

    async def _follow(self, request: Request, trust: ssl.SSLContext | None) -> Outcome:
        """Post, and follow redirects if the listener allows it."""
        url = self._hook.url
        own: Mapping[str, str] = self._hook.headers
        for _ in range(MOST_REDIRECTS + 1):
            async with await self._post(url, request.body, {**request.headers, **own}, trust) as response:
                if not (self._hook.redirects and response.status in _REPEATED):
                    return await self._judge(response, url)
                target = _target(url, response.headers.get("Location", ""))
            if isinstance(target, Retry):
                return target
            own = (
                own if target.origin() == url.origin() else {}
            )  # secrets are only sent to the origin that they are for
            url = target
        return Retry(reason=f"{_place(self._hook.url)} redirects more than {MOST_REDIRECTS} times.")

    async def _post(
        self, url: URL, body: bytes, headers: Mapping[str, str], trust: ssl.SSLContext | None
    ) -> aiohttp.ClientResponse:
        """Send the request; send it again if it went to a kept-alive connection that had been closed."""
        proxy = self._proxy
        tunnel = proxy.headers if proxy and url.scheme == "https" else {}
        post = partial(
            self._kind.session(proxy).post,
            url,
            headers={**headers, **proxy.headers} if proxy and url.scheme == "http" else headers,
            ssl=True if trust is None else trust,
            allow_redirects=False,
            proxy=proxy.url if proxy else None,
            proxy_headers=tunnel,
        )
        connected.set(False)
        try:
            return await post(data=_payload(body))
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if connected.get():
                raise
        return await post(data=_payload(body))

    async def _judge(self, response: aiohttp.ClientResponse, url: URL) -> Outcome:
        if response.content.at_eof() and (common := _COMMON.get((response.status, response.reason))):
            return common
        body = (await _beginning(response)).decode(errors="replace")
        text = self._without_secrets(one_line(self._without_secrets(body), LONGEST_ANSWER))
        return http_reply.outcome_of(
            response.status,
            self._without_secrets(one_line(response.reason or "", http_reply.QUOTED)),
            text,
            receiver=_place(url),
            after=self._kind.pause(response),
            target=_named(url, response.headers.get("Location", "")),
        )

    def _without_secrets(self, text: str) -> str:
        """Mask secrets that a receiver may have sent back: some echo the whole request."""
        for secret in self._hook.hidden:
            text = text.replace(secret, "*****")
        return text


def _payload(body: bytes) -> bytes | BytesIO:
    """Return what aiohttp sends in one go, or a large body in pieces that do not block the loop."""
    return body if len(body) <= _LARGE else BytesIO(body)


def complaint(error: Exception, hook: Hook) -> str:
    """Say in one sentence why a request got no reply."""
    place = _place(hook.url)
    match error:
        case aiohttp.ClientHttpProxyError():
            sentence = f"The proxy does not let the request through to {place}: it answered {error.status}."
        case aiohttp.ClientProxyConnectionError():
            sentence = _no_connection(error, f"the proxy {error.host}:{error.port}")
        case aiohttp.ClientConnectorError():
            sentence = _no_connection(error, place)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            sentence = f"{place} answered something that is not HTTP."
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            sentence = f"{place} closed the connection without an answer."
        case aiohttp.InvalidURL() | UnicodeError():
            sentence = f"The host of {place} is neither a name nor an address."
        case OSError() if not isinstance(error, aiohttp.ClientError):
            sentence = f"ca_path {hook.ca_path} cannot be used ({error.strerror})."
        case _:
            sentence = f"The request to {place} failed ({type(error).__name__})."
    return sentence


def _no_connection(error: aiohttp.ClientConnectorError, place: str) -> str:
    match error.os_error, error:
        case ForbiddenAddress() as forbidden, _:
            return f"No connection to {place}: {forbidden.strerror}."
        case cause, aiohttp.ClientConnectorDNSError():
            return f"The name of {place} cannot be resolved ({system_reason(cause)})."
        case cause, aiohttp.ClientConnectorSSLError():
            return f"TLS with {place} failed ({system_reason(cause)})."
        case cause, _:
            return f"No connection to {place}: {system_reason(cause)}."


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Read the first bytes of the body, as far as they arrive in time."""
    body = b""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while len(body) < LONGEST_ANSWER and (part := await response.content.read(LONGEST_ANSWER - len(body))):
                body += part
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
    return body


def _target(url: URL, location: str) -> URL | Retry:
    place = _place(url)
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
    return _place(target) + (target.raw_path if len(own) <= 1 or own not in target.raw_path else "")


def _place(url: URL) -> str:
    """Return the receiver's URL without path and query, which may hold a token."""
    return str(url.origin())
