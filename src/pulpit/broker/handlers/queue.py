"""queue.*: declare, bind, unbind, purge, delete."""

from collections.abc import Mapping
from typing import Any, Final

from pamqp.commands import Queue as Methods

from pulpit.amqp.amqp091 import tables
from pulpit.broker.channel import Channel
from pulpit.broker.handlers.lookup import (
    check_owner,
    find_exchange,
    find_queue,
    invented_name,
    locked,
    queue_name,
    queue_title,
    refuse_reserved,
    require_binding,
    require_same,
    require_same_arguments,
)
from pulpit.broker.methods import Arguments
from pulpit.broker.permissions import CONFIGURE, EXCHANGE, QUEUE, READ, WRITE
from pulpit.broker.queue import Queue
from pulpit.broker.queue_arguments import NOT_FOR_CLASSIC, BadArgument, QueueSettings, read_settings, unacceptable
from pulpit.broker.refusals import not_found, not_implemented, precondition_failed
from pulpit.broker.replies import PSEUDO_QUEUE

COMPARED: Final = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-single-active-consumer",
)
QUORUM: Final = "quorum"


def declare(channel: Channel, method: Methods.Declare) -> None:
    """Create a queue, or check that it is as described."""
    name = method.queue.replace("\r", "").replace("\n", "")
    if name == PSEUDO_QUEUE or (method.passive and channel.link.replies.find(name)):
        _reply(channel, method, name, 0, 0)
        return
    queue = _existing(channel, name) if method.passive else _declare_actively(channel, name, method)
    queue.used()
    channel.last_queue = queue.name
    _reply(channel, method, queue.name, len(queue), len(queue.consumers))


def _existing(channel: Channel, name: str) -> Queue:
    """Here alone the empty name is a name, which no queue has."""
    if not name:
        raise not_found(f"no {queue_title(channel, name)}")
    return find_queue(channel, name)


class _DeclareOk(Methods.DeclareOk):
    """As the codec's, for any name: RabbitMQ lets queues be named beyond the letters of the specification."""

    def validate(self) -> None:
        """Accept what was accepted before."""


def _reply(channel: Channel, method: Methods.Declare, name: str, messages: int, consumers: int) -> None:
    if not method.nowait:
        channel.reply(_DeclareOk(name, messages, consumers))


def _declare_actively(channel: Channel, name: str, method: Methods.Declare) -> Queue:
    name, wished = name or invented_name("amq.gen-"), name
    channel.link.rights.require(CONFIGURE, QUEUE, name)
    existing = channel.host.queues.get(name)
    assert isinstance(method.arguments, Arguments)  # noqa: S101 - read_method made it
    if existing is not None:
        _require_equivalent(channel, existing, method, method.arguments)
        return existing
    refuse_reserved("queue", wished)
    settings = _settings(channel, wished, method, method.arguments)
    limit = channel.link.max_queues
    if limit and len(channel.host.queues) >= limit:
        raise precondition_failed(f"cannot declare {queue_title(channel, name)}: queue limit ({limit}) is reached")
    _require_dead_letters(channel, name, settings)
    queue = channel.host.add_queue(
        name=name,
        durable=method.durable and not method.exclusive,
        auto_delete=method.auto_delete,
        owner=channel.link if method.exclusive else None,
        arguments=method.arguments.raw,
        settings=settings,
    )
    if queue.owner is not None:
        channel.link.owns(queue)
    elif queue.durable:
        channel.outbox.hold()
    return queue


def _require_dead_letters(channel: Channel, name: str, settings: QueueSettings) -> None:
    """A queue publishes what dies in it, so whoever declares it must be allowed to read it and to publish there."""
    if settings.dead_letter_exchange is not None:
        rights = channel.link.rights
        rights.require(READ, QUEUE, name)
        rights.require(WRITE, EXCHANGE, settings.dead_letter_exchange, settings.dead_letter_key)


