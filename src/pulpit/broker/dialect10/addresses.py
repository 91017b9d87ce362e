"""Addresses of AMQP 1.0: which node a text names, and with which routing key.

    /exchange/NAME[/KEY]  /queue/NAME  /amq/queue/NAME  /topic/KEY     RabbitMQ 3's plug-in
    /exchanges/NAME[/KEY]  /queues/NAME                                RabbitMQ 4, version 2
    NAME                                                               Qpid: a queue, else an exchange

Parts behind a slash are percent-decoded; a plain name is taken as it is. `amq.default` names the default exchange.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

TOPIC_EXCHANGE: Final = "amq.topic"
DEFAULT_EXCHANGE: Final = "amq.default"
MAX_LENGTH: Final = 255
"""Bytes of a name or a key, which are short strings in AMQP 0-9-1."""
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class BadAddress(ValueError):
    """A text that names nothing; it says why."""


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """A queue; `creates` says that it is made where it is missing, as RabbitMQ 3's `/queue/` does."""

    name: str
    creates: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeAddress:
    """An exchange; `key` is the routing or binding key, None where the address names none."""

    name: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Something with this name, a queue or an exchange."""

    name: str


Address = QueueAddress | ExchangeAddress | NodeAddress


def read_address(text: str) -> Address:
    """Say what an address names.

    Raises:
        BadAddress: no node can have it.
    """
    if not text.startswith("/"):
        return NodeAddress(_checked(text, text))
    kind, _, rest = text[1:].partition("/")
    parts = [_decoded(part, text) for part in rest.split("/")]
    if kind in ("queue", "queues") and len(parts) == 1:
        return QueueAddress(parts[0], creates=kind == "queue")
    if kind == "amq" and len(parts) == 2 and parts[0] == "queue":  # noqa: PLR2004 - /amq/queue/NAME
        return QueueAddress(parts[1])
    if kind == "topic" and len(parts) == 1:
        return ExchangeAddress(TOPIC_EXCHANGE, parts[0])
    if kind in ("exchange", "exchanges") and len(parts) <= 2:  # noqa: PLR2004 - a name and a key
        name = "" if parts[0] == DEFAULT_EXCHANGE else parts[0]
        return ExchangeAddress(name, parts[1] if len(parts) > 1 else None)
    raise BadAddress(
        f"'{text}' is no address: take /queues/NAME, /exchanges/NAME, /exchanges/NAME/KEY, or the name of a queue or an"
        " exchange"
    )


def queue_of(text: str) -> str | None:
    """The name of the queue that an address surely means, for a property that AMQP 0-9-1 fills with bare names."""
    try:
        address = read_address(text)
    except BadAddress:
        return None
    return None if isinstance(address, ExchangeAddress) else address.name


def _decoded(part: str, text: str) -> str:
    if _PERCENT.search(part):
        raise BadAddress(f"'{text}' has a % that is not followed by two hexadecimal digits")
    try:
        name = unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise BadAddress(f"'{text}' stands for bytes that are no UTF-8") from None
    return _checked(name, text)


def _checked(name: str, text: str) -> str:
    if not name:
        raise BadAddress(f"'{text}' has an empty name")
    if len(name.encode()) > MAX_LENGTH:
        raise BadAddress(f"'{text[:40]}…' has a name of more than {MAX_LENGTH} bytes")
    return name
