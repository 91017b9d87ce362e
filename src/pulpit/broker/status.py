"""The observable state of a broker: plain values for REST, metrics and `pulpit broker`."""

from dataclasses import dataclass, field

from pulpit.amqp.amqp091 import tables
from pulpit.broker.connection import BrokerState


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStatus:
    """One queue; `published`, `delivered` and `acknowledged` count since the broker started.

    The rates are messages per second, over the last second.
    """

    vhost: str
    name: str
    durable: bool
    exclusive: bool
    auto_delete: bool
    arguments: tables.Table
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
    vhost: str
    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: tables.Table


@dataclass(frozen=True, kw_only=True, slots=True)
class BindingStatus:
    """One binding; `destination_kind` is `queue` or `exchange`."""

    vhost: str
    source: str
    destination: str
    destination_kind: str
    routing_key: str
    arguments: tables.Table


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionStatus:
    """One client; `product` is its own name."""

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
    """Everything; sizes in bytes. `alarm` is empty or says why publishers are blocked."""

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


def read_status(state: BrokerState) -> BrokerStatus:
    """Take a snapshot of the broker; from any thread, because what may change is copied before it is iterated."""
    queues = _queues(state)
    return BrokerStatus(
        memory_used=state.store.memory.used,
        memory_limit=state.store.memory.limit,
        unwritten_bytes=state.store.unwritten_bytes,
        alarm=state.alarm,
        published=sum(queue.published for queue in queues),
        delivered=sum(queue.delivered for queue in queues),
        acknowledged=sum(queue.acknowledged for queue in queues),
        queues=queues,
        exchanges=_exchanges(state),
        bindings=_bindings(state),
        connections=_connections(state),
    )


def _queues(state: BrokerState) -> list[QueueStatus]:
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
            ready_bytes=queue.backlog.ready_bytes,
            memory_bytes=queue.backlog.resident_bytes,
            consumers=len(queue.consumers),
            published=queue.published,
            delivered=queue.delivered,
            acknowledged=queue.acknowledged,
            publish_rate=queue.rates[0],
            deliver_rate=queue.rates[1],
            acknowledge_rate=queue.rates[2],
        )
        for host in list(state.hosts.values())
        for queue in list(host.queues.values())
    ]


def _exchanges(state: BrokerState) -> list[ExchangeStatus]:
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
        for host in list(state.hosts.values())
        for exchange in list(host.exchanges.values())
    ]


def _bindings(state: BrokerState) -> list[BindingStatus]:
    return [
        BindingStatus(
            vhost=host.name,
            source=exchange.name,
            destination=destination,
            destination_kind="exchange" if to_exchange else "queue",
            routing_key=key,
            arguments=tables.read_table(arguments)[0],
        )
        for host in list(state.hosts.values())
        for exchange in list(host.exchanges.values())
        for to_exchange, destination, key, arguments in list(exchange.bindings)
    ]


def _connections(state: BrokerState) -> list[ConnectionStatus]:
    return [
        ConnectionStatus(
            address=connection.address,
            user=session.user,
            vhost=session.host.name,
            secure=connection.secure,
            blocked=connection.blocked,
            product=str(session.client_properties.get("product", "")),
            channels=len(channels),
            consumers=sum(len(channel.consumers) for channel in channels),
            unacknowledged=sum(len(channel.unacknowledged) for channel in channels),
            published=session.published,
            delivered=session.delivered,
            frame_max=session.frame_max,
            heartbeat=session.heartbeat,
        )
        for connection in list(state.connections)
        for session, channels in ((connection.session, list(connection.channels.values())),)
    ]
