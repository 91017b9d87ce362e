"""Which addresses web hooks may reach: the public internet, and the private networks that the operator names.

A name is judged by what it resolves to, at the moment when a socket is made for that very address. So neither a name
that answers differently the second time, nor a redirect, nor an address in an unusual spelling gets past.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from pulpit.errors import ConfigurationError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

LOOKUPS: Final = 8
"""Threads that ask for names; names that nobody answers for hold up other names at most."""
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")
_LOW_32_BITS: Final = 0xFFFFFFFF


class ForbiddenAddress(OSError):
    """The address lies in a network that web hooks may not reach; the text says which key allows it."""

    def __init__(self, address: str) -> None:
        sentence = f"{address} is no public address, and its network is not in [server] webhook_allow"
        super().__init__(errno.EACCES, sentence)


class Guard:
    """Judges addresses."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed: Final = tuple(allowed)

    def permits(self, address: Address) -> bool:
        """Whether a connection may go there; an IPv4 address inside an IPv6 one counts as what it is."""
        spellings = (address, *embedded(address))
        if any(one in network for one in spellings for network in self._allowed):
            return True
        return all(_public(one) for one in spellings[1:] or spellings)

    def check_literal(self, host: str) -> None:
        """Refuse a host that is written as an address and may not be reached; a name passes.

        Raises:
            ForbiddenAddress: it may not.
        """
        address = literal(host)
        if address and not self.permits(address):
            raise ForbiddenAddress(host)

    def socket_for(self, addrinfo: tuple[Any, ...]) -> socket.socket:
        """Make the socket of one connection, as aiohttp's `socket_factory`; no connection is made without it.

        Raises:
            ForbiddenAddress: the connection may not be made.
        """
        family, kind, protocol, _, destination = addrinfo
        if not self.permits(ip_address(destination[0].partition("%")[0])):
            raise ForbiddenAddress(destination[0])
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class Resolver(AbstractResolver):
    """Asks the system for names in threads of its own, so that a dead name server delays nothing but web hooks."""

    def __init__(self) -> None:
        self._threads: Final = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            OSError: there are none.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        return [_resolved(host, one) for one in found]

    async def close(self) -> None:
        """Let go of the threads; one that still waits for an answer ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def parse_networks(text: str) -> list[Network]:
    """Read `127.0.0.0/8, ::1, 10.1.0.0/16`; empty is none.

    Raises:
        ConfigurationError: `[server] webhook_allow`.
    """
    parts = text.replace(",", " ").split()
    try:
        return [ip_network(part) for part in parts]
    except ValueError as error:
        raise ConfigurationError("[server] webhook_allow", f"{error}; write networks as 10.1.0.0/16.") from None


def literal(host: str) -> Address | None:
    """The address that a host of a URL is, if it is none to look up."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 address that an IPv6 one carries, if it does."""
    if isinstance(address, IPv4Address):
        return ()
    inside = address.ipv4_mapped or address.sixtofour
    if inside is None and (address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1)):
        inside = IPv4Address(int(address) & _LOW_32_BITS)
    return (inside,) if inside else ()


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _resolved(host: str, found: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, destination = found
    address = destination[0]
    if len(destination) > 2 and destination[3]:  # noqa: PLR2004 - a scope: link-local addresses mean nothing without it
        address, _ = socket.getnameinfo(destination, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=destination[1], family=family, proto=protocol, flags=flags)
