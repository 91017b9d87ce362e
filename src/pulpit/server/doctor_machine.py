"""Findings of `pulpit doctor`, and its checks of the machine: files, disk, ports, clock, certificates."""

import ctypes
import errno
import os
import resource
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from pulpit.broker.config import MEBIBYTE
from pulpit.content.rpm.lists import createrepo
from pulpit.delivery.notifiers.http_config import configured_proxy
from pulpit.errors import ConfigurationError, WorkFailed
from pulpit.listener_options import KAFKA, NATS
from pulpit.net.addresses import is_loopback, parse_networks
from pulpit.net.config_files import ADMIN_PASSWORD_FILE, read_secret
from pulpit.net.tls import CertificateFiles, read_pem
from pulpit.server import embedded_broker, messaging
from pulpit.server.notifiers import not_ready
from pulpit.server.stream_servers import kafka_brokers, nats_servers
from pulpit.settings import Settings
from pulpit.store.database import FILE_NAME
from pulpit.text import host_and_port

ENOUGH_ROOM: Final = 1024 * MEBIBYTE
"""Free bytes below which there is a warning."""
FEW_INODES: Final = 10_000
FEW_OPEN_FILES: Final = 4_096
SOON: Final = timedelta(days=21)
"""Time before a certificate expires at which there is a warning; most are renewed automatically before."""
_TIME_ERROR: Final = 5
"""What adjtimex(2) returns while the clock is not synchronised."""
_ADJTIMEX_BYTES: Final = 512
"""Larger than `struct timex` anywhere."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SECRETS: Final = (FILE_NAME, ADMIN_PASSWORD_FILE, "broker")


class State(Enum):
    WELL = "ok"
    WARNING = "warning"
    """Nothing fails because of it today."""
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    part: str
    """`disk`, `ports`, …: stable across versions."""
    state: State
    sentence: str
    remedy: str = ""
    """What to do; empty if all is well."""

    def document(self) -> dict[str, Any]:
        """Format it for programs."""
        return {**asdict(self), "state": self.state.value}


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """The server that is checked."""

    settings: Settings
    is_served: bool
    """Whether it runs now."""
    now: datetime


def well(part: str, sentence: str) -> Finding:
    """Return a finding: nothing to do."""
    return Finding(part=part, state=State.WELL, sentence=sentence)


def warning(part: str, sentence: str, remedy: str) -> Finding:
    """Return a finding: something to do soon."""
    return Finding(part=part, state=State.WARNING, sentence=sentence, remedy=remedy)


def problem(part: str, sentence: str, remedy: str) -> Finding:
    """Return a finding: something to do now."""
    return Finding(part=part, state=State.PROBLEM, sentence=sentence, remedy=remedy)


def check_configuration(installation: Installation) -> Iterator[Finding]:
    """Check that a start would accept every key: named files, addresses, unencrypted passwords."""
    settings = installation.settings
    uses: list[Callable[[], object]] = [
        lambda: embedded_broker.broker_config(settings) if settings.embedded_broker else None,
        lambda: messaging.trust(settings.messaging),
        lambda: parse_networks(settings.server.webhook_allow),
        lambda: parse_networks(settings.server.trusted_proxies, "[server] trusted_proxies"),
        lambda: configured_proxy(settings.server.webhook_proxy),
        lambda: nats_servers(settings.nats) if not not_ready(settings, NATS) else None,
        lambda: kafka_brokers(settings.kafka) if not not_ready(settings, KAFKA) else None,
    ]
    if settings.server.ssl_certificate:
        pair = CertificateFiles(
            certificate=Path(settings.server.ssl_certificate),
            key=Path(settings.server.ssl_key),
            source="[server] ssl_certificate, ssl_key",
        )
        uses.append(pair.check)
    if settings.email.enabled and settings.email.password_file:
        uses.append(lambda: read_secret(Path(settings.email.password_file), "[email] password_file"))
    refused = False
    for use in uses:
        try:
            use()
        except ConfigurationError as error:
            refused = True
            yield problem("configuration", str(error), "Correct this key; the server does not start with it.")
    if not refused:
        yield well("configuration", "Every key can be used.")
    if not is_loopback(settings.server.host) and not settings.server.ssl_certificate:
        yield warning(
            "configuration",
            f"The REST API listens on {settings.server.host} without TLS, so passwords travel in clear text.",
            "Set [server] ssl_certificate and ssl_key, or listen on 127.0.0.1 behind a proxy that speaks TLS.",
        )


def check_data_folder(installation: Installation) -> Iterator[Finding]:
    """Check owner and mode of the data."""
    folder = installation.settings.data_dir
    if not folder.exists():
        yield well("files", f"{folder} is not there yet; the first start creates it.")
        return
    owner, flaws = folder.stat().st_uid, 0
    for path in sorted(folder.iterdir()):
        found = path.lstat()
        if found.st_uid != owner:
            flaws += 1
            yield problem(
                "files",
                f"{path} belongs to another user than {folder}.",
                f"Run as root: chown -R --reference={folder} {path}",
            )
        elif path.name in _SECRETS and found.st_mode & _OTHERS:
            flaws += 1
            yield problem("files", f"{path} is open to others.", f"Run: chmod go= {path}")
    if folder.stat().st_mode & _OTHERS:
        flaws += 1
        yield problem("files", f"{folder} is open to others.", f"Run: chmod 700 {folder}")
    if not flaws:
        yield well("files", f"{folder} and what is in it belong to one user alone.")


def check_disk(installation: Installation) -> Iterator[Finding]:
    """Check the free space for files, the database and the embedded broker."""
    folder = installation.settings.data_dir
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    free = f"{usage.free / 1024**3:.1f} GiB of {usage.total / 1024**3:.1f} GiB are free in {folder}."
    least = installation.settings.broker.disk_free_limit * MEBIBYTE
    room = "Make room: `pulp-admin orphan remove --all` removes files that no repository has any more."
    if usage.free < least:
        yield problem("disk", f"{free} The broker lets publishers wait below {least // MEBIBYTE} MiB.", room)
    elif usage.free < ENOUGH_ROOM:
        yield warning("disk", free, room)
    else:
        yield well("disk", free)
    inodes = os.statvfs(folder)
    if inodes.f_files and inodes.f_favail < FEW_INODES:  # file systems without a limit report 0 of 0
        few = f"Only {inodes.f_favail} more files can be made in {folder}."
        yield warning("disk", few, "Remove files, or use a larger disk.")


def check_ports(installation: Installation) -> Iterator[Finding]:
    """Check that a stopped server could listen on its ports; a running one is checked by `check_running`."""
    if installation.is_served:
        return
    settings = installation.settings
    wanted = [("[server] port", settings.server.host, settings.server.port)]
    if settings.embedded_broker:
        wanted.append(("[broker] port", settings.broker.host, settings.broker.port))
    for key, host, port in wanted:
        place, reason = host_and_port(host, port), why_not_listen(host, port)
        if reason is None:
            yield well("ports", f"{place} is free for {key}.")
        else:
            remedy = f"See who has it by `ss -ltnp 'sport = :{port}'`, or set {key}."
            yield problem("ports", f"{place} cannot be listened on: {reason}.", remedy)


def why_not_listen(host: str, port: int) -> str | None:
    """Return the system's error for listening on a port; null if it is free."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        return "another program has it" if taken else str(getattr(error, "strerror", None) or error).lower()
    return None


