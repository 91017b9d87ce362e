"""basic.*: qos, consume, cancel, get, ack, nack, reject, recover; and the modes of a channel: flow, confirm.*, tx.*."""

import struct

from pulpit.amqp.amqp091 import tables
from pulpit.broker import methods
from pulpit.broker.channel import Channel, ChannelTransaction
from pulpit.broker.handlers.lookup import find_queue, invented_name, queue_name, queue_title
from pulpit.broker.method_codec import Arguments, head, short_string
from pulpit.broker.permissions import QUEUE, READ
from pulpit.broker.publishing import PSEUDO_QUEUE, Confirms
from pulpit.broker.queue import Consumer, Entry, Queue
from pulpit.broker.queue_arguments import UNFIT_FOR_CONSUMERS, is_integer
from pulpit.broker.refusals import access_refused, not_allowed, not_implemented, precondition_failed

_DELIVER = head(methods.BasicDeliver)
_TAG = struct.Struct(">QB")


def access_request(channel: Channel, method: methods.AccessRequest) -> None:  # noqa: ARG001 - the table's
    """Grant every request: permissions are checked at each use; the ticket is always 1 and is ignored."""
    channel.reply(methods.AccessRequestOk(1))


def qos(channel: Channel, method: methods.BasicQos) -> None:
    """Limit unacknowledged deliveries: of the channel if global, else of each future consumer."""
    if method.prefetch_size:
        raise not_implemented(f"prefetch_size!=0 ({method.prefetch_size})")
    if method.is_global:
        channel.global_prefetch = method.prefetch_count
    else:
        channel.prefetch = method.prefetch_count
    channel.reply(methods.BasicQosOk())
    if method.is_global:
        channel.resume()


def consume(channel: Channel, method: methods.BasicConsume) -> None:
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
        deliver=channel.deliver,
        has_room=channel.has_room,
        cancelled=channel.cancelled,
        start=_DELIVER + short_string(tag),
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        prefetch=channel.prefetch,
        priority=priority,
    )
    touch(channel, queue)
    if not method.nowait:
        channel.reply(methods.BasicConsumeOk(tag))
    channel.add_consumer(consumer)


def _readable(channel: Channel, name: str) -> Queue:
    """Return a queue from which the user may consume."""
    name = queue_name(channel, name)
    channel.session.rights.require(READ, QUEUE, name)
    return find_queue(channel, name)


def _priority(channel: Channel, queue: Queue, arguments: Arguments) -> int:
    """Return the priority of a consumer, if its arguments fit the queue."""
    type_ = queue.settings.type
    for name in UNFIT_FOR_CONSUMERS[type_]:
        if name in arguments:
            title = queue_title(channel, queue.name)
            raise precondition_failed(f"invalid arg '{name}' for {title} of queue type rabbit_{type_}_queue")
    value = arguments.get("x-priority", 0)
    if not is_integer(value):
        raise precondition_failed(
            f"invalid arg 'x-priority' for {queue_title(channel, queue.name)}: "
            f'"expected integer, got {tables.kinds(arguments.raw)["x-priority"]}"'
        )
    return int(value)


def _ask(channel: Channel, method: methods.BasicConsume, tag: str) -> None:
    """Consume from the pseudo-queue of direct replies."""
    if channel.reply_address is not None:
        raise precondition_failed("reply consumer already set")
    if not method.no_ack:
        raise precondition_failed("reply consumer cannot acknowledge")
    channel.reply_address = channel.session.replies.enter(channel.deliver_reply)
    channel.reply_tag = tag
    if not method.nowait:
        channel.reply(methods.BasicConsumeOk(tag))


def touch(channel: Channel, queue: Queue) -> None:
    """Record that messages may be delivered, before the first one is."""
    if queue.touch():
        channel.outbox.hold()


def cancel(channel: Channel, method: methods.BasicCancel) -> None:
    """Stop a consumer; its deliveries stay unacknowledged."""
    tag = method.consumer_tag
    if not channel.remove_consumer(tag) and channel.reply_address is not None and tag == channel.reply_tag:
        channel.session.replies.leave(channel.reply_address)
        channel.reply_address = None
    if not method.nowait:
        channel.reply(methods.BasicCancelOk(tag))


