"""basic.*: qos, consume, cancel, get, ack, nack, reject, recover."""

import struct
from typing import Any

from pamqp.commands import Basic as Methods

from pulpit.amqp.amqp091 import tables
from pulpit.broker.channel import Channel
from pulpit.broker.consumer import Consumer
from pulpit.broker.handlers.lookup import find_queue, invented_name, queue_name, queue_title
from pulpit.broker.message import Entry
from pulpit.broker.methods import short_string
from pulpit.broker.permissions import QUEUE, READ
from pulpit.broker.queue import Queue
from pulpit.broker.queue_arguments import is_integer
from pulpit.broker.refusals import access_refused, not_allowed, not_implemented, precondition_failed
from pulpit.broker.replies import PSEUDO_QUEUE

_DELIVER = b"\x00\x3c\x00\x3c"


def qos(channel: Channel, method: Methods.Qos) -> None:
    """Limit unacknowledged deliveries: of the channel if global, else of each consumer to come."""
    if method.prefetch_size:
        raise not_implemented(f"prefetch_size!=0 ({method.prefetch_size})")
    if method.global_:
        channel.global_prefetch = method.prefetch_count
    else:
        channel.prefetch = method.prefetch_count
    channel.reply(Methods.QosOk())
    if method.global_:
        channel.resume()


def consume(channel: Channel, method: Methods.Consume) -> None:
    """Start a consumer."""
    tag = method.consumer_tag or invented_name("amq.ctag-")
    if tag in channel.consumers or (channel.reply_address and tag == channel.reply_tag):
        raise not_allowed(f"attempt to reuse consumer tag '{tag}'")
    if method.queue == PSEUDO_QUEUE:
        _ask(channel, method, tag)
        return
    queue = _readable(channel, method.queue)
    priority = _priority(channel, queue, method.arguments)
    alone = method.exclusive and (queue.consumers or queue.settings.single_active_consumer)
    if queue.exclusive_consumer or alone:
        raise access_refused(f"{queue_title(channel, queue.name)} in exclusive use")
    consumer = Consumer(
        tag=tag,
        queue=queue,
        outlet=channel,
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        prefetch=channel.prefetch,
        priority=priority,
    )
    consumer.start = _DELIVER + short_string(tag)
    channel.consumers[tag] = consumer
    touch(channel, queue)
    if not method.nowait:
        channel.reply(Methods.ConsumeOk(tag))
    queue.add_consumer(consumer)
    queue.drain()


def _readable(channel: Channel, name: str) -> Queue:
    """A queue that the user may take messages from."""
    name = queue_name(channel, name)
    channel.link.rights.require(READ, QUEUE, name)
    return find_queue(channel, name)


def _priority(channel: Channel, queue: Queue, arguments: Any) -> int:
    value = arguments.get("x-priority", 0)
    if not is_integer(value):
        raise precondition_failed(
            f"invalid arg 'x-priority' for {queue_title(channel, queue.name)}: "
            f'"expected integer, got {tables.kinds(arguments.raw)["x-priority"]}"'
        )
    return int(value)


def _ask(channel: Channel, method: Methods.Consume, tag: str) -> None:
    """Consume from the pseudo-queue of direct replies."""
    if channel.reply_address is not None:
        raise precondition_failed("reply consumer already set")
    if not method.no_ack:
        raise precondition_failed("reply consumer cannot acknowledge")
    channel.reply_address = channel.link.replies.enter(channel)
    channel.reply_tag = tag
    if not method.nowait:
        channel.reply(Methods.ConsumeOk(tag))


def touch(channel: Channel, queue: Queue) -> None:
    """Write down that messages may be delivered, before the first one is."""
    if queue.touch():
        channel.outbox.hold()


def cancel(channel: Channel, method: Methods.Cancel) -> None:
    """Stop a consumer; what it holds stays unacknowledged."""
    tag = str(method.consumer_tag)
    consumer = channel.consumers.pop(tag, None)
    if consumer is not None:
        consumer.queue.remove_consumer(consumer)
    elif channel.reply_address is not None and tag == channel.reply_tag:
        channel.link.replies.leave(channel.reply_address)
        channel.reply_address = None
    if not method.nowait:
        channel.reply(Methods.CancelOk(tag))


def get(channel: Channel, method: Methods.Get) -> None:
    """Deliver one message on request."""
    queue = _readable(channel, method.queue)
    entry = queue.take()
    if entry is None:
        channel.reply(Methods.GetEmpty())
        return
    touch(channel, queue)
    channel.get_ok(entry, no_ack=method.no_ack, remaining=len(queue))


def ack(channel: Channel, method: Methods.Ack) -> None:
    """Acknowledge one message, or all up to it."""
    entries = channel.collect(method.delivery_tag, multiple=method.multiple)
    if channel.transaction is not None:
        channel.transaction.settlements += entries
    else:
        channel.acknowledge(entries)


def nack(channel: Channel, method: Methods.Nack) -> None:
    """Refuse one message, or all up to it."""
    _refuse(channel, channel.collect(method.delivery_tag, multiple=method.multiple), requeue=method.requeue)


def reject(channel: Channel, method: Methods.Reject) -> None:
    """Refuse one message."""
    _refuse(channel, channel.collect(int(method.delivery_tag or 0), multiple=False), requeue=method.requeue)


def _refuse(channel: Channel, entries: list[Entry], *, requeue: bool) -> None:
    if channel.transaction is not None:
        (channel.transaction.requeues if requeue else channel.transaction.rejections).extend(entries)
    elif requeue:
        channel.requeue(entries)
    else:
        channel.reject(entries)


def recover(channel: Channel, method: Methods.Recover) -> None:
    """Put everything unacknowledged back; the answer comes before what is delivered again."""
    _require_requeue(requeue=method.requeue)
    channel.reply(Methods.RecoverOk())
    channel.requeue(channel.collect(0, multiple=True))


def recover_async(channel: Channel, method: Methods.RecoverAsync) -> None:
    """The same, without an answer."""
    _require_requeue(requeue=method.requeue)
    channel.requeue(channel.collect(0, multiple=True))


def _require_requeue(*, requeue: bool) -> None:
    if not requeue:
        raise not_implemented("requeue=false")


def fast_ack(channel: Channel, payload: bytes) -> None:
    """Acknowledge without building a method; the payload has class, method, tag and a bit."""
    tag, bits = struct.unpack_from(">QB", payload, 4)
    entries = channel.collect(tag, multiple=bool(bits & 1))
    if channel.transaction is not None:
        channel.transaction.settlements += entries
    else:
        channel.acknowledge(entries)
