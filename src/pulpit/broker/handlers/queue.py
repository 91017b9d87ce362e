"""queue.*: declare, bind, unbind, purge, delete."""

from typing import Final

from pamqp.commands import Queue as Methods

from pulpit.broker.channel import Channel
from pulpit.broker.handlers.lookup import (
    check_owner,
    find_exchange,
    find_queue,
    invented_name,
    locked,
    queue_name,
    queue_title,
    refuse_default,
    refuse_reserved,
    require_same,
    require_same_arguments,
)
from pulpit.broker.methods import Arguments
from pulpit.broker.queue import Queue
from pulpit.broker.queue_arguments import BadArgument, QueueSettings, read_settings, type_name
from pulpit.broker.refusals import not_implemented, not_allowed, precondition_failed
from pulpit.broker.replies import PREFIX, PSEUDO_QUEUE

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
    "x-queue-type",
)


def declare(channel: Channel, method: Methods.Declare) -> None:
    """Create a queue, or check that it is as described."""
    name = method.queue.replace("\r", "").replace("\n", "")
    if method.passive and (name == PSEUDO_QUEUE or channel.link.replies.find(name)):
        _reply(channel, method, name, 0, 0)
        return
    queue = find_queue(channel, name) if method.passive else _declare_actively(channel, name, method)
    queue.used()
    channel.last_queue = queue.name
    _reply(channel, method, queue.name, len(queue), len(queue.consumers))


def _reply(channel: Channel, method: Methods.Declare, name: str, messages: int, consumers: int) -> None:
    if not method.nowait:
        channel.reply(Methods.DeclareOk(name, messages, consumers))


def _declare_actively(channel: Channel, name: str, method: Methods.Declare) -> Queue:
    existing = channel.host.queues.get(name) if name else None
    assert isinstance(method.arguments, Arguments)  # noqa: S101 - read_method made it
    if existing is not None:
        _require_equivalent(channel, existing, method, method.arguments)
        return existing
    if name == PSEUDO_QUEUE or name.startswith(PREFIX):
        raise not_allowed("nobody may declare the queue of direct replies")
    refuse_reserved("queue", name)
    settings = _settings(channel, name, method, method.arguments)
    limit = channel.link.max_queues
    if limit and len(channel.host.queues) >= limit:
        raise precondition_failed(f"cannot declare {queue_title(channel, name)}: queue limit ({limit}) is reached")
    queue = channel.host.add_queue(
        name=name or invented_name("amq.gen-"),
        durable=method.durable,
        auto_delete=method.auto_delete,
        owner=channel.link if method.exclusive else None,
        arguments=method.arguments.raw,
        settings=settings,
    )
    if queue.owner is not None:
        channel.link.owns(queue)
    elif queue.durable:
        channel.link.hold()
    return queue


def _settings(channel: Channel, name: str, method: Methods.Declare, arguments: Arguments) -> QueueSettings:
    title = queue_title(channel, name)
    _check_type(title, method, arguments.get("x-queue-type", "classic"))
    try:
        return read_settings(arguments)
    except BadArgument as error:
        raise precondition_failed(f"invalid arg '{error.name}' for {title}: {error}") from error


def _check_type(title: str, method: Methods.Declare, kind: object) -> None:
    if not isinstance(kind, str):
        raise precondition_failed(f"invalid arg 'x-queue-type' for {title}: {{unacceptable_type,{type_name(kind)}}}")
    if kind == "stream":
        raise not_implemented("queues of type 'stream'")
    if kind not in ("classic", "quorum"):
        raise precondition_failed(f"invalid arg 'x-queue-type' for {title}: unknown queue type '{kind}'")
    if kind == "quorum":
        if not method.durable:
            raise precondition_failed(f"invalid property 'non-durable' for {title}")
        if method.exclusive:
            raise precondition_failed(f"invalid property 'exclusive-owner' for {title}")


def _require_equivalent(channel: Channel, existing: Queue, method: Methods.Declare, arguments: Arguments) -> None:
    check_owner(channel, existing)
    title = queue_title(channel, existing.name)
    require_same(title, "durable", method.durable, existing.durable)
    require_same(title, "auto_delete", method.auto_delete, existing.auto_delete)
    if method.exclusive != (existing.owner is not None):
        raise locked(channel, existing.name)
    require_same_arguments(title, COMPARED, arguments.raw, existing.arguments)


def bind(channel: Channel, method: Methods.Bind) -> None:
    """Bind a queue to an exchange."""
    key = _binding_key(channel, method.queue, method.routing_key)
    refuse_default(method.exchange)
    queue = find_queue(channel, method.queue)
    exchange = find_exchange(channel, method.exchange)
    arguments = method.arguments
    assert isinstance(arguments, Arguments)  # noqa: S101 - read_method made it
    problem = exchange.kind.check(arguments)
    if problem is not None:
        raise problem
    if channel.host.bind(exchange, (False, queue.name, key, arguments.raw), queue, arguments):
        channel.link.hold()
    if not method.nowait:
        channel.reply(Methods.BindOk())


def unbind(channel: Channel, method: Methods.Unbind) -> None:
    """Take a binding away; one that is not there is away already."""
    key = _binding_key(channel, method.queue, method.routing_key)
    refuse_default(method.exchange)
    queue = find_queue(channel, method.queue)
    exchange = find_exchange(channel, method.exchange)
    assert isinstance(method.arguments, Arguments)  # noqa: S101 - read_method made it
    channel.host.unbind(exchange, (False, queue.name, key, method.arguments.raw))
    channel.link.hold()
    channel.reply(Methods.UnbindOk())


def _binding_key(channel: Channel, queue: str, key: str) -> str:
    """Without a queue and a key, both are the name of the queue that was declared last."""
    return key or (queue_name(channel, queue) if not queue else key)


def purge(channel: Channel, method: Methods.Purge) -> None:
    """Throw away what is ready."""
    count = find_queue(channel, method.queue).purge()
    if not method.nowait:
        channel.reply(Methods.PurgeOk(count))


def delete(channel: Channel, method: Methods.Delete) -> None:
    """Delete a queue; one that does not exist is deleted already."""
    name = queue_name(channel, method.queue)
    queue = channel.host.queues.get(name)
    count = 0
    if queue is not None:
        check_owner(channel, queue)
        if method.if_unused and queue.consumers:
            raise precondition_failed(f"{queue_title(channel, name)} in use")
        if method.if_empty and len(queue):
            raise precondition_failed(f"{queue_title(channel, name)} is not empty")
        count = channel.host.drop_queue(queue)
        if queue.durable:
            channel.link.hold()
    if not method.nowait:
        channel.reply(Methods.DeleteOk(count))
