"""How an upstream is connected to: TLS, proxy and credentials out of a feed's configuration."""

import base64
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
from yarl import URL

from pulpit import __version__
from pulpit.content.feed import Feed
from pulpit.content.limits import KIB, Limits
from pulpit.errors import WorkFailed
from pulpit.net.addresses import FeedGuard
from pulpit.net.outgoing import Resolver, guarded_sockets

READ_BUFFER: Final = 512 * KIB
HEADERS: Final = {"User-Agent": f"pulpit/{__version__}", "Accept-Encoding": "identity"}


def guard_of(feed: Feed) -> FeedGuard:
    """Where an upstream may lead: the hosts that its feed names are the administrator's choice."""
    named = (URL(one).host for one in (feed.url, feed.proxy) if one)
    return FeedGuard(host for host in named if host)


def open_session(feed: Feed, limits: Limits, trust: ssl.SSLContext | bool, guard: FeedGuard) -> aiohttp.ClientSession:
    """A session with a pool of connections, one for each download at a time; `trust` as `tls` answers it."""
    connector = aiohttp.TCPConnector(
        limit=feed.max_downloads or limits.downloads,
        ssl=trust,
        resolver=Resolver(guard.note_resolved),
        socket_factory=guarded_sockets(guard),
    )
    timeout = aiohttp.ClientTimeout(
        total=None, connect=None, sock_connect=limits.connect_timeout, sock_read=limits.stall_timeout
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,  # checksums are those of the bytes as they are kept
        headers=HEADERS,
        read_bufsize=READ_BUFFER,
        trust_env=False,
    )


def proxy(feed: Feed) -> dict[str, Any]:
    """The arguments of a request that name the proxy."""
    if feed.proxy is None:
        return {}
    url = URL(feed.proxy)
    if feed.proxy_username is not None:
        url = url.with_user(feed.proxy_username).with_password(feed.proxy_password or "")
    return {"proxy": url}


def tls(feed: Feed) -> ssl.SSLContext | bool:
    """What to trust, and what to show; true for what every client does, which costs nothing as aiohttp has it ready.

    Raises:
        WorkFailed: a PEM text cannot be used.
    """
    if feed.ssl_validation and not feed.ssl_ca_cert and not feed.ssl_client_cert:
        return True
    try:
        context = ssl.create_default_context(cadata=feed.ssl_ca_cert)
    except (ssl.SSLError, ValueError) as error:
        raise WorkFailed(f"ssl_ca_cert cannot be used: {_reason(error)}.") from None
    if not feed.ssl_validation:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if feed.ssl_client_cert:
        _show(context, feed.ssl_client_cert, feed.ssl_client_key or "")
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    with _in_memory(certificate + "\n" + key) as path:
        try:
            context.load_cert_chain(path, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise WorkFailed(f"ssl_client_cert and ssl_client_key cannot be used: {_reason(error)}.") from None


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path to a text that never reaches a disk, for an interface that takes only paths."""
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(fd, text.encode())
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _no_password() -> str:
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)


def login(feed: Feed, url: str) -> dict[str, str]:
    """The header of RFC 7617, for the feed's own server alone; aiohttp does not send it on to another one."""
    if feed.username is None or URL(url).origin() != URL(feed.url).origin():
        return {}
    credentials = f"{feed.username}:{feed.password or ''}".encode()
    return {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
