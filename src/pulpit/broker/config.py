"""The broker's configuration."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pulpit.broker.permissions import Grant
from pulpit.net.passwords import Password

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerUser:
    """A user: only from this machine, unless `anywhere`; for these virtual hosts, None for all.

    `by_certificate` says whether a client certificate with the user's name replaces the password, and
    `grants` are all that the user may do, None without any restriction.
    """

    password: Password
    anywhere: bool = True
    by_certificate: bool = True
    virtual_hosts: frozenset[str] | None = None
    grants: tuple[Grant, ...] | None = None


def guest() -> Mapping[str, BrokerUser]:
    """Return the user guest with the password guest, from this machine only, as in RabbitMQ."""
    return {"guest": BrokerUser(password=Password("guest"), anywhere=False)}


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerConfig:
    """All settings; sizes in bytes, times in seconds.

    Attributes:
        host: address to listen on; one beyond this machine needs configured users and TLS.
        port: TCP port; 0 takes a free one, see `Broker.port`.
        data_dir: folder of the broker's database; it is created. None keeps everything in memory, for tests.
        users: who may log in. A client certificate (EXTERNAL) must have the name of one of them.
        virtual_hosts: names of the virtual hosts; the first one is the default.
        ssl_context: speak TLS with this context; None speaks plain TCP.
        memory_limit: bytes of messages in memory above which publishers are blocked; backlogs are paged out long
        before.
        disk_free_limit: free bytes in `data_dir` below which publishers are blocked.
        max_message_size: bytes of one body.
        max_connections: connections at a time; a further one is closed at once.
        max_connections_handshaking: connections at a time that have not logged in yet.
        max_queues: queues in one virtual host.
        channel_max: channels of one connection.
        frame_max: bytes of one frame, including the eight bytes around the payload.
        heartbeat: seconds that are proposed to clients; 0 proposes none.
        handshake_timeout: seconds from connecting to being logged in.
        failed_login_delay: seconds before a refused login is answered; each failure of an address doubles it.
        product: what clients are told under `product`. Several choose extensions by it, so it names the compatible
            broker; `platform` and `information` say what really runs.
        shutdown_timeout: seconds that clients get to answer connection.close.
    """

    host: str = "127.0.0.1"
    port: int = 5672
    data_dir: Path | None
    users: Mapping[str, BrokerUser] = field(default_factory=guest)
    virtual_hosts: tuple[str, ...] = ("/",)
    ssl_context: ssl.SSLContext | None = None
    memory_limit: int = 256 * MEBIBYTE
    disk_free_limit: int = 50 * MEBIBYTE
    max_message_size: int = 128 * MEBIBYTE
    max_connections: int = 4096
    max_connections_handshaking: int = 256
    max_queues: int = 100_000
    channel_max: int = 2047
    frame_max: int = 131_072
    heartbeat: int = 60
    handshake_timeout: float = 10.0
    failed_login_delay: float = 0.25
    product: str = "RabbitMQ"
    shutdown_timeout: float = 1.0
