"""What the arguments of queue.declare mean, and which values RabbitMQ refuses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

MAX_EXPIRY: Final = 4_294_967_295
"""Milliseconds; the longest time that RabbitMQ's timers take."""
MAX_PRIORITY: Final = 255
OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The arguments of one queue; times in milliseconds, None where nothing was said."""

    ttl: int | None = None
    expires: int | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    max_priority: int | None = None
    single_active_consumer: bool = False


class BadArgument(ValueError):
    """An argument has a value that cannot be; the text is what RabbitMQ prints of it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name


def type_name(value: Any) -> str:
    """What RabbitMQ calls the type of a decoded value."""
    for python_type, name in _TYPE_NAMES:
        if isinstance(value, python_type):
            return name
    return "void"


_TYPE_NAMES: Final = (
    (bool, "bool"),
    (int, "signedint"),
    (str, "longstr"),
    (bytes, "binary"),
    (float, "double"),
    (dict, "table"),
    (list, "array"),
    (datetime, "timestamp"),
    (Decimal, "decimal"),
)


def is_integer(value: Any) -> bool:
    """Whether it is a number of the protocol; truth values are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _unacceptable(value: Any) -> str:
    return "{unacceptable_type," + type_name(value) + "}"


def _integer(value: Any) -> str | None:
    return None if is_integer(value) else _unacceptable(value)


def _not_negative(value: Any) -> str | None:
    return _integer(value) or ("{value_negative," + str(value) + "}" if value < 0 else None)


def _expiry(value: Any) -> str | None:
    problem = _not_negative(value)
    return problem or ("{value_too_big," + str(value) + "}" if value > MAX_EXPIRY else None)


def _positive_expiry(value: Any) -> str | None:
    return _expiry(value) or ("{value_zero,0}" if value == 0 else None)


def _priority(value: Any) -> str | None:
    problem = _not_negative(value)
    return problem or ("{max_value_exceeded," + str(value) + "}" if value > MAX_PRIORITY else None)


def _text(value: Any) -> str | None:
    return None if isinstance(value, str | bytes) else _unacceptable(value)


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else _unacceptable(value)


def _one_of(*allowed: str, complaint: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        problem = _text(value)
        return problem or (None if value in allowed else "{" + complaint + ',<<"' + str(value) + '">>}')

    return check


CHECKS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "x-expires": _positive_expiry,
    "x-message-ttl": _expiry,
    "x-dead-letter-exchange": _text,
    "x-dead-letter-routing-key": _text,
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-priority": _priority,
    "x-overflow": _one_of(*OVERFLOWS, complaint="invalid_overflow"),
    "x-queue-mode": _one_of("default", "lazy", complaint="invalid_queue_mode"),
    "x-single-active-consumer": _truth,
    "x-delivery-limit": _not_negative,
}


def read_settings(arguments: Mapping[str, Any]) -> QueueSettings:
    """Check the arguments and take out what they say; unknown ones are kept by the queue and mean nothing."""
    for name, check in CHECKS.items():
        if name in arguments:
            problem = check(arguments[name])
            if problem:
                raise BadArgument(name, problem)
    if "x-dead-letter-routing-key" in arguments and "x-dead-letter-exchange" not in arguments:
        raise BadArgument("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
    return QueueSettings(
        ttl=arguments.get("x-message-ttl"),
        expires=arguments.get("x-expires"),
        max_length=arguments.get("x-max-length"),
        max_bytes=arguments.get("x-max-length-bytes"),
        overflow=arguments.get("x-overflow", "drop-head"),
        dead_letter_exchange=arguments.get("x-dead-letter-exchange"),
        dead_letter_key=arguments.get("x-dead-letter-routing-key"),
        max_priority=arguments.get("x-max-priority"),
        single_active_consumer=arguments.get("x-single-active-consumer", False),
    )


def message_ttl(expiration: str) -> int | None:
    """Milliseconds of a message's `expiration`; None for text that is no such number."""
    if not expiration.isascii() or not expiration.isdigit() or len(expiration) > len(str(MAX_EXPIRY)):
        return None
    return int(expiration) if int(expiration) <= MAX_EXPIRY else None
