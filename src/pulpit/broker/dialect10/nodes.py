"""Nodes: what the source or the target of a link names in a virtual host, found or created.

A target is an exchange with or without a routing key, or a queue, which is reached through the default exchange. A
source is always a queue: one that exists, or one of the link's own that is bound to an exchange, for which the right to
read the exchange is enough. What the core or the rights of the user refuse comes out as the core's `Refusal`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from urllib.parse import quote

from pulpit.amqp.amqp10 import words
from pulpit.amqp.amqp10.words import CREATE_ON_DEMAND, INVALID_FIELD, NOT_IMPLEMENTED, RESOURCE_LOCKED, Terminus
from pulpit.broker import refusals, tables
from pulpit.broker.dialect10.addresses import (
    MAX_LENGTH,
    Address,
    BadAddress,
    ExchangeAddress,
    NodeAddress,
    QueueAddress,
    read_address,
)
from pulpit.broker.dialect10.fields import to_entries
from pulpit.broker.dialect10.filters import Bound, bindings
from pulpit.broker.dialect10.refusals import LinkRefusal
from pulpit.broker.exchanges.exchange import KINDS, Exchange
from pulpit.broker.handlers.lookup import RESERVED, invented_name
from pulpit.broker.permissions import CONFIGURE, EXCHANGE, QUEUE, READ, WRITE, Rights
from pulpit.broker.queue import Queue
from pulpit.broker.queue_arguments import BadArgument, read_settings
from pulpit.broker.replies import PREFIX, ReplyDesk
from pulpit.broker.virtualhost import VirtualHost

SUBSCRIPTION: Final = "amq.subscription."
EMPTY_TABLE: Final = b"\0\0\0\0"
_QUEUE_TYPES: Final = ("classic", "quorum")


class Guest(Protocol):
    """The connection on which something is asked for."""

    host: VirtualHost
    container: str
    user: str
    rights: Rights

    @property
    def replies(self) -> ReplyDesk:
        """Who waits for direct replies."""

    @property
    def max_queues(self) -> int:
        """Queues in one virtual host."""

    def owns(self, queue: Queue) -> None:
        """Remember a queue that goes with the connection."""

    def hold(self) -> None:
        """Answer nothing more until everything so far is on the disk."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where messages of a link go: to an exchange, with this key, or with what each message says for None."""

    exchange: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Spring:
    """Where messages of a link come from; `terminus` is what is answered to whoever asked."""

    queue: Queue
    terminus: Terminus
    private: bool = False
    """Whether the queue was made for this link and goes when the link is closed."""


# -- targets


def find_target(guest: Guest, terminus: Terminus) -> tuple[Way | None, Terminus]:
    """Where a client wants to send; no way means that each message says where it goes.

    Raises:
        LinkRefusal: that cannot be.
    """
    if terminus.coordinator:
        raise LinkRefusal(NOT_IMPLEMENTED, "transactions over AMQP 1.0 are not offered here")
    if terminus.dynamic:
        queue = _invented_queue(guest, terminus)
        return Way("", queue.name), replace(terminus, address=queue.name)
    if not terminus.address:
        return None, terminus
    return find_way(guest, terminus.address, terminus), terminus


def find_way(guest: Guest, text: str, terminus: Terminus | None = None) -> Way:
    """Where messages to an address go; with a terminus that asks for it, a missing node is created.

    Raises:
        LinkRefusal: the address is none, or nothing has it.
    """
    address = _read(text)
    if (
        not isinstance(address, ExchangeAddress)
        and address.name.startswith(PREFIX)
        and guest.replies.find(address.name)
    ):
        return Way("", address.name)
    if isinstance(address, QueueAddress):
        _queue(guest, address, terminus)
        return Way("", address.name)
    if isinstance(address, NodeAddress):
        node = _node(guest, address, terminus)
        return Way("", node.name) if isinstance(node, Queue) else _way_to(node, None)
    return _way_to(_exchange(guest, address.name, terminus), address.key)


def _way_to(exchange: Exchange, key: str | None) -> Way:
    if exchange.internal:
        raise LinkRefusal(words.UNAUTHORIZED, f"nobody can publish to the internal exchange '{exchange.name}'")
    return Way(exchange.name, key)


# -- sources


