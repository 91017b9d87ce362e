"""The house: everything that the connections of one broker share."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from pulpit.broker.config import BrokerConfig
from pulpit.broker.logins import Attempt
from pulpit.broker.permissions import Rights
from pulpit.broker.rates import Rates
from pulpit.broker.replies import ReplyDesk
from pulpit.broker.store import Store
from pulpit.broker.timers import Timers
from pulpit.broker.virtualhost import VirtualHost

CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)
DIALECT: Final = "3.10.8"
"""The RabbitMQ whose behaviour is followed; clients that decide by `version` decide rightly."""


class Answer(Protocol):
    """What is called when a log-in was judged."""

    def __call__(self, attempt: Attempt, *, welcome: bool) -> None:
        """`welcome` says how."""


class Door(Protocol):
    """Who judges log-ins; that may take time."""

    def ask(self, attempt: Attempt, answer: Answer) -> None:
        """Judge, then call the answer once."""

    def rights(self, user: str, host: str) -> Rights | None:
        """What a user may do in a virtual host, None if not even enter it."""


class House:
    """`alarm` is empty, or says why publishers must wait; `connections` are those that are open, in order."""

    def __init__(
        self, *, config: BrokerConfig, store: Store, timers: Timers, logins: Door, version: str, name: str
    ) -> None:
        self.config: Final = config
        self.store: Final = store
        self.timers: Final = timers
        self.logins: Final = logins
        self.replies: Final = ReplyDesk()
        self.hosts: Final = {each: VirtualHost(name=each, store=store, timers=timers) for each in config.virtual_hosts}
        self.connections: dict[Any, None] = {}
        self.alarm = ""
        self.rates: Final = Rates()
        self.server_properties: Final[Mapping[str, Any]] = {
            "capabilities": dict.fromkeys(CAPABILITIES, True),
            "cluster_name": name,
            "copyright": "Copyright (c) the authors of Pulpit",
            "information": f"The embedded broker of Pulpit {version}, which speaks the dialect of RabbitMQ {DIALECT}",
            "platform": f"Pulpit {version}",
            "product": config.product,
            "version": DIALECT,
        }