def get(channel: Channel, method: methods.BasicGet) -> None:
    """Deliver one message on request."""
    queue = _readable(channel, method.queue)
    entry = queue.take()
    if entry is None:
        channel.reply(methods.BasicGetEmpty(""))
        return
    touch(channel, queue)
    channel.get_ok(entry, no_ack=method.no_ack, remaining=len(queue))


def ack(channel: Channel, method: methods.BasicAck) -> None:
    """Acknowledge one message, or all up to it."""
    entries = channel.collect(method.delivery_tag, multiple=method.multiple)
    if channel.transaction is not None:
        channel.transaction.settlements += entries
    else:
        channel.acknowledge(entries)


def nack(channel: Channel, method: methods.BasicNack) -> None:
    """Reject one message, or all up to it."""
    _refuse(channel, channel.collect(method.delivery_tag, multiple=method.multiple), requeue=method.requeue)


def reject(channel: Channel, method: methods.BasicReject) -> None:
    _refuse(channel, channel.collect(method.delivery_tag, multiple=False), requeue=method.requeue)


def _refuse(channel: Channel, entries: list[Entry], *, requeue: bool) -> None:
    if channel.transaction is not None:
        (channel.transaction.requeues if requeue else channel.transaction.rejections).extend(entries)
    elif requeue:
        channel.requeue(entries)
    else:
        channel.reject_in_turns(entries)


def recover(channel: Channel, method: methods.BasicRecover) -> None:
    """Requeue everything unacknowledged; recover-ok precedes the redeliveries."""
    _require_requeue(requeue=method.requeue)
    channel.reply(methods.BasicRecoverOk())
    channel.requeue(channel.collect(0, multiple=True))


def recover_async(channel: Channel, method: methods.BasicRecoverAsync) -> None:
    """The same, without a reply."""
    _require_requeue(requeue=method.requeue)
    channel.requeue(channel.collect(0, multiple=True))


def _require_requeue(*, requeue: bool) -> None:
    if not requeue:
        raise not_implemented("requeue=false")


def fast_ack(channel: Channel, payload: bytes) -> None:
    """Acknowledge without building a method object; the payload has class, method, tag and a bit."""
    tag, bits = _TAG.unpack_from(payload, 4)
    if bits & 1 or channel.transaction is not None:
        ack(channel, methods.BasicAck(tag, bool(bits & 1)))
    else:
        channel.acknowledge_one(tag)


# -- the modes of a channel


def flow(channel: Channel, method: methods.ChannelFlow) -> None:
    """RabbitMQ does not support pausing deliveries this way, and neither does this broker; use prefetch."""
    if not method.active:
        raise not_implemented("active=false")
    channel.reply(methods.ChannelFlowOk(True))


def flow_ok(channel: Channel, method: methods.ChannelFlowOk) -> None:
    """Ignore the reply to a request that is never sent."""


def confirm_select(channel: Channel, method: methods.ConfirmSelect) -> None:
    """Confirm every publish from now on."""
    if channel.transaction is not None:
        raise precondition_failed("cannot switch from tx to confirm mode")
    if channel.confirms is None:
        channel.confirms = Confirms(say=channel.say, soon=channel.outbox.soon)
    if not method.nowait:
        channel.reply(methods.ConfirmSelectOk())


def tx_select(channel: Channel, _method: methods.TxSelect) -> None:
    """Collect publishes and acknowledgements from now on."""
    if channel.confirms is not None:
        raise precondition_failed("cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = ChannelTransaction()
    channel.reply(methods.TxSelectOk())


def tx_commit(channel: Channel, _method: methods.TxCommit) -> None:
    """Apply what was collected; the reply waits for the disk."""
    transaction = _transaction(channel)
    channel.transaction = ChannelTransaction()
    for publish, message, exchange in transaction.publishes:
        channel.publish(publish, message, exchange)
    channel.acknowledge(transaction.settlements)
    channel.reject(transaction.rejections)
    channel.requeue(transaction.requeues)
    channel.outbox.hold()
    channel.reply(methods.TxCommitOk())


def tx_rollback(channel: Channel, _method: methods.TxRollback) -> None:
    """Drop the publishes; acknowledged messages are unacknowledged again."""
    transaction = _transaction(channel)
    channel.transaction = ChannelTransaction()
    channel.hold_again(transaction.settlements + transaction.rejections + transaction.requeues)
    channel.reply(methods.TxRollbackOk())


def _transaction(channel: Channel) -> ChannelTransaction:
    if channel.transaction is None:
        raise precondition_failed("channel is not transactional")
    return channel.transaction
