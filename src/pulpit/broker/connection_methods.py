"""The methods of the class connection, and in which state of a connection a client may send them."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from pulpit.broker.method_codec import (
    Bit,
    Long,
    LongString,
    Method,
    Octet,
    Short,
    ShortString,
    Table,
    declared,
)


@declared(10, 10)
class ConnectionStart(Method):
    version_major: Octet
    version_minor: Octet
    server_properties: Table
    mechanisms: LongString
    locales: LongString


@declared(10, 11)
class ConnectionStartOk(Method):
    client_properties: Table
    mechanism: ShortString
    response: LongString
    locale: ShortString


@declared(10, 20)
class ConnectionSecure(Method):
    challenge: LongString


@declared(10, 21)
class ConnectionSecureOk(Method):
    response: LongString


@declared(10, 30)
class ConnectionTune(Method):
    channel_max: Short
    frame_max: Long
    heartbeat: Short


@declared(10, 31)
class ConnectionTuneOk(Method):
    channel_max: Short
    frame_max: Long
    heartbeat: Short


@declared(10, 40)
class ConnectionOpen(Method):
    virtual_host: ShortString
    reserved_1: ShortString
    reserved_2: Bit


@declared(10, 41)
class ConnectionOpenOk(Method):
    reserved: ShortString


@declared(10, 50)
class ConnectionClose(Method):
    reply_code: Short
    reply_text: ShortString
    class_id: Short
    method_id: Short


@declared(10, 51)
class ConnectionCloseOk(Method):
    pass


@declared(10, 60)
class ConnectionBlocked(Method):
    reason: ShortString


@declared(10, 61)
class ConnectionUnblocked(Method):
    pass


@declared(10, 70)
class ConnectionUpdateSecret(Method):
    new_secret: LongString
    reason: ShortString


@declared(10, 71)
class ConnectionUpdateSecretOk(Method):
    pass


class State(Enum):
    HEADER = "header"
    START = "start"
    TUNE = "tune"
    OPEN = "open"
    RUNNING = "running"
    CLOSING = "closing"
    """connection.close was sent, and close-ok is awaited."""
    CLOSED = "closed"


_CLOSES: Final = frozenset({ConnectionClose, ConnectionCloseOk})
LEGAL: Final[Mapping[State, frozenset[type[Method]]]] = {
    State.HEADER: frozenset(),
    State.START: _CLOSES | {ConnectionStartOk},
    State.TUNE: _CLOSES | {ConnectionTuneOk},
    State.OPEN: _CLOSES | {ConnectionOpen},
    State.RUNNING: _CLOSES | {ConnectionUpdateSecret},
    State.CLOSING: _CLOSES,
    State.CLOSED: frozenset(),
}
"""The methods of the class connection that a client may send in each state."""
