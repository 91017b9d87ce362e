# SPDX-License-Identifier: Apache-2.0
"""Addresses that the server may connect to at a stranger's request, and addresses of this machine.

Two guards check every address when a socket is created for it, so no DNS rebinding, redirect or unusual spelling gets
past:

* `WebhookGuard`: a webhook reaches the public internet, and the private networks that the operator names.
* `FeedGuard`: an upstream may lead anywhere except to this machine and its nearest network, where other services trust
  every client. A feed (or proxy) with such an address was configured by an administrator: that exact host may be
  reached.

Nothing here opens a socket.
"""

import errno
import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

from pulpit.errors import ConfigurationError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_NO_HOST: Final = re.compile(r"[\s/@]|\A\Z")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")
_LOW_32_BITS: Final = 0xFFFFFFFF


class ForbiddenAddress(OSError):
    """The connection is forbidden; `strerror` says why, and which key allows it if there is one."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.EACCES, sentence)


class AddressGuard(Protocol):
    """Decides where webhook connections may go."""

    def check(self, host: str) -> None:
        """Check a host; names pass, because the resolved address is checked when a socket is created.

        Raises:
            ForbiddenAddress: the address is not allowed.
        """


class WebhookGuard:
    """Permits public addresses and `[server] webhook_allow`."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed: Final = tuple(allowed)

    def check(self, host: str) -> None:
        address = literal(host)
        if address and not self.permits(address):
            raise ForbiddenAddress(f"{host} is no public address, and its network is not in [server] webhook_allow")

    def permits(self, address: Address) -> bool:
        """Whether a connection may go there; an IPv4 address embedded in an IPv6 one is checked as IPv4."""
        inner = embedded(address)
        if any(spelling in network for spelling in (address, *inner) for network in self._allowed):
            return True
        return all(map(_is_public, inner or (address,)))


class Anywhere:
    """Permits every address: for the operator's own configuration."""

    def check(self, host: str) -> None:
        pass


class FeedGuard:
    """Permits every address except near ones; these only for the exact host that an administrator configured.

    Such a host must have been near when it was first reached: a name that becomes near later is an attack. Link-local
    addresses are never permitted, because cloud metadata services are there.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        """Prepare; `hosts` are those that the administrator configured: the feed's and its proxy's."""
        self._hosts: Final = frozenset(map(_as_compared, hosts))
        self._near_at_first: Final[dict[str, bool]] = {}

    def check(self, address: str, host: str) -> None:
        """Check an address that a host was resolved to.

        Raises:
            ForbiddenAddress: it is not allowed.
        """
        host, near = _as_compared(host), is_near(address)
        if host in self._hosts:
            trusted = self._near_at_first.setdefault(host, near)
            if near and trusted and not is_link_local(address):
                return
        if near:
            raise ForbiddenAddress(
                f"{address} is no address to which an upstream may lead, unless the feed itself is at that host"
            )


def parse_networks(text: str, key: str = "[server] webhook_allow") -> list[Network]:
    """Parse `127.0.0.0/8, ::1, 10.1.0.0/16`; empty is none.

    Raises:
        ConfigurationError: the key is invalid.
    """
    parts = text.replace(",", " ").split()
    try:
        return [ip_network(part) for part in parts]
    except ValueError as error:
        raise ConfigurationError(key, f"{error}; write networks as 10.1.0.0/16.") from None


def literal(host: str) -> Address | None:
    """Return the address in a URL's host, with or without brackets and scope, or `None` for a name."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def is_host(text: str) -> bool:
    """Whether a text may be the name or the address of a host: nothing with a scheme, a user or a port."""
    return not _NO_HOST.search(text) and (":" not in text or literal(text) is not None)


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 address embedded in an IPv6 one (mapped, compatible, 6to4, NAT64), if any."""
    if isinstance(address, IPv4Address):
        return ()
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and (address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1)):
        inner = IPv4Address(int(address) & _LOW_32_BITS)
    return (inner,) if inner else ()


def is_loopback(host: str) -> bool:
    """Whether a name or an address is local to this machine: `localhost`, 127.0.0.0/8 and ::1; nothing is resolved."""
    if host.casefold() == "localhost":
        return True
    address = literal(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address is not None and (mapped or address).is_loopback


def is_near(host: str) -> bool:
    """Whether an address is of this machine or its nearest network; names are not."""
    address = literal(host)
    return address is not None and any(
        part.is_loopback or part.is_link_local or part.is_unspecified or part.is_multicast
        for part in (address, *embedded(address))
    )


def is_link_local(host: str) -> bool:
    """Whether an address is link-local, which is never routed; names are not."""
    address = literal(host)
    return address is not None and any(part.is_link_local for part in (address, *embedded(address)))


def _as_compared(host: str) -> str:
    return host.strip("[]").casefold().rstrip(".")


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)
