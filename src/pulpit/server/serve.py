"""Composes the server.

    data folder ▶ database ▶ embedded broker ▶ dispatcher ▶ ready ▶ REST API ▶ workers

The port of the REST API is open from the beginning, and requests wait until it is loaded. Everything is closed in the
opposite order by one exit stack, so a failed start leaves nothing open.
"""

import asyncio
import contextlib
import errno
import importlib
import logging
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pulpit.amqp.address import TRANSPORTS, BrokerAddress
from pulpit.broker.server import Broker
from pulpit.clock import system_clock
from pulpit.delivery.dispatcher import Dispatcher
from pulpit.errors import ConfigurationError
from pulpit.net.addresses import parse_networks
from pulpit.net.renewal import Watched, keep_fresh
from pulpit.net.tls import CertificateFiles
from pulpit.published.locate import Publications
from pulpit.server import data_folder, embedded_broker, messaging, process
from pulpit.server.notifiers import notifier_types
from pulpit.server.process import ServiceManager, running
from pulpit.server.pulp3 import pulp3_api, pulp3_readers
from pulpit.server.startup import Startup
from pulpit.server.workers import supervisor_of
from pulpit.settings import Settings
from pulpit.storage.opening import open_storage
from pulpit.store.database import Database
from pulpit.store.retention import Retention
from pulpit.store.wakeups import Wakeup, WakeupSocket
from pulpit.tasks.schedules import Scheduler
from pulpit.tasks.supervisor import Supervisor
from pulpit.text import host_and_port

if TYPE_CHECKING:
    from pulpit.pulp3.reader import Reader

_EVERYWHERE: Final = ("0.0.0.0", "::", "localhost")  # noqa: S104 - compared with, not listened on

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Embedded:
    """The embedded broker, and how the server connects to it."""

    broker: Broker
    address: BrokerAddress


def serve(settings: Settings, warnings: list[str]) -> None:
    """Run the server until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: it cannot start; the text names the key.
    """
    process.begin(settings, warnings)
    data_folder.prepare(settings.data_dir)
    process.raise_open_files()
    with data_folder.locked(settings.data_dir):
        process.run(_serve(settings, ServiceManager(os.environ)))


async def _serve(settings: Settings, manager: ServiceManager) -> None:
    draining, stop = _end_wanted(settings.server.drain, manager)
    proxies = parse_networks(settings.server.trusted_proxies, "[server] trusted_proxies")
    async with contextlib.AsyncExitStack() as stack:
        me = data_folder.instance(settings.data_dir)
        listening = stack.enter_context(_listening(settings.server.host, settings.server.port))
        wakeups = stack.enter_context(WakeupSocket(settings.data_dir))
        database = Database(settings.data_dir, wakeups, url=settings.database.url)
        stack.callback(database.close)
        storage = open_storage(settings.storage, settings.data_dir)
        startup = Startup(settings, database, storage, me)
        await startup.attempt()
        incoming = _tls(settings)
        embedded = await _broker(settings, stack)
        outgoing = embedded_broker.own_trust(settings) if embedded else messaging.trust(settings.messaging)
        publisher = _publisher(settings, embedded, outgoing)
        kinds = notifier_types(settings, publisher, me.node)
        dispatcher = Dispatcher(database, kinds, system_clock, me=startup.me)
        supervisor = supervisor_of(settings, database, me.node)
        scheduler = Scheduler(database, database.clock)
        readers = pulp3_readers(settings, database)
        grace = timedelta(seconds=settings.publish.grace)
        publications = Publications(database, storage, grace=grace, clock=system_clock)
        own = {Wakeup.PLACES: publications.forget}
        handlers = dispatcher.wakeup_handlers | supervisor.wakeup_handlers | scheduler.wakeup_handlers | own
        stack.enter_context(wakeups.handled_by(handlers))
        delivering = await stack.enter_async_context(running("dispatcher", dispatcher.run(), stop))
        pulp_api = pulp3_api(settings)
        files = _watched(settings, embedded, incoming, outgoing)
        await stack.enter_async_context(running("renewal", keep_fresh(files), stop))
        startup.say_password()
        url = _url(settings, listening)
        process.say(f"ready: {url}")  # scripts wait for it
        manager.say("READY=1", f"STATUS=Answers at {url}")
        await stack.enter_async_context(running("signs of life", manager.keep_telling(), stop))
        await asyncio.to_thread(importlib.import_module, "pulpit.server.rest")
        from pulpit.server import rest  # noqa: PLC0415 - imported by the thread, while events are delivered

        services = rest.services_of(
            settings,
            database,
            kinds,
            publications=publications,
            publisher=publisher,
            supervisor=supervisor,
            dispatcher=dispatcher,
            delivering=delivering,
            broker=embedded.broker if embedded else None,
            readers=readers,
            pulp_api=pulp_api,
            draining=draining,
        )
        serving = rest.serving(services, listening, incoming, stop, draining=draining, proxies=proxies)
        end_requests = await stack.enter_async_context(serving)
        process.collect_garbage()
        await stack.enter_async_context(running("retention", _retention(settings).run(database, database.clock), stop))
        await stack.enter_async_context(running("work", _work(startup, supervisor, scheduler, readers), stop))
        await stop.wait()
        manager.say("STOPPING=1")
        _log.info("stopping", extra={"action": "server_stopping"})
        end_requests()


