"""What a broker looks like from outside: plain values for REST, metrics and `pulpit broker`."""

from dataclasses import dataclass, field
from typing import Any

from pulpit.amqp.amqp091 import tables
from pulpit.broker.house import House


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStatus:
    """One queue; `published`, `delivered` and `acknowledged` count since the broker started.

    The rates are messages a second, within the last second.
    """

    vhost: str
    name: str
    durable: bool
    exclusive: bool
    auto_delete: bool
    arguments: dict[str, Any]
    messages_ready: int
    messages_unacknowledged: int
    ready_bytes: int
    memory_bytes: int
    consumers: int
    published: int
    delivered: int
    acknowledged: int
    publish_rate: float
    deliver_rate: float
    acknowledge_rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeStatus:
    """One exchange."""

    vhost: str
    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class BindingStatus:
    """One binding; `destination_kind` is `queue` or `exchange`."""

    vhost: str
    source: str
    destination: str
    destination_kind: str
    routing_key: str
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionStatus:
    """One client; `product` is what it calls itself."""

    address: str
    user: str
    vhost: str
    secure: bool
    blocked: bool
    product: str
    channels: int
    consumers: int
    unacknowledged: int
    published: int
    delivered: int
    frame_max: int
    heartbeat: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerStatus:
    """Everything; sizes in bytes. `alarm` is empty or says why publishers wait."""

    memory_used: int
    memory_limit: int
    unwritten_bytes: int
    alarm: str
    published: int
    delivered: int
    acknowledged: int
    queues: list[QueueStatus] = field(default_factory=list)
    exchanges: list[ExchangeStatus] = field(default_factory=list)
    bindings: list[BindingStatus] = field(default_factory=list)
    connections: list[ConnectionStatus] = field(default_factory=list)


def read_status(house: House) -> BrokerStatus:
    """Take a picture of the broker; from any thread, because what changes meanwhile is copied before it is walked."""
    queues = _queues(house)
    return BrokerStatus(
        memory_used=house.store.memory.used,
        memory_limit=house.store.memory.limit,
        unwritten_bytes=house.store.unwritten_bytes,
        alarm=house.alarm,
        published=sum(each.published for each in queues),
        delivered=sum(each.delivered for each in queues),
        acknowledged=sum(each.acknowledged for each in queues),
        queues=queues,
        exchanges=_exchanges(house),
        bindings=_bindings(house),
        connections=_connections(house),
    )


def _queues(house: House) -> list[QueueStatus]:
    return [
        QueueStatus(
            vhost=host.name,
            name=queue.name,
            durable=queue.durable,
            exclusive=queue.owner is not None,
            auto_delete=queue.auto_delete,
            arguments=tables.read_table(queue.arguments)[0],
            messages_ready=len(queue),
            messages_unacknowledged=queue.unacknowledged,
            ready_bytes=queue.ready_bytes,
            memory_bytes=queue.resident_bytes,
            consumers=len(queue.consumers),
            published=queue.published,
            delivered=queue.delivered,
            acknowledged=queue.acknowledged,
            publish_rate=house.rates.of(queue)[0],
            deliver_rate=house.rates.of(queue)[1],
            acknowledge_rate=house.rates.of(queue)[2],
        )
        for host in list(house.hosts.values())
        for queue in list(host.queues.values())
    ]


def _exchanges(house: House) -> list[ExchangeStatus]:
    return [
        ExchangeStatus(
            vhost=host.name,
            name=exchange.name,
            type=exchange.type,
            durable=exchange.durable,
            auto_delete=exchange.auto_delete,
            internal=exchange.internal,
            arguments=tables.read_table(exchange.arguments)[0],
        )
        for host in list(house.hosts.values())
        for exchange in list(host.exchanges.values())
    ]


def _bindings(house: House) -> list[BindingStatus]:
    return [
        BindingStatus(
            vhost=host.name,
            source=exchange.name,
            destination=destination,
            destination_kind="exchange" if to_exchange else "queue",
            routing_key=key,
            arguments=tables.read_table(arguments)[0],
        )
        for host in list(house.hosts.values())
        for exchange in list(host.exchanges.values())
        for to_exchange, destination, key, arguments in list(exchange.bindings)
    ]


def _connections(house: House) -> list[ConnectionStatus]:
    return [
        ConnectionStatus(
            address=connection.address,
            user=connection.user,
            vhost=connection.host.name,
            secure=connection.secure,
            blocked=connection.blocked,
            product=str(connection.client_properties.get("product", "")),
            channels=channels,
            consumers=consumers,
            unacknowledged=unacknowledged,
            published=connection.published,
            delivered=connection.delivered,
            frame_max=connection.frame_max,
            heartbeat=connection.heartbeat,
        )
        for connection in list(house.connections)
        for channels, consumers, unacknowledged in (connection.counts,)
    ]
