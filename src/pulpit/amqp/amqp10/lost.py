"""Why a connection or a link of a client cannot be used any more."""

from enum import Enum

from pulpit.amqp.amqp10.words import Condition


class Cause(Enum):
    """Why a connection or a link is lost."""

    UNREACHABLE = "unreachable"
    """No connection: refused, no such host, no answer, or broken off."""
    CERTIFICATE = "certificate"
    """The broker's certificate is not trusted."""
    LOGIN = "login"
    """The broker refuses the credentials."""
    MECHANISM = "mechanism"
    """The broker offers no way of logging in that can be used, or may."""
    PROTOCOL = "protocol"
    """It does not speak AMQP 1.0, or breaks it."""
    CLOSED = "closed"
    """The broker closed the connection, the session or the link, with or without a condition."""
    SILENT = "silent"
    """The broker did not answer in time."""


class Lost(Exception):
    """The connection or link cannot be used any more; the text says why, without any secret."""

    def __init__(self, reason: str, cause: Cause, condition: Condition | None = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.condition = condition
