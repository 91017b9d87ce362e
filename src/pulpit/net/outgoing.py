"""What aiohttp connects with: a resolver in threads of its own, sockets that pass a guard, and limits of replies."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from pulpit.net.addresses import AddressGuard

LOOKUPS: Final = 8
"""Threads that ask for names; names that nobody answers for hold up other names at most."""
LONGEST_HEAD: Final = 1024 * 1024
"""Bytes of a reply's status line and headers, and of one of them: aiohttp's `max_line_size` and `max_field_size`."""
MOST_HEADERS: Final = 10_000
"""Headers of a reply: aiohttp's `max_headers`. Servers exist that send hundreds, and 9 kB in one."""


class Resolver(AbstractResolver):
    """Asks the system for names in threads of its own, so that a dead name server delays nothing else."""

    def __init__(self) -> None:
        self._threads: Final = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            OSError: there are none.
        """
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        return [_result(host, answer) for answer in answers]

    async def close(self) -> None:
        """Let go of the threads; one that still waits for an answer ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def guarded_sockets(guard: AddressGuard) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Make the sockets of a connector, as aiohttp's `socket_factory`; no connection is made without one.

    The returned function raises `ForbiddenAddress`.
    """

    def make(addrinfo: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, destination = addrinfo
        guard.check(destination[0])
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make


def _result(host: str, answer: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, destination = answer
    address = destination[0]
    if len(destination) > 2 and destination[3]:  # noqa: PLR2004 - a scope: link-local addresses mean nothing without it
        address, _ = socket.getnameinfo(destination, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=destination[1], family=family, proto=protocol, flags=flags)
