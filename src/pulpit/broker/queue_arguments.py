"""The arguments of queue.declare, and the values that RabbitMQ rejects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pulpit.amqp.amqp091 import tables

MAX_EXPIRY: Final = 10 * 365 * 24 * 3600 * 1000
"""Milliseconds: ten years, the longest time that RabbitMQ accepts."""
MAX_PRIORITY: Final = 255
OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")
QUEUE_MODES: Final = ("default", "lazy")
NOT_FOR_CLASSIC: Final = (
    "x-delivery-limit",
    "x-max-in-memory-bytes",
    "x-max-in-memory-length",
    "x-quorum-initial-group-size",
)
"""Arguments that a classic queue rejects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The arguments of one queue; times in milliseconds, None where not given."""

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
    """An argument has an invalid value; the text is RabbitMQ's."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name


def is_integer(value: Any) -> bool:
    """Whether it is an integer of the protocol; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)


Check = Callable[[Any, str], str | None]
"""Takes a value and the name of its type; returns the error in RabbitMQ's words."""


def unacceptable(kind: str) -> str:
    """Return RabbitMQ's error for a wrong type."""
    return "{unacceptable_type," + kind + "}"


def _not_negative(value: Any, kind: str) -> str | None:
    if not is_integer(value):
        return f'"expected integer, got {kind}"'
    return "{value_negative," + str(value) + "}" if value < 0 else None


def _ttl(value: Any, kind: str) -> str | None:
    return _not_negative(value, kind) or _too_large(value)


def _expiry(value: Any, kind: str) -> str | None:
    return "{value_zero,0}" if is_integer(value) and value == 0 else _ttl(value, kind)


def _too_large(milliseconds: int) -> str | None:
    return "{value_too_large," + str(milliseconds) + "}" if milliseconds > MAX_EXPIRY else None


def _priority(value: Any, kind: str) -> str | None:
    problem = _not_negative(value, kind)
    return problem or ("{max_value_exceeded," + str(value) + "}" if value > MAX_PRIORITY else None)


def _text(value: Any, kind: str) -> str | None:
    return None if isinstance(value, str) else unacceptable(kind)


CHECKS: Final[Mapping[str, Check]] = {
    "x-expires": _expiry,
    "x-message-ttl": _ttl,
    "x-dead-letter-exchange": _text,
    "x-dead-letter-routing-key": _text,
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-priority": _priority,
    "x-overflow": lambda value, kind: _text(value, kind) or (None if value in OVERFLOWS else "invalid_overflow"),
    "x-queue-mode": lambda value, kind: (
        _text(value, kind) or (None if value in QUEUE_MODES else f"\"unsupported queue mode '{value}'\"")
    ),
    "x-single-active-consumer": lambda value, kind: None if isinstance(value, bool) else unacceptable(kind),
}


def read_settings(raw: bytes) -> QueueSettings:
    """Validate and parse the arguments of a declaration; unknown ones are ignored."""
    arguments, _ = tables.read_table(raw)
    kinds = tables.kinds(raw)
    for name, check in CHECKS.items():
        if name in arguments:
            problem = check(arguments[name], kinds[name])
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


def expiration_problem(expiration: str) -> str | None:
    """Return what is wrong with a message's `expiration`, in RabbitMQ's words; it must be milliseconds as text."""
    number = re.match(r"[+-]?[0-9]{1,30}", expiration)
    if number is None:
        return "no_integer"
    if number.end() < len(expiration):
        return '{leftover_string,"' + expiration[number.end() :] + '"}'
    value = int(number[0])
    if value < 0:
        return "{value_negative," + str(value) + "}"
    return _too_large(value)