def find_source(guest: Guest, terminus: Terminus | None, link: str) -> Spring:
    """Where a client wants to receive from.

    Raises:
        LinkRefusal: that cannot be.
    """
    name = _subscription_name(guest, link)
    if terminus is None:
        return _earlier_subscription(guest, name)
    if terminus.dynamic:
        queue = _invented_queue(guest, terminus)
        guest.rights.require(READ, QUEUE, queue.name)
        return Spring(queue, replace(terminus, address=queue.name, filters={}), private=True)
    if not terminus.address:
        raise LinkRefusal(INVALID_FIELD, "the source has no address, and is not dynamic")
    address = _read(terminus.address)
    node = _node(guest, address, terminus) if isinstance(address, NodeAddress) else None
    if isinstance(address, QueueAddress):
        node = _queue(guest, address, terminus)
    if isinstance(node, Queue):
        _check_consumable(guest, node, terminus)
        return Spring(node, replace(terminus, filters={}))
    key = address.key if isinstance(address, ExchangeAddress) else None
    exchange = _exchange(guest, address.name, terminus) if node is None else node
    return _subscription(guest, exchange, key, terminus, name)


def _check_consumable(guest: Guest, queue: Queue, terminus: Terminus) -> None:
    guest.rights.require(READ, QUEUE, queue.name)
    if queue.owner is not None and queue.owner is not guest:
        raise LinkRefusal(RESOURCE_LOCKED, f"queue '{queue.name}' is exclusive to another connection")
    if queue.exclusive_consumer:
        raise LinkRefusal(RESOURCE_LOCKED, f"queue '{queue.name}' is in exclusive use")
    if terminus.copies:
        raise LinkRefusal(NOT_IMPLEMENTED, f"queue '{queue.name}' cannot be browsed, only consumed from")


def _subscription(guest: Guest, exchange: Exchange, key: str | None, terminus: Terminus, name: str) -> Spring:
    """A queue of the link's own, which lives as long as the link, or until it is closed if it shall be durable."""
    if exchange is guest.host.default:
        raise LinkRefusal(words.NOT_ALLOWED, "nobody can subscribe to the default exchange; name a queue")
    wanted, filters = bindings(exchange, key, terminus.filters)
    for bound in wanted:
        guest.rights.require(READ, EXCHANGE, exchange.name, None if exchange.kind.ignores_keys else bound.key)
        problem = exchange.kind.check(bound.arguments)
        if problem is not None:
            raise problem
    durable = terminus.durability > 0 or terminus.expiry == "never"
    if durable:
        guest.rights.require(CONFIGURE, QUEUE, name)
    queue = guest.host.queues.get(name) if durable else None
    if queue is None:
        queue = _add_queue(
            guest, name if durable else invented_name("amq.gen-"), durable=durable, auto_delete=not durable,
            exclusive=not durable,
        )  # fmt: skip
    _bind(guest, exchange, queue, wanted)
    return Spring(queue, replace(terminus, filters=filters), private=True)


def _bind(guest: Guest, exchange: Exchange, queue: Queue, wanted: list[Bound]) -> None:
    """Let the queue have exactly these bindings, so that a subscription can come back with others."""
    host = guest.host
    keys = {(False, queue.name, bound.key, bound.raw): bound for bound in wanted}
    for source, key in list(host.inbound.get(queue, {})):
        if source != exchange.name or key not in keys:
            host.unbind(host.exchanges[source], key)
            guest.hold()
    for key, bound in keys.items():
        if host.bind(exchange, key, queue, bound.arguments):
            guest.hold()


def _subscription_name(guest: Guest, link: str) -> str:
    return SUBSCRIPTION + "/".join(quote(part, safe="") for part in (guest.user, guest.container, link))


def _earlier_subscription(guest: Guest, name: str) -> Spring:
    """A link without a source asks for the one that it had (section 2.6.3)."""
    queue = guest.host.queues.get(name)
    if queue is None:
        raise LinkRefusal(words.NOT_FOUND, "there is no durable subscription of this container with this name")
    source = next(iter(guest.host.inbound.get(queue, {})), ("", None))[0]
    terminus = Terminus(address=source, durability=2, expiry="never", copies=True)
    return Spring(queue, terminus, private=True)


# -- finding and creating


def _read(text: str) -> Address:
    try:
        return read_address(text)
    except BadAddress as error:
        raise LinkRefusal(INVALID_FIELD, str(error)) from None


def _node(guest: Guest, address: NodeAddress, terminus: Terminus | None) -> Queue | Exchange:
    host = guest.host
    for found in (host.queues.get(address.name), host.exchanges.get(address.name)):
        if found is not None:
            return found
    if terminus is not None and CREATE_ON_DEMAND in terminus.capabilities:
        asked_queue = "queue" in terminus.capabilities
        asked_exchange = "topic" in terminus.capabilities or "exchange-type" in terminus.properties
        if asked_exchange and not asked_queue:
            return _create_exchange(guest, address.name, terminus.properties)
        return _create_queue(guest, address.name, terminus)
    raise LinkRefusal(words.NOT_FOUND, f"no queue and no exchange '{address.name}' in vhost '{host.name}'")


