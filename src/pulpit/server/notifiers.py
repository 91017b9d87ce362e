"""The kinds of notifiers of this installation: Pulpit's own, and those that plug-ins add.

A distribution adds one by an entry point of the group `pulpit.notifiers`, named after the kind, that names a class
created with the installation's `Surroundings`; see docs/notifiers.md.
"""

import logging
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from typing import Final

from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.clock import system_clock
from pulpit.delivery.notifiers import amqp_listener, email_config
from pulpit.delivery.notifiers.amqp091 import Amqp091
from pulpit.delivery.notifiers.http_config import configured_proxy
from pulpit.delivery.notifiers.kinds import NotifierTypes, Registered, SwitchedOff, unusable
from pulpit.delivery.notifiers.plug_in import PlugIn
from pulpit.delivery.notifiers.port import NotifierType, Surroundings
from pulpit.listener_options import AMQP, BUILT_IN, EMAIL, HTTP, KAFKA, NATS, ListenerKind
from pulpit.net.addresses import parse_networks
from pulpit.server import messaging
from pulpit.server.plug_ins import installed
from pulpit.settings import Settings
from pulpit.text import one_line

GROUP: Final = "pulpit.notifiers"
LOAD_PATIENCE_S: Final = 10.0
"""Seconds that a plug-in may take to load; then the server starts without it."""
_LONGEST_REASON: Final = 300
_LIBRARIES: Final = {NATS.id: ("nats", "nats-py"), KAFKA.id: ("confluent_kafka", "confluent-kafka")}
"""By kind: the module that it needs, and the distribution of that."""

_log = logging.getLogger(__name__)


def notifier_types(settings: Settings, publisher: "messaging.AmqpPublisher | None", node: str) -> NotifierTypes:
    """Return every kind; those that are slow to import are created for their first listener."""
    source = f"/pulpit/{node}"
    networks = parse_networks(settings.server.webhook_allow)
    proxy = configured_proxy(settings.server.webhook_proxy)

    def http() -> NotifierType:
        from pulpit.delivery.notifiers.http import Http  # noqa: PLC0415 - libcurl is loaded for its first listener

        return Http(system_clock, allow=networks, source=source, proxy=proxy)

    def email() -> NotifierType:
        if not settings.email.enabled:
            return SwitchedOff(EMAIL, email_config.read, "[email] enabled is false.")
        from pulpit.delivery.notifiers.email import Email  # noqa: PLC0415 - so is the mail client

        return Email(settings.email, system_clock)

    extras = own_extras(settings, source)
    for entry in extras:
        if servers_of(settings, entry.kind) and entry.problem:
            _log.error("%s", entry.problem, extra={"action": "notifier_unusable", "kind": entry.kind.id})
    own = [Registered(kind=HTTP, make=http), Registered(kind=EMAIL, make=email), *extras]
    amqp = _amqp(publisher, settings.messaging.topic_exchange, source)
    return NotifierTypes({"amqp": amqp}, [*own, *plug_ins(Surroundings(source=source, clock=system_clock))])


def _amqp(publisher: "messaging.AmqpPublisher | None", exchange: str, source: str) -> NotifierType:
    if publisher is None:
        return SwitchedOff(AMQP, amqp_listener.check_config, "there is no broker; set [messaging] url.")
    if isinstance(publisher, Publisher):
        return Amqp091(publisher, exchange, source=source)
    from pulpit.delivery.notifiers.amqp10 import Amqp10  # noqa: PLC0415 - only needed for AMQP 1.0

    return Amqp10(publisher, exchange, source=source)


def own_extras(settings: Settings, source: str) -> list[Registered]:
    """Return Pulpit's own kinds that need configured servers and an optional library.

    Raises:
        ConfigurationError: their configuration is invalid.
    """
    return [_kafka(settings, source), _nats(settings, source)]


def servers_of(settings: Settings, kind: ListenerKind) -> str:
    """What is configured as the servers of one of those kinds."""
    return {NATS.id: settings.nats.servers, KAFKA.id: settings.kafka.servers}[kind.id]


