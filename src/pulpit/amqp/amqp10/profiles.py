# SPDX-License-Identifier: Apache-2.0
"""How each broker addresses exchanges and queues, how these are created, and what its outcomes mean.

AMQP 1.0 defines the transfer of messages and leaves the meaning of addresses to each broker. A profile describes one
broker; it is chosen by the product that the broker names in its open, or by `[messaging] profile`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import quote

from pulpit.amqp import RESERVED_PREFIX
from pulpit.amqp.amqp10.codec import Described, Symbol
from pulpit.amqp.amqp10.links import Opened
from pulpit.amqp.amqp10.types import CREATE_ON_DEMAND, TOPIC_FILTER, Terminus

EXCHANGE, SUBJECT = "{exchange}", "{subject}"
"""Placeholders in the template of an address."""
_UNSETTLED_STATE: Final = 2
"""Durability of a terminus including its unsettled state (section 3.5.5)."""


class Creation(Enum):
    ON_DEMAND = "on demand"
    """The link asks the broker to create a missing one."""
    WHEN_MISSING = "when missing"
    """Over AMQP 0-9-1 on the same port, when the broker says that it is missing."""
    FIRST = "first"
    """Over AMQP 0-9-1 on the same port before anything is sent, because the broker does not say."""
    NEVER = "never"
    """By the operator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How one broker uses AMQP 1.0."""

    name: str
    address: str = EXCHANGE
    """Template of a target; with `{subject}` in it each message names its target, and the link has no address."""
    quoted: bool = False
    """Whether inserted values are percent-encoded."""
    creation: Creation = Creation.NEVER
    capabilities: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Properties of a node that is created on demand."""
    released_is_unrouted: bool = False
    """Whether `released` means that the exchange accepted the message but no queue matched."""
    queue: str = ""
    """Prefix of a queue's name in a source. Such brokers speak AMQP 0-9-1 on the same port, over which a queue is
    declared and bound; from the others a subscriber receives by a filter on the exchange.
    """
    queue_quoted: bool = False
    """Whether a queue's name is percent-encoded."""
    marks_first: bool = False
    """Whether `first-acquirer` is set on first deliveries, as in the specification."""

    @property
    def per_message(self) -> bool:
        """Whether each message names its target (an anonymous terminus)."""
        return SUBJECT in self.address

    def target(self, exchange: str) -> Terminus:
        """Return the target of a link for an exchange."""
        if self.per_message:
            return Terminus()
        address = self._fill(exchange, "")
        if self.creation is not Creation.ON_DEMAND or exchange.startswith(RESERVED_PREFIX):
            return Terminus(address=address)
        return Terminus(address=address, capabilities=self.capabilities, properties=self.properties)

    def to(self, exchange: str, subject: str) -> str | None:
        """Return the target that a message names, if needed."""
        return self._fill(exchange, subject) if self.per_message else None

    def queue_source(self, name: str) -> Terminus:
        return Terminus(address=self.queue + (quote(name, safe="") if self.queue_quoted else name))

    def exchange_source(self, exchange: str, subject: str, *, durable: bool) -> Terminus:
        """Return the source for an exchange, filtered by subjects.

        A durable one keeps its messages under the link's name.
        """
        filters: dict[str, Any] = {"topic": Described(Symbol(TOPIC_FILTER), subject)}
        if durable:
            return Terminus(address=exchange, filters=filters, durability=_UNSETTLED_STATE, expiry="never", copies=True)
        return Terminus(address=exchange, filters=filters, copies=True)

    def _fill(self, exchange: str, subject: str) -> str:
        if self.quoted:
            exchange, subject = quote(exchange, safe=""), quote(subject, safe="")
        return self.address.replace(EXCHANGE, exchange).replace(SUBJECT, subject)


QPID: Final = Profile(
    name="qpid",
    creation=Creation.ON_DEMAND,
    capabilities=(CREATE_ON_DEMAND, "topic"),
    properties={"exchange-type": "topic", "durable": True},
)
"""Qpid's C++ broker."""
RABBITMQ_3: Final = Profile(
    name="rabbitmq3",
    address="/exchange/{exchange}",
    quoted=True,
    creation=Creation.WHEN_MISSING,
    queue="/amq/queue/",
    marks_first=True,
)
"""RabbitMQ 3 with its plug-in: `accepted` also for unroutable messages.

The queues that it creates for exchanges are never deleted.
"""
RABBITMQ_4: Final = Profile(
    name="rabbitmq4",
    address="/exchanges/{exchange}/{subject}",
    quoted=True,
    creation=Creation.FIRST,
    released_is_unrouted=True,
    queue="/queues/",
    queue_quoted=True,
    marks_first=True,
)
"""RabbitMQ 4 and later: the subject is not the routing key, so it is part of each message's address."""
PLAIN: Final = Profile(name="plain")
"""An unknown broker: the address is the exchange's name, or derived from `[messaging] address`."""

PROFILES: Final = {profile.name: profile for profile in (QPID, RABBITMQ_3, RABBITMQ_4, PLAIN)}

_BY_PRODUCT: Final = {"qpid-cpp": QPID, "rabbitmq": RABBITMQ_4}
_WITH_THE_PLUG_IN: Final = ("2.", "3.")


def recognised(remote: Opened | None) -> Profile:
    """Choose the profile of a broker, by the `product` and `version` in its open performative."""
    properties = remote.properties if remote else {}
    product, version = (str(properties.get(name, "")) for name in ("product", "version"))
    profile = _BY_PRODUCT.get(product.lower(), PLAIN)
    return RABBITMQ_3 if profile is RABBITMQ_4 and version.startswith(_WITH_THE_PLUG_IN) else profile
