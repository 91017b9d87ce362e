"""A receiver of webhooks on loopback that answers what its test says and keeps what came."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.port import Outcome
from pulpit.events import Event
from pulpit.net.addresses import parse_networks


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
    talking: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        talking.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
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
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


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
