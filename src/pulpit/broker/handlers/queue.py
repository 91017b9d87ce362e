"""queue.*: declare, bind, unbind, purge, delete."""

from pulpit.amqp.amqp091 import tables
from pulpit.broker import methods
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
from pulpit.broker.method_codec import Arguments
from pulpit.broker.permissions import CONFIGURE, EXCHANGE, QUEUE, READ, WRITE
from pulpit.broker.publishing import PSEUDO_QUEUE
from pulpit.broker.queue import Queue
from pulpit.broker.queue_arguments import (
    CHECKS,
    CLASSIC,
    QUORUM,
    BadArgument,
    QueueSettings,
    check_arguments,
    read_settings,
)
from pulpit.broker.refusals import not_found, precondition_failed


def declare(channel: Channel, method: methods.QueueDeclare) -> None:
    """Declare a queue, or check that it matches."""
    name = method.queue.replace("\r", "").replace("\n", "")
    if name.startswith(PSEUDO_QUEUE):
        if name != PSEUDO_QUEUE and channel.session.replies.find(name) is None:
            raise not_found(f"no {queue_title(channel, name)}")
        _reply(channel, method, name, 0, 1)
        return
    if not method.passive:
        queue = _declare_actively(channel, name, method)
    elif name:
        queue = find_queue(channel, name)
    else:  # only here the empty name is an ordinary name, which no queue has
        raise not_found(f"no {queue_title(channel, name)}")
    queue.used()
    channel.last_queue = queue.name
    _reply(channel, method, queue.name, len(queue), len(queue.consumers))


def _reply(channel: Channel, method: methods.QueueDeclare, name: str, messages: int, consumers: int) -> None:
    if not method.nowait:
        channel.reply(methods.QueueDeclareOk(name, messages, consumers))


def _declare_actively(channel: Channel, name: str, method: methods.QueueDeclare) -> Queue:
    refuse_reserved("queue", name)  # one that the broker named may be asked for only passively
    if not name and method.arguments.get("x-queue-type") == QUORUM:
        raise precondition_failed("Cannot declare a server-named queue for type rabbit_quorum_queue")
    name = name or invented_name("amq.gen-")
    rights = channel.session.rights
    rights.require(CONFIGURE, QUEUE, name)
    existing = channel.host.queues.get(name)
    if existing is not None:
        _require_equivalent(channel, existing, method, method.arguments)
        return existing
    settings = _settings(channel, name, method, method.arguments)
    limit = channel.session.max_queues
    if limit and len(channel.host.queues) >= limit:
        raise precondition_failed(f"cannot declare {queue_title(channel, name)}: queue limit ({limit}) is reached")
    if settings.dead_letter_exchange is not None:  # the queue publishes with the permissions of its declarer
        rights.require(READ, QUEUE, name)
        rights.require(WRITE, EXCHANGE, settings.dead_letter_exchange, settings.dead_letter_key)
    queue = channel.host.add_queue(
        name=name,
        durable=method.durable and not method.exclusive,
        auto_delete=method.auto_delete,
        owner=channel.session if method.exclusive else None,
        arguments=method.arguments.raw,
        settings=settings,
    )
    if queue.owner is not None:
        channel.session.owned[queue] = None
    elif queue.durable:
        channel.outbox.hold()
    return queue


def _settings(channel: Channel, name: str, method: methods.QueueDeclare, arguments: Arguments) -> QueueSettings:
    title = queue_title(channel, name)
    exchange = arguments.get("x-dead-letter-exchange", "")
    if not isinstance(exchange, str):
        kind = tables.kinds(arguments.raw)["x-dead-letter-exchange"]
        raise precondition_failed(f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in {title}")
    try:
        check_arguments(arguments.raw)
    except BadArgument as error:
        raise precondition_failed(f"invalid arg '{error.name}' for {title}{error}") from error
    if arguments.get("x-queue-type") == QUORUM:
        unfit_properties = {
            "non-durable": not method.durable,
            "exclusive-owner": method.exclusive,
            "auto-delete": method.auto_delete,
        }
        for unfit, is_set in unfit_properties.items():
            if is_set:
                raise precondition_failed(f"invalid property '{unfit}' for {title}")
    return read_settings(arguments.raw)


def _require_equivalent(channel: Channel, existing: Queue, method: methods.QueueDeclare, arguments: Arguments) -> None:
    check_owner(channel, existing)
    if method.exclusive != (existing.owner is not None):
        raise locked(channel, existing.name)
    title = queue_title(channel, existing.name)
    require_same(title, "durable", method.durable and not method.exclusive, existing.durable)
    require_same(title, "auto_delete", method.auto_delete, existing.auto_delete)
    current = tables.read_table(existing.arguments)[0].get("x-queue-type", CLASSIC)
    same_type = arguments.get("x-queue-type", CLASSIC) == current
    compared = [name for name in CHECKS if not (same_type and name == "x-queue-type")]
    require_same_arguments(title, compared, arguments.raw, existing.arguments)


def bind(channel: Channel, method: methods.QueueBind) -> None:
    key = _binding_key(channel, method.queue, method.routing_key)
    require_binding(channel, QUEUE, queue_name(channel, method.queue), method.exchange, key)
    exchange = find_exchange(channel, method.exchange)
    queue = find_queue(channel, method.queue)
    arguments = method.arguments
    problem = exchange.kind.check(arguments)
    if problem is not None:
        raise problem
    if channel.host.bind(exchange, (False, queue.name, key, arguments.raw), queue, arguments):
        channel.outbox.hold()
    if not method.nowait:
        channel.reply(methods.QueueBindOk())


def unbind(channel: Channel, method: methods.QueueUnbind) -> None:
    """Remove a binding; a missing one counts as removed."""
    key = _binding_key(channel, method.queue, method.routing_key)
    name = queue_name(channel, method.queue)
    require_binding(channel, QUEUE, name, method.exchange, key)
    queue = channel.host.queues.get(name)
    exchange = channel.host.exchanges.get(method.exchange)
    if queue is not None and exchange is not None:
        check_owner(channel, queue)
        channel.host.unbind(exchange, (False, queue.name, key, method.arguments.raw))
        channel.outbox.hold()
    channel.reply(methods.QueueUnbindOk())


def _binding_key(channel: Channel, queue: str, key: str) -> str:
    """Without a queue and a key, both are the name of the queue that was declared last."""
    return key or (queue_name(channel, queue) if not queue else key)


def purge(channel: Channel, method: methods.QueuePurge) -> None:
    name = queue_name(channel, method.queue)
    channel.session.rights.require(READ, QUEUE, name)
    count = find_queue(channel, name).purge()
    if not method.nowait:
        channel.reply(methods.QueuePurgeOk(count))


def delete(channel: Channel, method: methods.QueueDelete) -> None:
    """Delete a queue; a missing one counts as deleted."""
    name = queue_name(channel, method.queue)
    channel.session.rights.require(CONFIGURE, QUEUE, name)
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
        channel.reply(methods.QueueDeleteOk(count))
