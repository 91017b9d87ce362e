"""What a subscriber wants to hear."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pulpit.errors import ConfigurationError

EVERYTHING: Final = "#"
PREFETCH: Final = 100
"""Messages that a broker hands out before the first is acknowledged."""

QueueType = Literal["classic", "quorum"]
QUEUE_TYPES: Final[tuple[QueueType, ...]] = ("classic", "quorum")

_LONGEST: Final = 255
"""Bytes of a short string (AMQP 0-9-1 section 4.2.5.3)."""
_MOST: Final = 65_535
"""Prefetched messages, a short integer (AMQP 0-9-1, `basic.qos`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """Messages of `exchange` whose subject matches; kept in the durable `queue` if one is named.

    Raises:
        ConfigurationError: no broker could be asked for this.
    """

    exchange: str
    subject: str = EVERYTHING
    queue: str | None = None
    queue_type: QueueType | None = None
    """Null is what the broker makes by itself."""
    prefetch: int = PREFETCH

    def __post_init__(self) -> None:
        for option, text in (("exchange", self.exchange), ("subject", self.subject), ("queue", self.queue or "")):
            _check_short(option, text)
        if not self.exchange:
            raise ConfigurationError("exchange", "must name an exchange; nobody can subscribe to the nameless one")
        if self.queue == "":
            raise ConfigurationError("queue", "must have a name")
        if self.queue_type is not None and self.queue is None:
            raise ConfigurationError("queue_type", "is that of a durable queue, which needs a name")
        if self.queue_type not in {None, *QUEUE_TYPES}:
            raise ConfigurationError("queue_type", f"must be one of {', '.join(QUEUE_TYPES)}")
        if not 1 <= self.prefetch <= _MOST:
            raise ConfigurationError("prefetch", f"must be from 1 to {_MOST}")

    @property
    def stays(self) -> bool:
        """Whether the queue outlives the connection."""
        return self.queue is not None

    @property
    def queue_arguments(self) -> Mapping[str, Any]:
        """Those of the declaration."""
        return {} if self.queue_type is None else {"x-queue-type": self.queue_type}


def _check_short(option: str, text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(option, "must be text in UTF-8") from None
    if length > _LONGEST:
        raise ConfigurationError(option, f"must not be longer than {_LONGEST} bytes")
