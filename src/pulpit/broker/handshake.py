"""What the two sides tell each other first: protocol header, capabilities, and the limits they agree on."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from pulpit.broker.connection_methods import ConnectionClose, ConnectionCloseOk, ConnectionStart
from pulpit.broker.frames import FRAME_HEAD, FRAME_METHOD, frame
from pulpit.broker.method_codec import Arguments, Method, head, method_frame
from pulpit.broker.methods import BasicConsume, ChannelOpenOk
from pulpit.broker.refusals import not_allowed

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
SPOKEN_08: Final = (b"AMQP\x01\x01\x08\x00", b"AMQP\x01\x01\x09\x01")
"""Protocol headers of AMQP 0-8, of which the second is what clients really send."""
SPOKEN: Final = (PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09", *SPOKEN_08)
"""Protocol headers that are accepted, as in RabbitMQ; 0-9 is compatible enough, 0-8 needs some methods translated."""
AMQP_10: Final = tuple(b"AMQP" + bytes((protocol, 1, 0, 0)) for protocol in (0, 2, 3))
"""Protocol headers of AMQP 1.0: plain, inside TLS, with SASL."""
FRAME_MAX: Final = 8192
"""Frame size limit before the login."""
FRAME_MIN: Final = 4096
"""The smallest `frame_max` that a client may negotiate."""
FOLLOWED: Final = "3.10.8"
"""The RabbitMQ version whose behaviour is implemented; clients that check `version` choose correctly."""
CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)
_CLOSE_08: Final = b"\x00\x0a\x00\x3c"
_CLOSE_OK_08: Final = b"\x00\x0a\x00\x3d"
_FROM_08: Final = {_CLOSE_08: head(ConnectionClose), _CLOSE_OK_08: head(ConnectionCloseOk)}
_TO_08: Final = {ours: theirs for theirs, ours in _FROM_08.items()}
_CONSUME: Final = head(BasicConsume)
_CHANNEL_OPEN_OK: Final = head(ChannelOpenOk)
_EMPTY_TABLE: Final = bytes(4)
_log = logging.getLogger(__name__)


def is_spoken(data: bytes, address: str) -> bool:
    """Whether a client's first bytes ask for a protocol that the broker speaks; AMQP 1.0 is reported in the log."""
    if data.startswith(AMQP_10):
        _log.warning(
            "A client from %s speaks AMQP 1.0, and the embedded broker AMQP 0-9-1 alone: let it speak that, or"
            " configure a RabbitMQ or Qpid under [messaging] url",
            address or "this machine",
            extra={"action": "broker_amqp10_refused"},
        )
    return data.startswith(SPOKEN)


def start(properties: Arguments, mechanisms: Sequence[str], *, speaks_08: bool) -> ConnectionStart:
    """Greet a client; tables of AMQP 0-8 have no booleans, so that its clients are told no capabilities."""
    if speaks_08:
        properties = Arguments.of({**properties, "capabilities": {}})
    major, minor = (8, 0) if speaks_08 else (0, 9)
    return ConnectionStart(major, minor, properties, " ".join(mechanisms).encode(), b"en_US")


def from_08(payload: bytes) -> bytes:
    """Translate a method of a client of AMQP 0-8: connection.close has another number, basic.consume no arguments."""
    start = payload[:4]
    return payload + _EMPTY_TABLE if start == _CONSUME else _FROM_08.get(start, start) + payload[4:]


def method_frame_08(channel: int, method: Method) -> bytes:
    """Encode a method for a client of AMQP 0-8, whose channel.open-ok has no arguments."""
    payload = method_frame(channel, method)[FRAME_HEAD.size : -1]
    start = payload[:4]
    rest = b"" if start == _CHANNEL_OPEN_OK else payload[4:]
    return frame(FRAME_METHOD, channel, _TO_08.get(start, start) + rest)


def server_properties(product: str, name: str, version: str) -> Arguments:
    """Return what clients are told about the broker."""
    return Arguments.of(
        {
            "capabilities": dict.fromkeys(CAPABILITIES, True),
            "cluster_name": name,
            "copyright": "Copyright (c) the authors of Pulpit",
            "information": f"The embedded broker of Pulpit {version}, which behaves like RabbitMQ {FOLLOWED}",
            "platform": f"Pulpit {version}",
            "product": product,
            "version": FOLLOWED,
        }
    )


def has_capability(client_properties: Mapping[str, object], capability: str) -> bool:
    """Whether a client says that it has a capability."""
    capabilities = client_properties.get("capabilities")
    return isinstance(capabilities, dict) and capabilities.get(capability) is True


def negotiated(name: str, least: int, ours: int, theirs: int) -> int:
    """Accept the client's limit if it is within bounds; 0 means no limit, the largest value."""
    if theirs and theirs < least:
        raise not_allowed(f"negotiated {name} = {theirs} is lower than the minimum allowed value ({least})")
    if ours and (not theirs or theirs > ours):
        extra = "" if theirs else " (no limit)"
        raise not_allowed(f"negotiated {name} = {theirs}{extra} is higher than the maximum allowed value ({ours})")
    return theirs
