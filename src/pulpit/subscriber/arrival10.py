"""A message of AMQP 1.0 as the one message that subscribers know."""

import json
from typing import Any, Final

from pulpit.amqp.amqp10 import message as amqp10
from pulpit.amqp.amqp10.codec import DecodeError
from pulpit.subscriber.manners10 import Broker
from pulpit.subscriber.message import Message, plain

_SAME: Final = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "message_id",
    "user_id",
    "to",
    "group_id",
)
_ANNOTATED: Final = {"type": "x-basic-type", "app_id": "x-basic-app-id"}
"""Properties that AMQP 1.0 does not have; brokers that speak both carry them in annotations."""
_EARLIEST_MILLISECONDS: Final = 100_000_000_000
"""March 1973. RabbitMQ 3 hands on the seconds of AMQP 0-9-1 as they are, where milliseconds are due."""
_PERSISTENT: Final = 2


def read(data: bytes, exchange: str, broker: Broker) -> Message:
    """Read a message that was received from an exchange; bytes that are none are a message with this body."""
    try:
        arrived = amqp10.decode(data)
    except DecodeError:
        return Message(subject="", exchange=exchange, properties={}, headers={}, body=data)
    return Message(
        subject=arrived.subject or "",
        exchange=str(arrived.annotations.get("x-exchange", exchange)),
        properties=_properties(arrived),
        headers={str(name): value for name, value in arrived.application_properties.items()},
        body=_body(arrived.body),
        redelivered=arrived.delivery_count > 0 or (broker.marks_first and not arrived.first_acquirer),
    )


def _properties(arrived: amqp10.Message) -> dict[str, Any]:
    known = {name: getattr(arrived, name) for name in _SAME}
    known |= {name: arrived.annotations.get(annotation) for name, annotation in _ANNOTATED.items()}
    known["delivery_mode"] = _PERSISTENT if arrived.durable else None
    known["timestamp"] = _seconds(arrived.creation_time)
    return {name: value for name, value in known.items() if value is not None}


def _seconds(creation_time: int | None) -> int | None:
    if creation_time is None or creation_time < _EARLIEST_MILLISECONDS:
        return creation_time
    return int(creation_time) // 1000


def _body(body: Any) -> bytes:
    """Data as it is; a text as its bytes, and other values as JSON."""
    if isinstance(body, bytes):
        return body
    value = body.value if isinstance(body, amqp10.Value) else [list(one) for one in body.lists]
    return value.encode() if isinstance(value, str) else json.dumps(plain(value)).encode()
