"""channel.flow, confirm.* and tx.*: the modes of a channel."""

from pamqp import commands

from pulpit.broker.channel import Channel, Transaction
from pulpit.broker.confirms import Confirms
from pulpit.broker.refusals import not_implemented, precondition_failed


def flow(channel: Channel, method: commands.Channel.Flow) -> None:
    """RabbitMQ refuses to stop deliveries this way, and so does this broker; prefetch does it better."""
    if not method.active:
        raise not_implemented("active=false")
    channel.reply(commands.Channel.FlowOk(True))


def flow_ok(channel: Channel, method: commands.Channel.FlowOk) -> None:
    """An answer to a question that is never asked."""


def confirm_select(channel: Channel, method: commands.Confirm.Select) -> None:
    """Confirm every publish from now on."""
    if channel.transaction is not None:
        raise precondition_failed("cannot switch from tx to confirm mode")
    if channel.confirms is None:
        channel.confirms = Confirms(say=channel.say, soon=channel.outbox.soon)
    if not method.nowait:
        channel.reply(commands.Confirm.SelectOk())


def tx_select(channel: Channel, _method: commands.Tx.Select) -> None:
    """Collect publishes and acknowledgements from now on."""
    if channel.confirms is not None:
        raise precondition_failed("cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction()
    channel.reply(commands.Tx.SelectOk())


def tx_commit(channel: Channel, _method: commands.Tx.Commit) -> None:
    """Do what was collected; the answer waits for the disk."""
    transaction = _transaction(channel)
    channel.transaction = Transaction()
    for publish, message, exchange in transaction.publishes:
        channel.publish(publish, message, exchange)
    channel.acknowledge(transaction.settlements)
    channel.reject(transaction.rejections)
    channel.requeue(transaction.requeues)
    channel.outbox.hold()
    channel.reply(commands.Tx.CommitOk())


def tx_rollback(channel: Channel, _method: commands.Tx.Rollback) -> None:
    """Forget the publishes; what was acknowledged is unacknowledged again."""
    transaction = _transaction(channel)
    channel.transaction = Transaction()
    channel.hold_again(transaction.settlements + transaction.rejections + transaction.requeues)
    channel.reply(commands.Tx.RollbackOk())


def _transaction(channel: Channel) -> Transaction:
    if channel.transaction is None:
        raise precondition_failed("channel is not transactional")
    return channel.transaction
