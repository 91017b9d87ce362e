"""What brokers understand by an address, how an exchange comes to be there, and what their answers mean: tables.

AMQP 1.0 says how messages travel and leaves to each broker what an address is. A profile is one broker's reading of it,
found by what the broker calls itself when the connection is opened, or named by `[messaging] profile`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import quote

from pulpit.amqp.amqp10.events import Opened
from pulpit.amqp.amqp10.makes import Make, make_of
from pulpit.amqp.amqp10.words import CREATE_ON_DEMAND, Terminus
from pulpit.delivery.notifiers.amqp_config import OF_THE_BROKER

EXCHANGE, SUBJECT = "{exchange}", "{subject}"
"""What the template of an address may hold."""


class Creation(Enum):
    """How an exchange comes to be there."""

    ON_DEMAND = "on demand"
    """The link asks the broker to create what is missing."""
    WHEN_MISSING = "when missing"
    """Over AMQP 0-9-1 on the same port, when the broker says that there is none."""
    FIRST = "first"
    """Over AMQP 0-9-1 on the same port before anything is sent, because the broker does not say."""
    NEVER = "never"
    """By the operator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One broker's reading of AMQP 1.0."""

    name: str
    address: str
    """Template of the address; with `{subject}` in it each message says where it goes, and the link has no address."""
    quoted: bool = False
    """Whether what is filled in is percent-encoded."""
    creation: Creation = Creation.NEVER
    capabilities: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    """What is asked of a node that is created on demand."""
    released_is_unrouted: bool = False
    """Whether `released` means that the exchange took the message and no queue wanted it."""

    @property
    def per_message(self) -> bool:
        """Whether each message says where it goes (an anonymous terminus)."""
        return SUBJECT in self.address

    def target(self, exchange: str) -> Terminus:
        """The target of a link for an exchange."""
        if self.per_message:
            return Terminus()
        address = self.fill(exchange, "")
        if self.creation is not Creation.ON_DEMAND or exchange.startswith(OF_THE_BROKER):
            return Terminus(address=address)
        return Terminus(address=address, capabilities=self.capabilities, properties=self.properties)

    def to(self, exchange: str, subject: str) -> str | None:
        """Where a message says that it goes, if it must."""
        return self.fill(exchange, subject) if self.per_message else None

    def fill(self, exchange: str, subject: str) -> str:
        """The address of an exchange, or of an exchange and a subject."""
        if self.quoted:
            exchange, subject = quote(exchange, safe=""), quote(subject, safe="")
        return self.address.replace(EXCHANGE, exchange).replace(SUBJECT, subject)


_CREATE: Final = (CREATE_ON_DEMAND, "topic")
_A_DURABLE_TOPIC: Final[Mapping[str, Any]] = {"exchange-type": "topic", "durable": True}

PULPIT: Final = Profile(
    name="pulpit",
    address="/exchange/{exchange}",
    quoted=True,
    creation=Creation.ON_DEMAND,
    capabilities=_CREATE,
    properties=_A_DURABLE_TOPIC,
    released_is_unrouted=True,
)
"""The broker inside Pulpit."""
QPID: Final = Profile(
    name="qpid",
    address="{exchange}",
    creation=Creation.ON_DEMAND,
    capabilities=_CREATE,
    properties=_A_DURABLE_TOPIC,
)
"""Qpid's broker in C++."""
RABBITMQ_3: Final = Profile(
    name="rabbitmq3", address="/exchange/{exchange}", quoted=True, creation=Creation.WHEN_MISSING
)
"""RabbitMQ 3 with its plug-in: `accepted` also for what no queue wanted."""
RABBITMQ_4: Final = Profile(
    name="rabbitmq4",
    address="/exchanges/{exchange}/{subject}",
    quoted=True,
    creation=Creation.FIRST,
    released_is_unrouted=True,
)
"""RabbitMQ from 4 on: the subject is no routing key, so it stands in the address of each message."""
PLAIN: Final = Profile(name="plain", address="{exchange}")
"""A broker that nobody knows: the address is the exchange's name, or what `[messaging] address` makes of it."""

PROFILES: Final = {one.name: one for one in (PULPIT, QPID, RABBITMQ_3, RABBITMQ_4, PLAIN)}

_BY_MAKE: Final = {
    Make.PULPIT: PULPIT,
    Make.QPID: QPID,
    Make.RABBITMQ_3: RABBITMQ_3,
    Make.RABBITMQ_4: RABBITMQ_4,
    Make.OTHER: PLAIN,
}


def recognised(remote: Opened | None) -> Profile:
    """The profile of a broker, by what it says about itself when the connection is opened."""
    return _BY_MAKE[make_of(remote)]
