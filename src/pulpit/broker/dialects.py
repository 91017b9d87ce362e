"""Which AMQP a client speaks, told by its first bytes, and who answers it.

What begins with a header of AMQP 1.0, with SASL or without, goes to `dialect10` if the extra `amqp10` is there.
Everything else goes to `connection`, which speaks 0-9-1 and says so to whoever does not.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.sasl import SASL_HEADER
from pulpit.amqp.amqp10.words import AMQP_HEADER
from pulpit.broker.client import Client
from pulpit.broker.connection import Connection
from pulpit.broker.dialect10.connection import Connection as Connection10
from pulpit.broker.house import House
from pulpit.errors import ConfigurationError

HEADERS_10: Final = (AMQP_HEADER, SASL_HEADER)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Particulars:
    """What the rim knows of a peer."""

    wake: Callable[[], None]
    address: str
    local: bool
    certificate_name: str | None = None
    secure: bool = False


def _can_speak_10() -> bool:
    """Whether Proton is installed, and can be loaded."""
    if not proton.available():
        return False
    try:
        proton.load()
    except ConfigurationError:
        return False
    return True


class Greeting:
    """Waits until a peer has said what it speaks."""

    def __init__(self, house: House, particulars: Particulars) -> None:
        self._house: Final = house
        self._particulars: Final = particulars
        self._heard = b""

    def receive(self, data: bytes) -> tuple[Client | None, bytes]:
        """Take bytes; answers who speaks with the peer from now on, and what that one is to be given first."""
        self._heard += data
        if any(len(self._heard) < len(header) and header.startswith(self._heard) for header in HEADERS_10):
            return None, b""
        return self._answerer(), self._heard

    def _answerer(self) -> Client:
        if self._heard.startswith(HEADERS_10):
            if _can_speak_10():
                return self._connected(Connection10)
            _log.warning(
                "A client speaks AMQP 1.0, which %s", proton.MISSING, extra={"action": "broker_dialect_missing"}
            )
        return self._connected(Connection)

    def _connected(self, kind: type[Connection] | type[Connection10]) -> Client:
        known = self._particulars
        return kind(
            self._house,
            wake=known.wake,
            address=known.address,
            local=known.local,
            certificate_name=known.certificate_name,
            secure=known.secure,
        )
