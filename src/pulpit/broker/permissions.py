"""What users may do, in RabbitMQ's words, for exchanges and queues whose names fit.

    configure   declare and delete it
    write       an exchange: publish to it; exchange or queue: bind it to something that it then gets messages from
    read        an exchange: bind something to it; a queue: consume, get, purge

A connection gets its `Rights` when it enters its virtual host. They stay the same as long as the connection lives, so a
verdict may be remembered.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from pulpit.broker.refusals import access_refused
from pulpit.topics import covers

CONFIGURE: Final = "configure"
WRITE: Final = "write"
READ: Final = "read"
OPERATIONS: Final = frozenset({CONFIGURE, WRITE, READ})
EXCHANGE: Final = "exchange"
QUEUE: Final = "queue"
KINDS: Final = frozenset({EXCHANGE, QUEUE})
DEFAULT_EXCHANGE: Final = "amq.default"
"""What the nameless exchange is called here, as in RabbitMQ."""
MAX_VERDICTS: Final = 1024
"""Remembered for one connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Leave for some operations on what is named so; `*` in a name stands for any characters.

    `key`, a topic pattern, limits publishing and binding to routing keys that it covers. `host` is a virtual host, None
    every one.
    """

    operations: frozenset[str] = OPERATIONS
    kinds: frozenset[str] = KINDS
    name: str = "*"
    key: str | None = None
    host: str | None = None

    def fits(self, operation: str, kind: str, name: str) -> bool:
        """Whether it speaks of this."""
        return operation in self.operations and kind in self.kinds and fits(self.name, name)


class Rights(Protocol):
    """What one user may do in one virtual host."""

    def require(self, operation: str, kind: str, name: str, key: str | None = None) -> None:
        """Return if it is allowed; `key` is the routing key, where there is one that decides who gets the message.

        Raises:
            ChannelRefusal: 403, in RabbitMQ's words.
        """


class AllRights:
    """Those of users without any restriction."""

    def require(self, operation: str, kind: str, name: str, key: str | None = None) -> None:
        """Say yes."""


class GrantedRights:
    """Those that grants give, and no others."""

    def __init__(self, *, user: str, host: str, grants: Iterable[Grant]) -> None:
        self._user: Final = user
        self._host: Final = host
        self._grants: Final = tuple(grants)
        self._verdicts: dict[tuple[str, str, str], frozenset[str | None]] = {}

    def require(self, operation: str, kind: str, name: str, key: str | None = None) -> None:
        """Look for a grant.

        Raises:
            ChannelRefusal: there is none.
        """
        title = DEFAULT_EXCHANGE if kind == EXCHANGE and not name else name
        limits = self._limits(operation, kind, title)
        if None in limits:
            return
        if key is None or not any(covers(limit, key) for limit in limits if limit is not None):
            subject = f"topic '{key}' in {kind}" if limits and key is not None else kind
            raise access_refused(
                f"access to {subject} '{title}' in vhost '{self._host}' refused for user '{self._user}'"
            )

    def _limits(self, operation: str, kind: str, name: str) -> frozenset[str | None]:
        """The routing keys that are allowed; None among them is every one, and none at all is a no."""
        asked = (operation, kind, name)
        limits = self._verdicts.get(asked)
        if limits is None:
            limits = frozenset(grant.key for grant in self._grants if grant.fits(*asked))
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[asked] = limits
        return limits


def fits(pattern: str, name: str) -> bool:
    """Whether a name is like a pattern in which `*` stands for any characters, in one walk from left to right."""
    first, *middle = pattern.split("*")
    if not middle:
        return pattern == name
    last = middle.pop()
    at, end = len(first), len(name) - len(last)
    if at > end or not (name.startswith(first) and name.endswith(last)):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
