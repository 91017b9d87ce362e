"""Every method that a client may send on an open channel, and what happens then."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pamqp import commands
from pamqp.base import Frame

from pulpit.broker.channel import Channel
from pulpit.broker.handlers import basic, channel, exchange, queue

HANDLERS: Final[Mapping[type[Frame], Callable[[Channel, Any], None]]] = {
    commands.Channel.Flow: channel.flow,
    commands.Channel.FlowOk: channel.flow_ok,
    commands.Exchange.Declare: exchange.declare,
    commands.Exchange.Delete: exchange.delete,
    commands.Exchange.Bind: exchange.bind,
    commands.Exchange.Unbind: exchange.unbind,
    commands.Queue.Declare: queue.declare,
    commands.Queue.Bind: queue.bind,
    commands.Queue.Unbind: queue.unbind,
    commands.Queue.Purge: queue.purge,
    commands.Queue.Delete: queue.delete,
    commands.Basic.Qos: basic.qos,
    commands.Basic.Consume: basic.consume,
    commands.Basic.Cancel: basic.cancel,
    commands.Basic.Get: basic.get,
    commands.Basic.Ack: basic.ack,
    commands.Basic.Nack: basic.nack,
    commands.Basic.Reject: basic.reject,
    commands.Basic.Recover: basic.recover,
    commands.Basic.RecoverAsync: basic.recover_async,
    commands.Confirm.Select: channel.confirm_select,
    commands.Tx.Select: channel.tx_select,
    commands.Tx.Commit: channel.tx_commit,
    commands.Tx.Rollback: channel.tx_rollback,
}