def not_ready(settings: Settings, kind: ListenerKind) -> str:
    """Why one of those kinds cannot be used at all, as a sentence that says what to do; empty if it can."""
    if not servers_of(settings, kind):
        return f"[{kind.id}] servers names none; set it, and start the server again."
    module, distribution = _LIBRARIES[kind.id]
    if find_spec(module) is None:
        return f"{kind.id} listeners need {distribution}: pip install 'pulpit[{kind.id}]', and start the server again."
    return ""


def _nats(settings: Settings, source: str) -> Registered:
    if problem := not_ready(settings, NATS):
        return unusable(NATS, problem)
    from pulpit.server.stream_servers import nats_servers  # noqa: PLC0415 - only with such servers

    servers = nats_servers(settings.nats)

    def make() -> NotifierType:
        from pulpit.delivery.notifiers.nats_jetstream import Nats  # noqa: PLC0415 - as above

        return Nats(servers, settings.nats.stream, source=source)

    return Registered(kind=NATS, make=make)


def _kafka(settings: Settings, source: str) -> Registered:
    if problem := not_ready(settings, KAFKA):
        return unusable(KAFKA, problem)
    from pulpit.server.stream_servers import kafka_brokers  # noqa: PLC0415 - only with such servers

    brokers = kafka_brokers(settings.kafka)

    def make() -> NotifierType:
        from pulpit.delivery.notifiers.kafka import Kafka  # noqa: PLC0415 - as above

        return Kafka(brokers, settings.kafka.topic, source=source)

    return Registered(kind=KAFKA, make=make)


def plug_ins(surroundings: Surroundings) -> list[Registered]:
    """Return the kinds of other distributions, unusable ones with the reason, which is also logged."""
    entries = sorted(installed(GROUP), key=lambda entry: entry.name)
    found: dict[str, Registered] = {}
    for entry in entries:
        brought_by = _brought_by(entry)
        if entry.name in BUILT_IN:
            _tell(entry, f"{brought_by} brings a kind of this name, which is one of Pulpit's own and stays so.")
            continue
        if entry.name in found:
            problem = f"Both {found[entry.name].brought_by} and {brought_by} bring it; remove one of them."
            found[entry.name] = unusable(_bare(entry.name), problem, brought_by)
        else:
            found[entry.name] = _registered(entry, surroundings)
        if found[entry.name].problem:
            _tell(entry, found[entry.name].problem)
    return list(found.values())


def _tell(entry: EntryPoint, problem: str) -> None:
    extra = {"action": "plug_in_broken", "entry": entry.value}
    _log.error("the notifier %s cannot be used: %s", entry.name, problem, extra=extra)


def _registered(entry: EntryPoint, surroundings: Surroundings) -> Registered:
    brought_by = _brought_by(entry)
    try:
        plug_in = _within(LOAD_PATIENCE_S, lambda: PlugIn(entry.load()(surroundings), name=entry.name))
    except TimeoutError:
        problem = f"{brought_by} was not loaded within {LOAD_PATIENCE_S:g} seconds; mend or remove it, and start again."
    except BaseException as error:  # noqa: BLE001 - a broken plug-in must not prevent the start, even by exiting
        reason = one_line(str(error), _LONGEST_REASON).rstrip(".")
        why = reason if isinstance(error, ValueError) and reason else f"{type(error).__name__}: {reason}".rstrip(": ")
        problem = f"{brought_by} cannot be loaded ({why}); mend or remove it, and start again."
    else:
        return Registered(kind=plug_in.kind, make=lambda: plug_in, brought_by=brought_by)
    return unusable(_bare(entry.name), problem, brought_by)


def _bare(name: str) -> ListenerKind:
    return ListenerKind(id=name[:20], summary="", options=())


def _brought_by(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _within(seconds: float, work: Callable[[], PlugIn]) -> PlugIn:
    """Run work in a daemon thread.

    Raises:
        BaseException: what the work raised.
        TimeoutError: it takes longer.
    """
    results: list[PlugIn] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            errors.append(error)

    thread = threading.Thread(target=run, name="notifier-loading", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]
