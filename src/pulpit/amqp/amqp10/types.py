# SPDX-License-Identifier: Apache-2.0
"""Values of the interfaces of engine and client: conditions, outcomes, termini, and reasons of a loss.

The symbols of conditions are those of part 2, section 2.8.15 and following.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
"""The first bytes of a connection after the login (section 2.2)."""
NOT_FOUND: Final = "amqp:not-found"
NOT_ALLOWED: Final = "amqp:not-allowed"
UNAUTHORIZED: Final = "amqp:unauthorized-access"
DECODE_ERROR: Final = "amqp:decode-error"
RESOURCE_LIMIT: Final = "amqp:resource-limit-exceeded"
PRECONDITION_FAILED: Final = "amqp:precondition-failed"
TOO_LARGE: Final = "amqp:link:message-size-exceeded"
FRAMING_ERROR: Final = "amqp:connection:framing-error"
NOT_IMPLEMENTED: Final = "amqp:not-implemented"
INVALID_FIELD: Final = "amqp:invalid-field"
RESOURCE_LOCKED: Final = "amqp:resource-locked"
FRAME_TOO_SMALL: Final = "amqp:frame-size-too-small"
TOPIC_FILTER: Final = "apache.org:legacy-amqp-topic-binding:string"
"""The filter of a source by a topic pattern: Qpid's, which RabbitMQ supports too."""
CREATE_ON_DEMAND: Final = "create-on-demand"
"""The capability of a terminus that asks for a missing node to be created: Qpid's."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Why something ended or was refused: a symbol of the specification (section 2.8.14) and the peer's text."""

    name: str
    description: str = ""

    def __str__(self) -> str:
        return f"{self.description} ({self.name})" if self.description else self.name


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver has taken responsibility."""


@dataclass(frozen=True, slots=True)
class Released:
    """The receiver did not and will not accept it; nothing is wrong with the message."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The receiver considers the message itself invalid."""

    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Modified:
    """Like released, with details of the attempt."""

    failed: bool = False
    undeliverable: bool = False


Outcome = Accepted | Released | Rejected | Modified

ACCEPTED: Final = Accepted()
RELEASED: Final = Released()


@dataclass(frozen=True, kw_only=True, slots=True)
class Terminus:
    """One end of a link: a source or a target (sections 3.5.3 and 3.5.4)."""

    address: str | None = None
    dynamic: bool = False
    durability: int = 0
    """0 none, 1 its configuration, 2 also its unsettled state."""
    expiry: str = "session-end"
    """`link-detach`, `session-end`, `connection-close` or `never`."""
    timeout: int = 0
    """Seconds until an expired terminus is forgotten."""
    copies: bool | None = None
    """Of a source: whether every receiver gets each message (`copy`) or only one (`move`).

    `None` is the node's default.
    """
    capabilities: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Of a dynamic node: the requested properties."""
    filters: Mapping[str, Any] = field(default_factory=dict)
    """Of a source: filters by name; a value is a `codec.Described`."""
    coordinator: bool = False
    """Of a target: it coordinates transactions."""


NOWHERE: Final = Terminus()


class Cause(Enum):
    UNREACHABLE = "unreachable"
    """No connection: refused, unknown host, timeout, or broken."""
    CERTIFICATE = "certificate"
    """The broker's certificate is not trusted."""
    LOGIN = "login"
    """The broker rejects the credentials."""
    MECHANISM = "mechanism"
    """The broker offers no mechanism that is possible, or allowed."""
    PROTOCOL = "protocol"
    """It does not speak AMQP 1.0, or violates it."""
    CLOSED = "closed"
    """The broker closed the connection, the session or the link, with or without a condition."""
    SILENT = "silent"
    """The broker did not respond in time."""


class Lost(Exception):
    """The connection or link is lost; the text says why, without any secret."""

    def __init__(self, reason: str, cause: Cause, condition: Condition | None = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.condition = condition
