"""Where an upstream may lead the server: anywhere, but to the server's own machine and the nearest network.

Redirects, lists of mirrors and places in metadata are written by strangers, and behind a loopback or link-local address
stands what trusts whoever reaches it: other services of this machine, a cloud's own data about it. A feed (or proxy)
that itself has such an address has been put there by an administrator, and may lead where it likes.
"""

import errno
import socket
from collections.abc import Iterable
from typing import Any, Final

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from pulpit.net.addresses import Address, embedded, literal


class OutOfReach(OSError):
    """An upstream leads to an address where it has no business."""


class Reach(ThreadedResolver):
    """Resolves names and makes sockets for one upstream, as aiohttp's `resolver` and `socket_factory`."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """Prepare; `hosts` are those that the administrator has named."""
        super().__init__()
        self._hosts: Final = frozenset(hosts)
        self._trusted = any(_is_near(host) for host in self._hosts)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            OSError: there are none.
        """
        found = await super().resolve(host, port, family)
        if host in self._hosts and any(_is_near(one["host"]) for one in found):
            self._trusted = True
        return found

    def leads_to(self, address: str) -> bool:
        """Whether a connection to this address is allowed."""
        return self._trusted or not _is_near(address)

    def socket_for(self, addrinfo: tuple[Any, ...]) -> socket.socket:
        """Make the socket of one connection; no connection is made without it.

        Raises:
            OutOfReach: the upstream must not lead there.
        """
        family, kind, protocol, _, destination = addrinfo
        if not self.leads_to(destination[0]):
            sentence = f"{destination[0]} is no address to which an upstream may lead"
            raise OutOfReach(errno.EACCES, sentence)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def _is_near(host: str) -> bool:
    """Whether an address is one of this machine or its nearest network; a name is not judged."""
    address = literal(host)
    return address is not None and any(map(_near, (address, *embedded(address))))


def _near(address: Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
