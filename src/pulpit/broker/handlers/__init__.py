"""Handlers for every method that a client may send on an open channel."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pulpit.broker import methods
from pulpit.broker.channel import Channel
from pulpit.broker.handlers import basic, exchange, queue
from pulpit.broker.method_codec import Method

HANDLERS: Final[Mapping[type[Method], Callable[[Channel, Any], None]]] = {
    methods.ChannelFlow: basic.flow,
    methods.ChannelFlowOk: basic.flow_ok,
    methods.AccessRequest: basic.access_request,
    methods.ExchangeDeclare: exchange.declare,
    methods.ExchangeDelete: exchange.delete,
    methods.ExchangeBind: exchange.bind,
    methods.ExchangeUnbind: exchange.unbind,
    methods.QueueDeclare: queue.declare,
    methods.QueueBind: queue.bind,
    methods.QueueUnbind: queue.unbind,
    methods.QueuePurge: queue.purge,
    methods.QueueDelete: queue.delete,
    methods.BasicQos: basic.qos,
    methods.BasicConsume: basic.consume,
    methods.BasicCancel: basic.cancel,
    methods.BasicGet: basic.get,
    methods.BasicAck: basic.ack,
    methods.BasicNack: basic.nack,
    methods.BasicReject: basic.reject,
    methods.BasicRecover: basic.recover,
    methods.BasicRecoverAsync: basic.recover_async,
    methods.ConfirmSelect: basic.confirm_select,
    methods.TxSelect: basic.tx_select,
    methods.TxCommit: basic.tx_commit,
    methods.TxRollback: basic.tx_rollback,
}