def _end_wanted(drain: int, manager: ServiceManager) -> tuple[asyncio.Event, asyncio.Event]:
    """Return what SIGTERM sets: at once that the server drains, and after that time that it stops."""
    draining = asyncio.Event()

    def begin_drain() -> None:
        _log.info("draining for %d s", drain, extra={"action": "server_draining"})
        manager.say_draining(drain)
        draining.set()

    return draining, process.end_wanted(drain, begin_drain)


async def _work(startup: Startup, supervisor: Supervisor, scheduler: Scheduler, readers: "Sequence[Reader]") -> None:
    await startup.finish()
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run())
        group.create_task(scheduler.run())
        for reader in readers:
            group.create_task(reader.run())


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError:
        raise ConfigurationError("[server] host", "it is no name that a host can have.") from None
    except OSError as error:
        raise ConfigurationError("[server] host", f"{host!r} is no address here ({error.strerror}).") from None
    with socket.socket(family, kind) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(512)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise ConfigurationError("[server] host", f"{host} is no address of this machine.") from None
            sentence = f"port {port} of {host} cannot be used ({error.strerror}); choose another with --port."
            raise ConfigurationError("[server] port", sentence) from None
        yield listening


async def _broker(settings: Settings, stack: contextlib.AsyncExitStack) -> _Embedded | None:
    if not settings.embedded_broker:
        return None
    if TRANSPORTS.get(settings.messaging.transport):
        reason = "the broker inside speaks AMQP 0-9-1 alone; name the broker that speaks AMQP 1.0 by url."
        raise ConfigurationError("[messaging] transport", reason)
    config, password = embedded_broker.with_own_user(embedded_broker.broker_config(settings))
    broker = await stack.enter_async_context(Broker(config))
    _log.info("broker listens", extra={"action": "broker_ready", "port": broker.port})
    host = "127.0.0.1" if config.host in _EVERYWHERE else config.host
    address = BrokerAddress(
        host=host,
        port=broker.port,
        tls=config.ssl_context is not None,
        virtual_host=config.virtual_hosts[0],
        user=embedded_broker.OWN_LOGIN,
        password=password,
    )
    return _Embedded(broker=broker, address=address)


def _publisher(
    settings: Settings, embedded: _Embedded | None, tls: ssl.SSLContext | None
) -> "messaging.AmqpPublisher | None":
    """Return the publisher: to the embedded broker, a configured one, or none."""
    section = settings.messaging
    addresses = (embedded.address,) if embedded else messaging.broker_addresses(section)
    if not addresses:
        return None
    by_certificate = bool(section.clientcert) and not embedded
    return messaging.publisher(section, addresses, tls, by_certificate=by_certificate)


def _watched(
    settings: Settings,
    embedded: _Embedded | None,
    incoming: ssl.SSLContext | None,
    outgoing: ssl.SSLContext | None,
) -> list[Watched]:
    """Return the files that are reloaded when they change."""
    found = embedded_broker.watched(settings, embedded.broker, outgoing) if embedded else []
    if outgoing is not None and not embedded:
        found += messaging.watched(settings.messaging, outgoing)
    if incoming is not None:
        pair = _certificate(settings)
        found.append(Watched("certificate", (pair.certificate, pair.key), lambda: pair.renew(incoming)))
    return found


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of the REST API, which asks for the certificates of `login`; None without TLS."""
    if not settings.server.ssl_certificate:
        return None
    from pulpit.api.auth.certificates import ClientCertificates  # noqa: PLC0415 - only TLS needs cryptography

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _certificate(settings).load(context)
    context.load_verify_locations(ClientCertificates(settings.data_dir, system_clock).authority_file())
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _certificate(settings: Settings) -> CertificateFiles:
    section = settings.server
    source = "[server] ssl_certificate, ssl_key"
    return CertificateFiles(certificate=Path(section.ssl_certificate), key=Path(section.ssl_key), source=source)


def _retention(settings: Settings) -> Retention:
    server, tasks = settings.server, settings.tasks
    return Retention(
        events=timedelta(days=server.keep_events_days) if server.keep_events_days else None,
        event_count=server.keep_events_count or None,
        for_listeners=server.keep_events_for_listeners,
        tasks=timedelta(days=tasks.keep_days) if tasks.keep_days else None,
        history=timedelta(days=tasks.keep_history_days) if tasks.keep_history_days else None,
    )


def _url(settings: Settings, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.server.ssl_certificate else "http"
    return f"{scheme}://{host_and_port(host, port)}"
