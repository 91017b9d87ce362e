"""The broker's errors, with the reply codes of the specification (AMQP 0-9-1, section 1.5.2.5 "constants").

Refusal
├── ChannelRefusal       soft: the channel is closed, the connection stays open
└── ConnectionRefusal    hard: the connection is closed
"""

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


def access_refused(reason: str) -> ChannelRefusal:
    """403: the client may not use it."""
    return ChannelRefusal(403, reason)


def not_found(reason: str) -> ChannelRefusal:
    """404: it does not exist."""
    return ChannelRefusal(404, reason)


def resource_locked(reason: str) -> ChannelRefusal:
    """405: it belongs to another connection."""
    return ChannelRefusal(405, reason)


def precondition_failed(reason: str) -> ChannelRefusal:
    """406: it exists with other properties than requested."""
    return ChannelRefusal(406, reason)


def frame_error(reason: str) -> ConnectionRefusal:
    """501: the bytes are not a frame."""
    return ConnectionRefusal(501, reason)


def syntax_error(reason: str) -> ConnectionRefusal:
    """502: a frame with invalid values."""
    return ConnectionRefusal(502, reason)


def command_invalid(reason: str) -> ConnectionRefusal:
    """503: a method that is not allowed here."""
    return ConnectionRefusal(503, reason)


def channel_error(reason: str) -> ConnectionRefusal:
    """504: a channel that is not open, or is open already."""
    return ConnectionRefusal(504, reason)


def unexpected_frame(reason: str) -> ConnectionRefusal:
    """505: content where none was announced, or a method in the middle of content."""
    return ConnectionRefusal(505, reason)


def not_allowed(reason: str) -> ConnectionRefusal:
    """530: forbidden by limits or by the configuration."""
    return ConnectionRefusal(530, reason)


def not_implemented(reason: str) -> ConnectionRefusal:
    """540: not supported."""
    return ConnectionRefusal(540, reason)
