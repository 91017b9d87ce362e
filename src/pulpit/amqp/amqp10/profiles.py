# SPDX-License-Identifier: Apache-2.0
"""What brokers understand by an address, how an exchange or a queue comes to be there, and what their answers mean.

AMQP 1.0 says how messages travel and leaves to each broker what an address is. A profile is one broker's reading of it,
found by what the broker calls itself when the connection is opened, or named by `[messaging] profile`.
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
"""What the template of an address may hold."""
_UNSETTLED_STATE: Final = 2
"""A terminus that lasts with what is unsettled (section 3.5.5)."""


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
    address: str = EXCHANGE
    """Template of a target; with `{subject}` in it each message says where it goes, and the link has no address."""
    quoted: bool = False
    """Whether what is filled in there is percent-encoded."""
    creation: Creation = Creation.NEVER
    capabilities: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    """What is asked of a node that is created on demand."""
    released_is_unrouted: bool = False
    """Whether `released` means that the exchange took the message and no queue wanted it."""
    queue: str = ""
    """Before the name of a queue in a source. Such brokers speak AMQP 0-9-1 on the same port, by which a queue is made
    and bound; from the others a subscriber receives by a filter on the exchange."""
    queue_quoted: bool = False
    """Whether a queue's name is percent-encoded."""
    marks_first: bool = False
    """Whether `first-acquirer` is set on what is handed out for the first time, as the specification wishes."""

    @property
    def per_message(self) -> bool:
        """Whether each message says where it goes (an anonymous terminus)."""
        return SUBJECT in self.address

    def target(self, exchange: str) -> Terminus:
        """The target of a link for an exchange."""
        if self.per_message:
            return Terminus()
        address = self._fill(exchange, "")
        if self.creation is not Creation.ON_DEMAND or exchange.startswith(RESERVED_PREFIX):
            return Terminus(address=address)
        return Terminus(address=address, capabilities=self.capabilities, properties=self.properties)

    def to(self, exchange: str, subject: str) -> str | None:
        """Where a message says that it goes, if it must."""
        return self._fill(exchange, subject) if self.per_message else None

    def queue_source(self, name: str) -> Terminus:
        """A queue that is there, to receive from."""
        return Terminus(address=self.queue + (quote(name, safe="") if self.queue_quoted else name))

    def exchange_source(self, exchange: str, subject: str, *, durable: bool) -> Terminus:
        """An exchange to receive from, filtered by subjects; a durable one keeps its messages under the link's name."""
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
"""Qpid's broker in C++."""
RABBITMQ_3: Final = Profile(
    name="rabbitmq3",
    address="/exchange/{exchange}",
    quoted=True,
    creation=Creation.WHEN_MISSING,
    queue="/amq/queue/",
    marks_first=True,
)
"""RabbitMQ 3 with its plug-in: `accepted` also for what no queue wanted; its own queues for exchanges stay for ever."""
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
"""RabbitMQ from 4 on: the subject is no routing key, so it stands in the address of each message."""
PLAIN: Final = Profile(name="plain")
"""A broker that nobody knows: the address is the exchange's name, or what `[messaging] address` makes of it."""

PROFILES: Final = {profile.name: profile for profile in (QPID, RABBITMQ_3, RABBITMQ_4, PLAIN)}

_BY_PRODUCT: Final = {"qpid-cpp": QPID, "rabbitmq": RABBITMQ_4}
_WITH_THE_PLUG_IN: Final = ("2.", "3.")


def recognised(remote: Opened | None) -> Profile:
    """The profile of a broker, by the `product` and `version` that it names when the connection is opened."""
    properties = remote.properties if remote else {}
    product, version = (str(properties.get(name, "")) for name in ("product", "version"))
    profile = _BY_PRODUCT.get(product.lower(), PLAIN)
    return RABBITMQ_3 if profile is RABBITMQ_4 and version.startswith(_WITH_THE_PLUG_IN) else profile
