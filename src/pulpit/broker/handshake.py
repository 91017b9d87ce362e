"""What the two sides tell each other first: protocol header, capabilities, and the limits they agree on."""

import logging
from collections.abc import Mapping
from typing import Final

from pulpit.broker.method_codec import Arguments
from pulpit.broker.refusals import not_allowed

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
SPOKEN: Final = (PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x08\x00")
"""Protocol headers that are accepted as 0-9-1, as in RabbitMQ: 0-9 and 0-8 clients are compatible enough."""
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
