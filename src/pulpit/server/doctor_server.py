"""Checks by `pulpit doctor` of the server's parts: REST API, database, brokers, listeners, schedules, other servers."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import uvloop
from sqlalchemy import Connection

from pulpit import __version__
from pulpit.amqp import BrokerUnavailable
from pulpit.clock import system_clock
from pulpit.delivery.notifiers.kinds import OURS, Registered, unusable
from pulpit.delivery.notifiers.port import Surroundings
from pulpit.errors import ConfigurationError, DatabaseUnavailable, StorageFull
from pulpit.intervals import span_text
from pulpit.listener_options import BUILT_IN, KAFKA, NATS
from pulpit.server import messaging
from pulpit.server.doctor_machine import Finding, Installation, problem, warning, well
from pulpit.server.health import LONGEST_REASON, PATIENCE_S, ask, reachable, url_of, why_not
from pulpit.server.notifiers import not_ready, own_extras, plug_ins, servers_of
from pulpit.server.stream_servers import kafka_brokers, nats_servers
from pulpit.settings import Settings
from pulpit.store import dead_letters, event_log, listeners, schedules, servers
from pulpit.store.database import FILE_NAME, Database, database_time
from pulpit.store.listeners import Listener
from pulpit.store.wakeups import WakeupSocket
from pulpit.text import host_and_port, one_line

MOST: Final = 20
"""Listeners and schedules that are listed individually."""
LATE: Final = timedelta(minutes=5)
"""Age of an undelivered event from which its listener counts as behind."""
_AMQP_091: Final = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME: Final = b"\x01"
_NOBODY: Final = Surroundings(source="/pulpit/doctor", clock=system_clock)
_NO_LISTENERS_OF: Final = "There are {kind} listeners, and {what}; their events wait, and become dead letters later."
_SWITCHED_OFF: Final = "There are {kind} listeners, and {what}; nothing is sent, and their events count as delivered."


def check_running(installation: Installation) -> Iterator[Finding]:
    """Check that the running server responds at its configured address, and has workers."""
    settings = installation.settings
    if not installation.is_served:
        yield well("server", f"No server runs in {settings.data_dir}; everything is checked as it would start.")
        return
    url = url_of(settings)
    try:
        status = ask(settings, "/pulp/api/v2/status/")
    except (OSError, ValueError) as error:
        yield problem(
            "server",
            f"A server runs in {settings.data_dir} and does not answer at {url} ({why_not(error)}).",
            "If it was started with other options, give the same ones here; otherwise look into its log.",
        )
        return
    workers = len(status.get("known_workers", ()))
    if workers < settings.tasks.workers:
        sentence = f"The server at {url} has {workers} of {settings.tasks.workers} workers."
        yield problem("server", sentence, "Look into its log for worker_died and worker_failed.")
    else:
        yield well("server", f"The server at {url} answers and has {workers} workers.")


def check_brokers(installation: Installation) -> Iterator[Finding]:
    """Check that each configured broker accepts a connection and the login."""
    section = installation.settings.messaging
    if installation.settings.embedded_broker:
        yield from _embedded(installation)
        return
    try:
        addresses, tls = messaging.broker_addresses(section), messaging.trust(section)
    except ConfigurationError:
        return  # reported by `check_configuration`
    if not addresses:
        yield well("broker", "There is none: amqp listeners are turned off.")
        return
    remedy = "Start it, or correct [messaging]; events wait in the log meanwhile."
    for address in addresses:
        try:
            way = messaging.publisher(section, [address], tls, by_certificate=bool(section.clientcert))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_connect(way))
        except (BrokerUnavailable, ConfigurationError) as error:
            yield problem("broker", one_line(str(error), LONGEST_REASON), remedy)
        except TimeoutError:
            yield problem("broker", f"The broker at {address.place} does not answer within {PATIENCE_S:.0f} s.", remedy)
        else:
            yield well("broker", f"The broker at {address.place} takes connections and the login.")


def check_streams(installation: Installation) -> Iterator[Finding]:
    """Whether the NATS servers and the Kafka brokers that are configured take a connection and the login."""
    settings = installation.settings
    for kind, look in ((NATS, _nats_servers), (KAFKA, _kafka_brokers)):
        if not servers_of(settings, kind):
            continue
        if reason := not_ready(settings, kind):
            yield problem(kind.id, f"[{kind.id}] servers is set, and no such listener can be served.", reason)
            continue
        with contextlib.suppress(ConfigurationError):  # `check_configuration` says so
            yield from look(settings)


def _nats_servers(settings: Settings) -> Iterator[Finding]:
    from pulpit.delivery.notifiers import nats_connection as nats  # noqa: PLC0415 - an extra of the installation

    section = nats_servers(settings.nats)

    async def reach(url: str) -> None:
        connection = nats.Connection(replace(section, urls=(url,)))
        try:
            await connection.reach()
        finally:
            await connection.drop()

    for url in section.urls:
        try:
            asyncio.run(reach(url))
        except nats.NatsUnavailable as error:
            yield problem("nats", one_line(str(error), LONGEST_REASON), "Start it, or correct [nats]; events wait.")
        else:
            yield well("nats", f"The server at {url} takes connections and the login.")


def _kafka_brokers(settings: Settings) -> Iterator[Finding]:
    from pulpit.delivery.notifiers.kafka import KafkaUnavailable, reach  # noqa: PLC0415 - an extra of the installation

    brokers = kafka_brokers(settings.kafka)
    try:
        count = reach(brokers, PATIENCE_S)
    except KafkaUnavailable as error:
        yield problem("kafka", one_line(str(error), LONGEST_REASON), "Start them, or correct [kafka]; events wait.")
    else:
        yield well("kafka", f"The cluster at {brokers.servers} of {count} brokers takes connections and the login.")


async def _connect(way: "messaging.AmqpPublisher") -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await way.connect()
    finally:
        with contextlib.suppress(Exception):
            await way.close()


def _embedded(installation: Installation) -> Iterator[Finding]:
    section = installation.settings.broker
    if not installation.is_served:
        yield well("broker", f"The embedded broker will listen on {host_and_port(section.host, section.port)}.")
        return
    host = reachable(section.host)
    place = host_and_port(host, section.port)
    try:
        with socket.create_connection((host, section.port), timeout=PATIENCE_S) as line:
            spoken = True
            if not section.ssl_certificate:
                line.sendall(_AMQP_091)
                spoken = line.recv(1) == _METHOD_FRAME
    except OSError as error:
        reason = why_not(error)
    else:
        reason = "" if spoken else "what listens there speaks no AMQP 0-9-1"
    if reason:
        sentence = f"The embedded broker does not answer at {place} ({reason})."
        yield problem("broker", sentence, "If the server was started with --broker-port, give it here too.")
    else:
        yield well("broker", f"The embedded broker answers at {place}.")


def check_database(installation: Installation) -> Iterator[Finding]:
    """Check that the database responds and has this version's tables; then its content."""
    settings = installation.settings
    if not settings.database.url and not (settings.data_dir / FILE_NAME).exists():
        yield well("database", "The first start creates it.")
        return
    with contextlib.ExitStack() as stack:
        wakeups = stack.enter_context(WakeupSocket(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        try:
            database = Database.look_into(settings.data_dir, wakeups, url=settings.database.url)
            stack.callback(database.close)
            with database.read() as connection:
                yield well("database", f"It answers; the log ends at event {event_log.head(connection)}.")
                inside = _Inside(installation=installation, connection=connection)
                for look in (_clocks, _listeners, _kinds, _schedules, _servers):
                    yield from look(inside)
        except ConfigurationError as error:
            yield problem("database", str(error), "What stands there cannot be used as it is.")
        except (DatabaseUnavailable, StorageFull) as error:
            yield problem("database", str(error), "Start it, or free disk space; the server continues by itself.")


def check_pulps(installation: Installation) -> Iterator[Finding]:
    """Check that the database of each Pulp 3 can be reached, and that its triggers record changes."""
    for name, section in installation.settings.pulps.items():
        key = f"[pulp3:{name}]" if name else "[pulp3]"
        attach = f"Run: pulpit pulp3 attach{f' --name {name}' if name else ''}"
        try:
            from pulpit.pulp3 import attachment  # noqa: PLC0415 - an extra of the installation

            found = attachment.with_connection(section, attachment.status)
        except ModuleNotFoundError:
            yield problem("pulp3", f"{key} needs a library that is not there.", "pip install 'pulpit[postgresql]'")
            continue
        except (ConfigurationError, DatabaseUnavailable) as error:
            yield problem("pulp3", one_line(str(error), LONGEST_REASON), f"Start it, or correct {key}.")
            continue
        missing = [trigger for trigger, state in (found.triggers or {}).items() if state != "in place"]
        if not found.attached:
            yield problem("pulp3", f"Nothing in the database of {key} records what happens there.", attach)
        elif missing:
            yield problem(
                "pulp3", f"In the database of {key} these triggers are gone or off: {', '.join(missing)}.", attach
            )
        else:
            yield well("pulp3", f"The database of {key} records what happens there; {found.waiting} entries wait.")
        if found.refused:
            sentence = f"Of {found.refused} entries in the database of {key} no event could be made."
            yield warning("pulp3", sentence, "See `pulpit pulp3 status`, and report it as a bug.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inside:
    installation: Installation
    connection: Connection


def _clocks(inside: _Inside) -> Iterator[Finding]:
    """Compare the clock with the database's and with the newest event."""
    now = inside.installation.now
    theirs = database_time(inside.connection)
    if abs(theirs - now) > servers.CLOCK_SKEW:
        sentence = (
            f"The clocks of this machine and of the database are {abs(theirs - now).total_seconds():.0f} s apart."
        )
        yield warning("clock", sentence, "Run a time service, such as systemd-timesyncd or chrony, on both.")
    newest = event_log.get(inside.connection, event_log.head(inside.connection))
    if newest is not None and newest.occurred_at - now > servers.CLOCK_SKEW:
        sentence = f"The newest event is of {newest.occurred_at:%Y-%m-%d %H:%M} UTC, which is still to come."
        yield warning("clock", sentence, "The clock was ahead when it was fired, or is behind now: set it right.")


def _listeners(inside: _Inside) -> Iterator[Finding]:
    """Report listeners that fail, were paused by Pulpit, have dead letters or are far behind."""
    found = listeners.every(inside.connection)
    letters, head = dead_letters.counts(inside.connection), event_log.head(inside.connection)
    behind = event_log.times_after(inside.connection, {entry.position for entry in found if entry.position < head})
    findings: list[Finding] = []
    for listener in found:
        since = behind.get(listener.position)
        waits = inside.installation.now - since if since and not listener.paused else timedelta(0)
        findings += _of_listener(listener, letters.get(listener.id, 0), waits)
    if not findings:
        yield well("listeners", f"{len(found)} {'listener' if len(found) == 1 else 'listeners'}, none in trouble.")
    yield from findings[:MOST]
    if len(findings) > MOST:
        yield warning(
            "listeners", f"{len(findings) - MOST} more.", "See them all: pulp-admin event listener list --details"
        )


def _of_listener(listener: Listener, letters: int, waits: timedelta) -> Iterator[Finding]:
    name = f"The {listener.notifier_type_id} listener {listener.id}"
    command = f"--listener-id {listener.id}"
    if listener.failing_since is not None and not listener.paused:
        reason = one_line(listener.last_error or "no reason", LONGEST_REASON)
        sentence = (
            f"{name} has failed {listener.attempts} times since {listener.failing_since:%Y-%m-%d %H:%M} UTC: {reason}"
        )
        yield problem("listeners", sentence, f"Fix the receiver, then: pulp-admin event listener test {command}")
    elif waits > LATE:
        late = span_text(waits.total_seconds())
        sentence = f"{name} is {late} behind and has not failed."
        yield warning("listeners", sentence, "Is the server running, and is the receiver slow?")
    if listener.paused and listener.pause_reason:
        sentence = f"{name} was paused by Pulpit: {one_line(listener.pause_reason, LONGEST_REASON)}"
        yield problem("listeners", sentence, f"Fix the receiver, then: pulp-admin event listener resume {command}")
    if letters:
        sentence = f"{name} has {letters} dead letters."
        yield warning("listeners", sentence, f"See why: pulp-admin event deadletters list {command}")


def _kinds(inside: _Inside) -> Iterator[Finding]:
    """Report listeners of a kind that the configuration turns off."""
    settings = inside.installation.settings
    kinds = {listener.notifier_type_id for listener in listeners.every(inside.connection) if not listener.paused}
    if "email" in kinds and not settings.email.enabled:
        sentence = _SWITCHED_OFF.format(kind="email", what="[email] enabled is false")
        yield problem("listeners", sentence, "Set [email] enabled and host, or delete or pause these listeners.")
    has_broker = settings.embedded_broker or settings.messaging.url or settings.messaging.url_file
    if "amqp" in kinds and not has_broker:
        sentence = _SWITCHED_OFF.format(kind="amqp", what="there is no broker")
        yield problem("listeners", sentence, "Set [messaging] url, or delete or pause these listeners.")
    found = {entry.kind.id: entry for entry in (*_extras(settings), *plug_ins(_NOBODY))}
    for kind in sorted(kinds - BUILT_IN.keys() - found.keys()):
        sentence = _NO_LISTENERS_OF.format(kind=kind, what="nothing here brings such a notifier")
        yield problem("listeners", sentence, "Install what brings it, or delete or pause these listeners.")
    for kind, entry in found.items():
        if entry.problem and kind in kinds:
            sentence = _NO_LISTENERS_OF.format(kind=kind, what="they cannot be served")
            yield problem("listeners", sentence, entry.problem)
        elif entry.problem and entry.brought_by != OURS:
            yield warning("plug-ins", f"Listeners of kind {kind} cannot be made.", entry.problem)


def _extras(settings: Settings) -> list[Registered]:
    """Return Pulpit's own kinds that need extras; their configuration is checked elsewhere."""
    try:
        return own_extras(settings, _NOBODY.source)
    except ConfigurationError:
        return [unusable(kind, "Correct the keys of this kind.") for kind in BUILT_IN.values()]


def _schedules(inside: _Inside) -> Iterator[Finding]:
    """Report schedules whose last runs failed."""
    failing = [entry for entry in schedules.every(inside.connection) if entry.consecutive_failures]
    for schedule in failing[:MOST]:
        state = "goes on" if schedule.enabled else "is disabled"
        sentence = (
            f"The {schedule.action} schedule of {schedule.repo_id} has failed {schedule.consecutive_failures} times "
            f"in a row and {state}."
        )
        remedy = f"See why: pulp-admin repo history {schedule.action} --repo-id {schedule.repo_id}"
        yield warning("schedules", sentence, remedy)


def _servers(inside: _Inside) -> Iterator[Finding]:
    """Report on the servers that share a PostgreSQL: when each was seen, its version and its clock."""
    now = database_time(inside.connection)
    for member in servers.members(inside.connection):
        name = f"The server {member.node}" if member.delivers else f"`pulpit worker` {member.node}"
        silent = now - member.seen_at
        if silent > servers.LEASE:
            sentence = f"{name} was last seen {span_text(silent.total_seconds())} ago."
            yield warning("servers", sentence, "Start it again; the others have taken over what it did.")
            continue
        version = f"Version {member.version}, seen" if member.version else "Seen"
        yield well("servers", f"{name} is alive. {version} {max(silent.total_seconds(), 0):.0f} s ago.")
        if member.version and member.version != __version__:
            sentence = f"{name} is of version {member.version}, and this is {__version__}."
            yield warning("servers", sentence, "Run one version everywhere; during an upgrade it may be so.")
        if member.clock_ahead is not None and abs(member.clock_ahead) > servers.CLOCK_SKEW.total_seconds():
            way = "ahead of" if member.clock_ahead > 0 else "behind"
            sentence = f"The clock of {member.node} is {abs(member.clock_ahead):.0f} s {way} that of the database."
            yield warning("servers", sentence, "Run a time service, such as systemd-timesyncd or chrony, there.")