def _settings(channel: Channel, name: str, method: Methods.Declare, arguments: Arguments) -> QueueSettings:
    title = queue_title(channel, name)
    _check_type(title, method, arguments)
    if arguments.get("x-queue-type") != QUORUM:
        for unfit in NOT_FOR_CLASSIC:
            if unfit in arguments:
                raise precondition_failed(f"invalid arg '{unfit}' for {title} of queue type rabbit_classic_queue")
    exchange = arguments.get("x-dead-letter-exchange", "")
    if not isinstance(exchange, str):
        kind = tables.kinds(arguments.raw)["x-dead-letter-exchange"]
        raise precondition_failed(f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in {title}")
    try:
        return read_settings(arguments.raw)
    except BadArgument as error:
        raise precondition_failed(f"invalid arg '{error.name}' for {title}: {error}") from error


def _check_type(title: str, method: Methods.Declare, arguments: Arguments) -> None:
    kind = arguments.get("x-queue-type", "classic")
    if not isinstance(kind, str):
        problem = unacceptable(tables.kinds(arguments.raw)["x-queue-type"])
        raise precondition_failed(f"invalid arg 'x-queue-type' for {title}: {problem}")
    if kind == "stream":
        raise not_implemented("queues of type 'stream'")
    if kind not in ("classic", QUORUM):
        raise precondition_failed(f"invalid arg 'x-queue-type' for {title}: \"unsupported queue type '{kind}'\"")
    if kind == QUORUM:
        if not method.durable:
            raise precondition_failed(f"invalid property 'non-durable' for {title}")
        if method.exclusive:
            raise precondition_failed(f"invalid property 'exclusive-owner' for {title}")


def _require_equivalent(channel: Channel, existing: Queue, method: Methods.Declare, arguments: Arguments) -> None:
    check_owner(channel, existing)
    if method.exclusive != (existing.owner is not None):
        raise locked(channel, existing.name)
    title = queue_title(channel, existing.name)
    require_same(title, "durable", method.durable and not method.exclusive, existing.durable)
    require_same(title, "auto_delete", method.auto_delete, existing.auto_delete)
    require_same(title, "x-queue-type", _type(arguments), _type(tables.read_table(existing.arguments)[0]))
    require_same_arguments(title, COMPARED, arguments.raw, existing.arguments)


def _type(arguments: Mapping[str, Any]) -> str:
    """A queue that does not say what it is is a classic one."""
    return str(arguments.get("x-queue-type", "classic"))


def bind(channel: Channel, method: Methods.Bind) -> None:
    """Bind a queue to an exchange."""
    key = _binding_key(channel, method.queue, method.routing_key)
    require_binding(channel, QUEUE, queue_name(channel, method.queue), method.exchange, key)
    exchange = find_exchange(channel, method.exchange)
    queue = find_queue(channel, method.queue)
    arguments = method.arguments
    assert isinstance(arguments, Arguments)  # noqa: S101 - read_method made it
    problem = exchange.kind.check(arguments)
    if problem is not None:
        raise problem
    if channel.host.bind(exchange, (False, queue.name, key, arguments.raw), queue, arguments):
        channel.outbox.hold()
    if not method.nowait:
        channel.reply(Methods.BindOk())


def unbind(channel: Channel, method: Methods.Unbind) -> None:
    """Take a binding away; one that is not there is away already."""
    key = _binding_key(channel, method.queue, method.routing_key)
    name = queue_name(channel, method.queue)
    require_binding(channel, QUEUE, name, method.exchange, key)
    queue = channel.host.queues.get(name)
    exchange = channel.host.exchanges.get(method.exchange)
    assert isinstance(method.arguments, Arguments)  # noqa: S101 - read_method made it
    if queue is not None and exchange is not None:
        check_owner(channel, queue)
        channel.host.unbind(exchange, (False, queue.name, key, method.arguments.raw))
        channel.outbox.hold()
    channel.reply(Methods.UnbindOk())


def _binding_key(channel: Channel, queue: str, key: str) -> str:
    """Without a queue and a key, both are the name of the queue that was declared last."""
    return key or (queue_name(channel, queue) if not queue else key)


def purge(channel: Channel, method: Methods.Purge) -> None:
    """Throw away what is ready."""
    name = queue_name(channel, method.queue)
    channel.link.rights.require(READ, QUEUE, name)
    count = find_queue(channel, name).purge()
    if not method.nowait:
        channel.reply(Methods.PurgeOk(count))


def delete(channel: Channel, method: Methods.Delete) -> None:
    """Delete a queue; one that does not exist is deleted already."""
    name = queue_name(channel, method.queue)
    channel.link.rights.require(CONFIGURE, QUEUE, name)
    queue = channel.host.queues.get(name)
    count = 0
    if queue is not None:
        check_owner(channel, queue)
        if method.if_unused and queue.consumers:
            raise precondition_failed(f"{queue_title(channel, name)} in use")
        if method.if_empty and len(queue):
            raise precondition_failed(f"{queue_title(channel, name)} not empty")
        count = channel.host.drop_queue(queue)
        if queue.durable:
            channel.outbox.hold()
    if not method.nowait:
        channel.reply(Methods.DeleteOk(count))
