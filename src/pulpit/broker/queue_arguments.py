"""The arguments of queue.declare, and the values that RabbitMQ rejects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from pulpit.amqp.amqp091 import tables

MAX_EXPIRY: Final = 10 * 365 * 24 * 3600 * 1000
"""Milliseconds: ten years, the longest time that RabbitMQ accepts."""
MAX_PRIORITY: Final = 255
OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")
QUEUE_MODES: Final = ("default", "lazy")
QUEUE_VERSIONS: Final = (1, 2)
LEADER_LOCATORS: Final = ("client-local", "balanced")
DEAD_LETTER_STRATEGIES: Final = ("at-most-once", "at-least-once")
CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
_FOR_STREAMS: Final = ("x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size")
UNFIT: Final[Mapping[str, tuple[str, ...]]] = {
    CLASSIC: (
        "x-delivery-limit",
        "x-max-in-memory-bytes",
        "x-max-in-memory-length",
        "x-quorum-initial-group-size",
        "x-queue-leader-locator",
        "x-dead-letter-strategy",
        *_FOR_STREAMS,
    ),
    QUORUM: ("x-max-priority", "x-queue-master-locator", "x-queue-mode", "x-queue-version", *_FOR_STREAMS),
}
"""Arguments that a queue of each type rejects."""
UNFIT_FOR_CONSUMERS: Final[Mapping[str, tuple[str, ...]]] = {
    CLASSIC: ("x-stream-offset",),
    QUORUM: ("x-stream-offset", "x-cancel-on-ha-failover"),
}
"""Arguments that it rejects from its consumers."""


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
    type: str = CLASSIC
    delivery_limit: int | None = None
    """A message that came back more often is a dead letter."""


class BadArgument(ValueError):
    """An argument has an invalid value; the text is RabbitMQ's, as it follows the name of the queue."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name


def is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer of the protocol; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)


Check = Callable[[object, str], str | None]
"""Takes a value and the name of its type; returns the error in RabbitMQ's words."""


def unacceptable(kind: str) -> str:
    """Return RabbitMQ's error for a wrong type."""
    return "{unacceptable_type," + kind + "}"


def _integer(*limits: Callable[[int], str | None]) -> Check:
    """Accept an integer that is not negative, within further limits."""

    def check(value: object, kind: str) -> str | None:
        if not is_integer(value):
            return f'"expected integer, got {kind}"'
        if value < 0:
            return "{value_negative," + str(value) + "}"
        return next(filter(None, (limit(value) for limit in limits)), None)

    return check


def _zero(value: int) -> str | None:
    return None if value else "{value_zero,0}"


def _too_large(milliseconds: int) -> str | None:
    return "{value_too_large," + str(milliseconds) + "}" if milliseconds > MAX_EXPIRY else None


def _too_urgent(priority: int) -> str | None:
    return "{max_value_exceeded," + str(priority) + "}" if priority > MAX_PRIORITY else None


def _version(value: object, kind: str) -> str | None:
    if not is_integer(value):
        return f'"expected integer, got {kind}"'
    return None if value in QUEUE_VERSIONS else f"\"unsupported queue version '{value}'\""


def _text(value: object, kind: str) -> str | None:
    return None if isinstance(value, str) else unacceptable(kind)


def _one_of(values: tuple[str, ...], problem: str) -> Check:
    return lambda value, kind: _text(value, kind) or (None if value in values else problem.format(value))


CHECKS: Final[Mapping[str, Check]] = {
    "x-queue-type": _one_of(tuple(UNFIT), "\"unsupported queue type '{}'\""),
    "x-expires": _integer(_zero, _too_large),
    "x-message-ttl": _integer(_too_large),
    "x-dead-letter-exchange": _text,
    "x-dead-letter-routing-key": _text,
    "x-max-length": _integer(),
    "x-max-length-bytes": _integer(),
    "x-max-priority": _integer(_too_urgent),
    "x-max-in-memory-length": _integer(),
    "x-max-in-memory-bytes": _integer(),
    "x-quorum-initial-group-size": _integer(_zero),
    "x-queue-leader-locator": _one_of(LEADER_LOCATORS, "invalid_queue_locator_arg"),
    "x-dead-letter-strategy": _one_of(DEAD_LETTER_STRATEGIES, "invalid_dlx_strategy"),
    "x-overflow": _one_of(OVERFLOWS, "invalid_overflow"),
    "x-queue-mode": _one_of(QUEUE_MODES, "\"unsupported queue mode '{}'\""),
    "x-queue-version": _version,
    "x-single-active-consumer": lambda value, kind: None if isinstance(value, bool) else unacceptable(kind),
    "x-queue-master-locator": _text,
    "x-delivery-limit": lambda _value, _kind: None,
}
"""The known arguments; a queue that is declared again must have the same ones."""


def check_arguments(raw: bytes) -> None:
    """Validate the arguments of a declaration; unknown ones are ignored.

    Raises:
        BadArgument: the first one that is wrong.
    """
    arguments, _ = tables.read_table(raw)
    type_ = arguments.get("x-queue-type", CLASSIC)
    for name in UNFIT.get(type_, ()) if isinstance(type_, str) else ():
        if name in arguments:
            raise BadArgument(name, f" of queue type rabbit_{type_}_queue")
    kinds = tables.kinds(raw)
    for name, check in CHECKS.items():
        if name in arguments:
            problem = check(arguments[name], kinds[name])
            if problem:
                raise BadArgument(name, f": {problem}")
    if "x-dead-letter-routing-key" in arguments and "x-dead-letter-exchange" not in arguments:
        raise BadArgument("x-dead-letter-routing-key", ": routing_key_but_no_dlx_defined")


def read_settings(raw: bytes) -> QueueSettings:
    """Parse the arguments of a declaration, which were checked when it was made, perhaps by an older release."""
    arguments, _ = tables.read_table(raw)
    limit = arguments.get("x-delivery-limit")
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
        type=arguments.get("x-queue-type", CLASSIC),
        delivery_limit=limit if is_integer(limit) else None,
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
