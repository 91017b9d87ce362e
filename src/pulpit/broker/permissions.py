"""What users may do, in RabbitMQ's terms, with exchanges and queues whose names match.

    configure   declare and delete it
    write       an exchange: publish to it; exchange or queue: bind it to a source of messages
    read        an exchange: bind something to it; a queue: consume, get, purge

A connection gets its `Rights` when it opens its virtual host. They do not change during the connection, so results are
cached.
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
"""The name of the default exchange here, as in RabbitMQ."""
MAX_VERDICTS: Final = 1024
"""Results cached for one connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Permits some operations on resources with a name; `*` in a name stands for any characters.

    `key`, a topic pattern, restricts publishing and binding to routing keys that it covers. `host` is a virtual host,
    None
    is all.
    """

    operations: frozenset[str] = OPERATIONS
    kinds: frozenset[str] = KINDS
    name: str = "*"
    key: str | None = None
    host: str | None = None

    def fits(self, operation: str, kind: str, name: str) -> bool:
        """Whether it applies to this."""
        return operation in self.operations and kind in self.kinds and fits(self.name, name)


class Rights(Protocol):
    """What one user may do in one virtual host."""

    def require(self, operation: str, kind: str, name: str, key: str | None = None) -> None:
        """Check a permission; `key` is the routing key, if it decides who gets the message.

        Raises:
            ChannelRefusal: 403, in RabbitMQ's words.
        """


class AllRights:
    def require(self, operation: str, kind: str, name: str, key: str | None = None) -> None:
        """Allow everything."""


class GrantedRights:
    """Exactly the rights that grants give."""

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
        """Return the routing keys that are allowed; None among them means all, and an empty set none."""
        asked = (operation, kind, name)
        limits = self._verdicts.get(asked)
        if limits is None:
            limits = frozenset(grant.key for grant in self._grants if grant.fits(*asked))
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[asked] = limits
        return limits


def fits(pattern: str, name: str) -> bool:
    """Whether a name matches a pattern in which `*` stands for any characters, in one pass from left to right."""
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