def _queue(guest: Guest, address: QueueAddress, terminus: Terminus | None) -> Queue:
    queue = guest.host.queues.get(address.name)
    if queue is not None:
        return queue
    if terminus is not None and (address.creates or CREATE_ON_DEMAND in terminus.capabilities):
        return _create_queue(guest, address.name, terminus)
    raise LinkRefusal(words.NOT_FOUND, f"no queue '{address.name}' in vhost '{guest.host.name}'")


def _exchange(guest: Guest, name: str, terminus: Terminus | None) -> Exchange:
    exchange = guest.host.exchanges.get(name)
    if exchange is not None:
        return exchange
    if terminus is not None and CREATE_ON_DEMAND in terminus.capabilities:
        return _create_exchange(guest, name, terminus.properties)
    raise LinkRefusal(words.NOT_FOUND, f"no exchange '{name}' in vhost '{guest.host.name}'")


def _create_exchange(guest: Guest, name: str, properties: Mapping[str, Any]) -> Exchange:
    guest.rights.require(CONFIGURE, EXCHANGE, name)
    _refuse_reserved("exchange", name)
    kind = properties.get("exchange-type", "topic")
    if not isinstance(kind, str) or kind not in KINDS:
        raise LinkRefusal(INVALID_FIELD, f"unknown exchange type '{kind}'")
    exchange = Exchange(
        name=name,
        type=str(kind),
        durable=properties.get("durable") is True,
        auto_delete=properties.get("auto-delete") is True,
    )
    guest.host.add_exchange(exchange)
    if exchange.durable:
        guest.hold()
    return exchange


def _create_queue(guest: Guest, name: str, terminus: Terminus) -> Queue:
    guest.rights.require(CONFIGURE, QUEUE, name)
    _refuse_reserved("queue", name)
    properties = terminus.properties
    return _add_queue(
        guest, name,
        durable=properties.get("durable", True) is not False,
        auto_delete=properties.get("auto-delete") is True,
        exclusive=properties.get("exclusive") is True,
        arguments=_arguments(name, properties),
    )  # fmt: skip


def _invented_queue(guest: Guest, terminus: Terminus) -> Queue:
    """The queue of a dynamic node: the connection's own, and gone with it."""
    name = invented_name("amq.gen-")
    guest.rights.require(CONFIGURE, QUEUE, name)
    arguments = _arguments(name, terminus.properties)
    return _add_queue(guest, name, durable=False, auto_delete=False, exclusive=True, arguments=arguments)


def _arguments(name: str, properties: Mapping[str, Any]) -> bytes:
    known = {key: value for key, value in properties.items() if key.startswith("x-")}
    if known.get("x-queue-type", "classic") not in _QUEUE_TYPES:
        raise LinkRefusal(NOT_IMPLEMENTED, f"queue '{name}' would be of a type that is not offered here")
    return tables.join(to_entries(known))


def _add_queue(
    guest: Guest, name: str, *, durable: bool, auto_delete: bool, exclusive: bool, arguments: bytes = EMPTY_TABLE
) -> Queue:
    host = guest.host
    if len(name.encode()) > MAX_LENGTH:
        raise LinkRefusal(INVALID_FIELD, f"the name of a queue has at most {MAX_LENGTH} bytes")
    if guest.max_queues and len(host.queues) >= guest.max_queues:
        raise LinkRefusal(words.RESOURCE_LIMIT, f"the limit of {guest.max_queues} queues is reached")
    try:
        settings = read_settings(arguments)
    except BadArgument as error:
        raise LinkRefusal(words.PRECONDITION_FAILED, f"invalid arg '{error.name}' for '{name}': {error}") from error
    if settings.dead_letter_exchange is not None:
        guest.rights.require(READ, QUEUE, name)
        guest.rights.require(WRITE, EXCHANGE, settings.dead_letter_exchange, settings.dead_letter_key)
    queue = host.add_queue(
        name=name,
        durable=durable and not exclusive,
        auto_delete=auto_delete,
        owner=guest if exclusive else None,
        arguments=arguments,
        settings=settings,
    )
    if exclusive:
        guest.owns(queue)
    elif durable:
        guest.hold()
    return queue


def _refuse_reserved(kind: str, name: str) -> None:
    if name.startswith(RESERVED) or not name:
        raise refusals.access_refused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")
