"""Every method that belongs to a channel, with RabbitMQ's extensions."""

from pulpit.broker.method_codec import (
    Bit,
    Long,
    LongLong,
    LongString,
    Method,
    Short,
    ShortString,
    Table,
    declared,
)


@declared(20, 10)
class ChannelOpen(Method):
    reserved: ShortString


@declared(20, 11)
class ChannelOpenOk(Method):
    reserved: LongString


@declared(20, 20)
class ChannelFlow(Method):
    active: Bit


@declared(20, 21)
class ChannelFlowOk(Method):
    active: Bit


@declared(20, 40)
class ChannelClose(Method):
    reply_code: Short
    reply_text: ShortString
    class_id: Short
    method_id: Short


@declared(20, 41)
class ChannelCloseOk(Method):
    pass


@declared(30, 10)
class AccessRequest(Method):
    """Of AMQP 0-8: clients of that time ask for leave to use a realm before they do anything else."""

    realm: ShortString
    exclusive: Bit
    passive: Bit
    active: Bit
    write: Bit
    read: Bit


@declared(30, 11)
class AccessRequestOk(Method):
    ticket: Short


@declared(40, 10)
class ExchangeDeclare(Method):
    reserved: Short
    exchange: ShortString
    exchange_type: ShortString
    passive: Bit
    durable: Bit
    auto_delete: Bit
    internal: Bit
    nowait: Bit
    arguments: Table


@declared(40, 11)
class ExchangeDeclareOk(Method):
    pass


@declared(40, 20)
class ExchangeDelete(Method):
    reserved: Short
    exchange: ShortString
    if_unused: Bit
    nowait: Bit


@declared(40, 21)
class ExchangeDeleteOk(Method):
    pass


@declared(40, 30)
class ExchangeBind(Method):
    reserved: Short
    destination: ShortString
    source: ShortString
    routing_key: ShortString
    nowait: Bit
    arguments: Table


@declared(40, 31)
class ExchangeBindOk(Method):
    pass


@declared(40, 40)
class ExchangeUnbind(Method):
    reserved: Short
    destination: ShortString
    source: ShortString
    routing_key: ShortString
    nowait: Bit
    arguments: Table


@declared(40, 51)
class ExchangeUnbindOk(Method):
    pass


@declared(50, 10)
class QueueDeclare(Method):
    reserved: Short
    queue: ShortString
    passive: Bit
    durable: Bit
    exclusive: Bit
    auto_delete: Bit
    nowait: Bit
    arguments: Table


@declared(50, 11)
class QueueDeclareOk(Method):
    queue: ShortString
    message_count: Long
    consumer_count: Long


@declared(50, 20)
class QueueBind(Method):
    reserved: Short
    queue: ShortString
    exchange: ShortString
    routing_key: ShortString
    nowait: Bit
    arguments: Table


@declared(50, 21)
class QueueBindOk(Method):
    pass


@declared(50, 30)
class QueuePurge(Method):
    reserved: Short
    queue: ShortString
    nowait: Bit


@declared(50, 31)
class QueuePurgeOk(Method):
    message_count: Long


@declared(50, 40)
class QueueDelete(Method):
    reserved: Short
    queue: ShortString
    if_unused: Bit
    if_empty: Bit
    nowait: Bit


@declared(50, 41)
class QueueDeleteOk(Method):
    message_count: Long


@declared(50, 50)
class QueueUnbind(Method):
    reserved: Short
    queue: ShortString
    exchange: ShortString
    routing_key: ShortString
    arguments: Table


@declared(50, 51)
class QueueUnbindOk(Method):
    pass


@declared(60, 10)
class BasicQos(Method):
    prefetch_size: Long
    prefetch_count: Short
    is_global: Bit


@declared(60, 11)
class BasicQosOk(Method):
    pass


@declared(60, 20)
class BasicConsume(Method):
    reserved: Short
    queue: ShortString
    consumer_tag: ShortString
    no_local: Bit
    no_ack: Bit
    exclusive: Bit
    nowait: Bit
    arguments: Table


@declared(60, 21)
class BasicConsumeOk(Method):
    consumer_tag: ShortString


@declared(60, 30)
class BasicCancel(Method):
    consumer_tag: ShortString
    nowait: Bit


@declared(60, 31)
class BasicCancelOk(Method):
    consumer_tag: ShortString


@declared(60, 40)
class BasicPublish(Method):
    reserved: Short
    exchange: ShortString
    routing_key: ShortString
    mandatory: Bit
    immediate: Bit


@declared(60, 50)
class BasicReturn(Method):
    reply_code: Short
    reply_text: ShortString
    exchange: ShortString
    routing_key: ShortString


@declared(60, 60)
class BasicDeliver(Method):
    consumer_tag: ShortString
    delivery_tag: LongLong
    redelivered: Bit
    exchange: ShortString
    routing_key: ShortString


@declared(60, 70)
class BasicGet(Method):
    reserved: Short
    queue: ShortString
    no_ack: Bit


@declared(60, 71)
class BasicGetOk(Method):
    delivery_tag: LongLong
    redelivered: Bit
    exchange: ShortString
    routing_key: ShortString
    message_count: Long


@declared(60, 72)
class BasicGetEmpty(Method):
    reserved: ShortString


@declared(60, 80)
class BasicAck(Method):
    delivery_tag: LongLong
    multiple: Bit


@declared(60, 90)
class BasicReject(Method):
    delivery_tag: LongLong
    requeue: Bit


@declared(60, 100)
class BasicRecoverAsync(Method):
    requeue: Bit


@declared(60, 110)
class BasicRecover(Method):
    requeue: Bit


@declared(60, 111)
class BasicRecoverOk(Method):
    pass


@declared(60, 120)
class BasicNack(Method):
    delivery_tag: LongLong
    multiple: Bit
    requeue: Bit


@declared(85, 10)
class ConfirmSelect(Method):
    nowait: Bit


@declared(85, 11)
class ConfirmSelectOk(Method):
    pass


@declared(90, 10)
class TxSelect(Method):
    pass


@declared(90, 11)
class TxSelectOk(Method):
    pass


@declared(90, 20)
class TxCommit(Method):
    pass


@declared(90, 21)
class TxCommitOk(Method):
    pass


@declared(90, 30)
class TxRollback(Method):
    pass


@declared(90, 31)
class TxRollbackOk(Method):
    pass
