"""Receivers of webhooks on loopback: `hook` in threads beside a server, `sink` and `raw` on the test's own loop."""

import asyncio
import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.port import Notifier, Outcome
from pulpit.events import Event
from pulpit.net.addresses import Network, parse_networks
from support.made_events import event

LOOPBACK = parse_networks("127.0.0.0/8, ::1")
Talk = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(kw_only=True)
class Hook:
    """What came, and what is answered."""

    url: str = ""
    status: int = 200
    statuses: dict[str, int] = field(default_factory=dict)
    """What is answered to events of some repositories instead."""
    came: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Method and path of what came without a body."""

    @property
    def types(self) -> list[str]:
        """The types of the events that came."""
        return [body["event_type"] for body in self.came]


@contextlib.contextmanager
def hook(port: int = 0) -> Iterator[Hook]:
    """Receive until the end of the block, on a free port or the one that is given."""
    receiver = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            event = json.loads(body)
            receiver.came.append(event)
            self._answer(receiver.statuses.get(event.get("payload", {}).get("repo_id"), receiver.status))

        def do_PURGE(self) -> None:
            receiver.asked.append(f"{self.command} {self.path}")
            self._answer(receiver.status)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook?token=open"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join(60)


@dataclass(kw_only=True)
class Call:
    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes
    peer: object


@dataclass(kw_only=True)
class Sink:
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answer: Callable[[Call], web.StreamResponse | Awaitable[web.StreamResponse]] = lambda _: web.Response()

    def says(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Answer every request in one way from now on."""
        self.answer = lambda _: web.Response(status=status, text=text, headers=headers)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        peer = request.transport.get_extra_info("peername") if request.transport else None
        headers = CIMultiDict(request.headers)
        call = Call(method=request.method, path=request.path_qs, headers=headers, body=body, peer=peer)
        self.calls.append(call)
        answer = self.answer(call)
        return answer if isinstance(answer, web.StreamResponse) else await answer


@contextlib.asynccontextmanager
async def sink(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Sink]:
    """Run a receiver on a free port."""
    receiver = Sink()
    runner = web.ServerRunner(web.Server(receiver.handle), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        receiver.url = f"{'https' if tls else 'http'}://{host if tls is None else 'localhost'}:{port}"
        yield receiver
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def raw(
    answer: bytes | None, *, close: bool = True, step: int = 10**9, again: bool = False
) -> AsyncIterator[str]:
    """Run something on a port that sends bytes (or nothing) whatever it is asked; yields its URL.

    It may send so many bytes at a time, and answer further requests on the same connection.
    """

    async def talk(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for start in range(0, len(answer or b""), step):
                writer.write((answer or b"")[start : start + step])
                await writer.drain()
                await asyncio.sleep(0)
            if not again:
                break
        if not close:
            await asyncio.Event().wait()

    async with talking(talk) as url:
        yield url


@contextlib.asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """Run a receiver that talks by itself, once for each connection, which it is told the number of; yields its URL."""
    tasks: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.append(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(len(tasks), reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def notifier(allow: Sequence[Network] = LOOPBACK, **config: Any) -> AsyncIterator[Notifier]:
    """Open an http listener of this configuration, with connections of its own."""
    kind = Http(system_clock, allow=allow, source="/pulpit/test")
    notifier = kind.open(config)
    try:
        yield notifier
    finally:
        await notifier.close()
        await kind.close()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story, for a minute at most."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


async def outcome(url: str, allow: Sequence[Network] = LOOPBACK, **config: Any) -> Outcome:
    """Return what becomes of one event for a listener of this configuration."""
    async with notifier(allow, url=url, **config) as hook:
        (one,) = await hook.deliver([event()])
        return one


def delivered_to_sink(some: Sequence[Event], answer: Any = None, **config: Any) -> tuple[list[Outcome], Sink]:
    """Have an http listener of this configuration deliver events, and return what became of them and what came."""

    async def story() -> tuple[list[Outcome], Sink]:
        kind = Http(system_clock, allow=parse_networks("127.0.0.0/8"))
        async with sink() as far:
            far.answer = answer or far.answer
            given = {"url": far.url, **config}
            kind.check_config(given)
            try:
                return list(await kind.open(given).deliver(some)), far
            finally:
                await kind.close()

    return asyncio.run(asyncio.wait_for(story(), 120))
