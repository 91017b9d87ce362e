"""The broker's errors, with the reply codes of the specification (AMQP 0-9-1, section 1.5.2.5 "constants").

Refusal
├── ChannelRefusal       soft: the channel is closed, the connection stays open
└── ConnectionRefusal    hard: the connection is closed
"""

from functools import partial
from typing import Final

MAX_TEXT: Final = 255
"""Bytes of the reply text, which is a short string."""
_NAMES: Final = {
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    313: "NO_CONSUMERS",
    320: "CONNECTION_FORCED",
    402: "INVALID_PATH",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}


class Refusal(Exception):
    """A request cannot be fulfilled; `code` and `text` go into the close method."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{_NAMES[code]} - {reason}")
        self.code = code

    @property
    def text(self) -> str:
        """The reply text, cut to the size of a short string."""
        return str(self).encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")


class ChannelRefusal(Refusal):
    """Closes the channel."""


class ConnectionRefusal(Refusal):
    """Closes the connection."""


access_refused: Final = partial(ChannelRefusal, 403)
"""The client may not use it."""
not_found: Final = partial(ChannelRefusal, 404)
"""It does not exist."""
resource_locked: Final = partial(ChannelRefusal, 405)
"""It belongs to another connection."""
precondition_failed: Final = partial(ChannelRefusal, 406)
"""It exists with other properties than requested."""

frame_error: Final = partial(ConnectionRefusal, 501)
"""The bytes are not a frame."""
syntax_error: Final = partial(ConnectionRefusal, 502)
"""A frame with invalid values."""
command_invalid: Final = partial(ConnectionRefusal, 503)
"""A method that is not allowed here."""
channel_error: Final = partial(ConnectionRefusal, 504)
"""A channel that is not open, or is open already."""
unexpected_frame: Final = partial(ConnectionRefusal, 505)
"""Content where none was announced, or a method in the middle of content."""
not_allowed: Final = partial(ConnectionRefusal, 530)
"""Forbidden by limits or by the configuration."""
not_implemented: Final = partial(ConnectionRefusal, 540)
"""Not supported."""
