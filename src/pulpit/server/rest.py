"""The REST API and the page. Importing them takes as long as the rest of a start, so a server does it last."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import uvicorn

from pulpit.amqp import BrokerUnavailable
from pulpit.api.app import create_app
from pulpit.api.protocol import CLOSE, BoundedHttp, CertifiedHttp
from pulpit.api.services import Services, Worker
from pulpit.broker.server import Broker
from pulpit.clock import system_clock
from pulpit.delivery.dispatcher import Dispatcher
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.net.addresses import Network, is_loopback
from pulpit.published.access import Exposure, TrustedAuthorities
from pulpit.published.locate import Publications
from pulpit.server import messaging
from pulpit.server.content_types import content_types
from pulpit.server.process import running
from pulpit.settings import Settings
from pulpit.store.database import Database
from pulpit.tasks.supervisor import Supervisor
from pulpit.ui import app as ui

if TYPE_CHECKING:
    from pulpit.pulp3.reader import Reader

REST_PATIENCE: Final = 2
"""Seconds that running requests have to end when the server stops."""
REACH_PATIENCE_S: Final = 2.0
REACH_AGAIN_S: Final = 5.0


class _Reach:
    """Whether the broker can be reached, tested on request; a failure is cached for some seconds."""

    def __init__(self, publisher: "messaging.AmqpPublisher | None") -> None:
        self._publisher: Final = publisher
        self._failed_at = -REACH_AGAIN_S

    async def __call__(self) -> bool:
        if self._publisher is None:
            return False
        if not self._publisher.connected and time.monotonic() - self._failed_at >= REACH_AGAIN_S:
            try:
                async with asyncio.timeout(REACH_PATIENCE_S):
                    await self._publisher.connect()
            except (BrokerUnavailable, TimeoutError):
                self._failed_at = time.monotonic()
        return self._publisher.connected


def services_of(
    settings: Settings,
    database: Database,
    kinds: NotifierTypes,
    *,
    publications: Publications,
    publisher: "messaging.AmqpPublisher | None",
    supervisor: Supervisor,
    dispatcher: Dispatcher,
    delivering: asyncio.Task[None],
    broker: Broker | None,
    readers: "Sequence[Reader]",
    pulp_api: str,
    draining: asyncio.Event,
) -> Services:
    """Return what the endpoints of the REST API use."""
    return Services(
        database=database,
        clock=system_clock,
        listener_types=kinds,
        content_types=content_types(),
        publications=publications,
        data_dir=settings.data_dir,
        messaging_connected=lambda: publisher is not None and publisher.connected,
        reach_messaging=_Reach(publisher),
        workers=lambda: [Worker(name=name, last_heartbeat=system_clock()) for name in supervisor.names],
        position_of=dispatcher.position,
        announcements=dispatcher.announcements,
        delivering=lambda: not delivering.done(),
        draining=draining.is_set,
        broker_status=(lambda: asdict(broker.status())) if broker else None,
        pulps=[reader.progress for reader in readers],
        pulp_api=pulp_api,
        exposure=Exposure(
            speaks_https=bool(settings.server.ssl_certificate), is_local=is_loopback(settings.server.host)
        ),
    )


class _Rest(uvicorn.Server):
    """Uvicorn without signal handlers, which belong to the whole server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


@contextlib.asynccontextmanager
async def serving(
    services: Services,
    listening: socket.socket,
    tls: ssl.SSLContext | None,
    stop: asyncio.Event,
    *,
    draining: asyncio.Event,
    proxies: Sequence[Network],
) -> AsyncIterator[Callable[[], None]]:
    """Serve requests until the block ends, over TLS if there is a context; yields what takes no more requests.

    While the server drains, each response closes its connection, so that clients connect to another server.
    """
    app = create_app(services)
    page = ui.install(app, services)
    config = uvicorn.Config(
        app,
        http=CertifiedHttp if tls else BoundedHttp,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=REST_PATIENCE,
        timeout_keep_alive=30,
        forwarded_allow_ips=[str(network) for network in proxies],
    )
    server = _Rest(config)
    config.load()
    async with contextlib.AsyncExitStack() as stack:
        if tls:
            authorities = TrustedAuthorities(services.database, tls)
            await authorities.load()
            await stack.enter_async_context(running("authorities", authorities.keep(), stop))
            config.ssl = tls
        task = await stack.enter_async_context(running("rest", server.serve(sockets=[listening]), stop, cancel=False))
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has a flag and no event
            await asyncio.sleep(0.005)

        def end() -> None:
            services.announcements.end()  # waiting readers would delay the stop
            server.should_exit = True

        async def send_away() -> None:
            await draining.wait()
            config.encoded_headers.append(CLOSE)  # uvicorn copies them to every response, within a second

        sending_away = asyncio.create_task(send_away())
        try:
            async with running("page", page.run(), stop):
                yield end
        finally:
            sending_away.cancel()
            end()