def check_clock(installation: Installation) -> Iterator[Finding]:
    """Check that the clock is synchronised: webhook signatures and certificates depend on it."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_ADJTIMEX_BYTES))
    except (OSError, AttributeError):
        return
    now = installation.now.astimezone(UTC)
    if state == _TIME_ERROR:
        yield warning(
            "clock",
            f"It is {now:%Y-%m-%d %H:%M:%S} UTC by the clock, and nothing synchronises it.",
            "Run a time service, such as systemd-timesyncd or chrony, on this machine or its host.",
        )
    else:
        yield well("clock", f"It is {now:%Y-%m-%d %H:%M:%S} UTC, and the clock is synchronised.")


def check_certificates(installation: Installation) -> Iterator[Finding]:
    """Check the expiry of the server's certificates, and of the CAs that it trusts."""
    settings = installation.settings
    shown = {
        "[server] ssl_certificate": settings.server.ssl_certificate,
        "[broker] ssl_certificate": settings.broker.ssl_certificate,
        "[messaging] clientcert": settings.messaging.clientcert,
        "[nats] clientcert": settings.nats.clientcert,
        "[kafka] clientcert": settings.kafka.clientcert,
    }
    trusted = {
        "[messaging] cacert": settings.messaging.cacert,
        "[broker] ssl_ca": settings.broker.ssl_ca,
        "[email] ca": settings.email.ca,
        "[nats] cacert": settings.nats.cacert,
        "[kafka] cacert": settings.kafka.cacert,
    }
    for key, path in {**shown, **trusted}.items():
        if path and Path(path).is_file():
            yield from certificate_ends(key, Path(path), installation.now, any_will_do=key in trusted)


def certificate_ends(key: str, path: Path, now: datetime, *, any_will_do: bool) -> Iterator[Finding]:
    """Check the expiry of the certificates in a file: the first of a chain, or the last of several CAs."""
    try:
        found = x509.load_pem_x509_certificates(read_pem(path, key).encode())
    except (ValueError, ConfigurationError):
        return  # reported by `check_configuration`
    pick = max if any_will_do else min
    end = pick(certificate.not_valid_after_utc for certificate in found)
    start = found[0].not_valid_before_utc
    renew = f"Put a renewed one into {path}; it is taken over within seconds, without a restart."
    if end <= now:
        yield problem("certificates", f"{key}: {path} has expired on {end:%Y-%m-%d}.", renew)
    elif start > now:
        remedy = "Look at the clock of this machine, or at the certificate."
        yield problem("certificates", f"{key}: {path} is valid only from {start:%Y-%m-%d %H:%M} UTC.", remedy)
    elif end - now < SOON:
        yield warning("certificates", f"{key}: {path} expires on {end:%Y-%m-%d}, in {(end - now).days} days.", renew)
    else:
        yield well("certificates", f"{key}: {path} is valid until {end:%Y-%m-%d}.")


def check_system(_installation: Installation) -> Iterator[Finding]:
    """Check the libraries for yum repositories, and the limit of open connections."""
    try:
        createrepo()
    except WorkFailed as error:
        yield warning("system", str(error), "Install GLib; Debian: apt install libglib2.0-0")
    if shutil.which("gpgv") is None:
        yield warning(
            "system", "There is no gpgv, which checks signatures of packages.", "Install it; Debian: apt install gpgv"
        )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FEW_OPEN_FILES:
        yield warning(
            "system",
            f"A process may have {most} open files, and each connection is one.",
            "Raise the hard limit: LimitNOFILE= of the unit, or ulimit -n.",
        )
