"""exchange.*: declare, delete, bind, unbind."""

from typing import Final

from pulpit.amqp.amqp091 import tables
from pulpit.broker import methods
from pulpit.broker.channel import Channel
from pulpit.broker.exchanges import KINDS, Exchange
from pulpit.broker.handlers.lookup import (
    RESERVED,
    exchange_title,
    find_exchange,
    refuse_default,
    refuse_reserved,
    require_binding,
    require_same,
    require_same_arguments,
)
from pulpit.broker.method_codec import Arguments
from pulpit.broker.permissions import CONFIGURE, EXCHANGE, READ, WRITE
from pulpit.broker.refusals import access_refused, command_invalid, precondition_failed

ALTERNATE: Final = "alternate-exchange"


def declare(channel: Channel, method: methods.ExchangeDeclare) -> None:
    """Declare an exchange, or check that it matches."""
    name = _clean(method.exchange)
    refuse_default(name)
    if method.passive:
        find_exchange(channel, name)
    else:
        _declare_actively(channel, name, method)
    if not method.nowait:
        channel.reply(methods.ExchangeDeclareOk())


def _declare_actively(channel: Channel, name: str, method: methods.ExchangeDeclare) -> None:
    if method.exchange_type not in KINDS:
        raise command_invalid(f"unknown exchange type '{method.exchange_type}'")
    channel.session.rights.require(CONFIGURE, EXCHANGE, name)
    existing = channel.host.exchanges.get(name)
    if existing is not None:
        _require_equivalent(channel, existing, method)
        return
    refuse_reserved("exchange", name)
    arguments = method.arguments
    alternate = _alternate(channel, name, arguments)
    exchange = Exchange(
        name=name,
        type=method.exchange_type,
        durable=method.durable,
        auto_delete=method.auto_delete,
        internal=method.internal,
        arguments=arguments.raw,
        alternate=alternate,
    )
    channel.host.add_exchange(exchange)
    if exchange.durable:
        channel.outbox.hold()


def _alternate(channel: Channel, name: str, arguments: Arguments) -> str | None:
    alternate = arguments.get(ALTERNATE)
    if alternate is not None and not isinstance(alternate, str):
        kind = tables.kinds(arguments.raw)[ALTERNATE]
        raise precondition_failed(f"invalid type '{kind}' for arg '{ALTERNATE}' in {exchange_title(channel, name)}")
    if alternate is not None:
        channel.session.rights.require(READ, EXCHANGE, name)
        channel.session.rights.require(WRITE, EXCHANGE, alternate)
    return alternate


def _require_equivalent(channel: Channel, existing: Exchange, method: methods.ExchangeDeclare) -> None:
    title = exchange_title(channel, existing.name)
    require_same(title, "type", method.exchange_type, existing.type)
    require_same(title, "durable", method.durable, existing.durable)
    require_same(title, "auto_delete", method.auto_delete, existing.auto_delete)
    require_same(title, "internal", method.internal, existing.internal)
    require_same_arguments(title, (ALTERNATE,), method.arguments.raw, existing.arguments)


def delete(channel: Channel, method: methods.ExchangeDelete) -> None:
    """Delete an exchange; a missing one counts as deleted."""
    name = _clean(method.exchange)
    refuse_default(name)
    if name.startswith(RESERVED):
        raise access_refused(f"deletion of system {exchange_title(channel, name)} not allowed")
    channel.session.rights.require(CONFIGURE, EXCHANGE, name)
    exchange = channel.host.exchanges.get(name)
    if exchange is not None:
        if method.if_unused and exchange.bindings:
            raise precondition_failed(f"{exchange_title(channel, name)} in use")
        channel.host.drop_exchange(exchange)
        if exchange.durable:
            channel.outbox.hold()
    if not method.nowait:
        channel.reply(methods.ExchangeDeleteOk())


def bind(channel: Channel, method: methods.ExchangeBind) -> None:
    require_binding(channel, EXCHANGE, method.destination, method.source, method.routing_key)
    source = find_exchange(channel, method.source)
    destination = find_exchange(channel, method.destination)
    arguments = method.arguments
    problem = source.kind.check(arguments)
    if problem is not None:
        raise problem
    key = (True, destination.name, method.routing_key, arguments.raw)
    if channel.host.bind(source, key, destination, arguments):
        channel.outbox.hold()
    if not method.nowait:
        channel.reply(methods.ExchangeBindOk())


def unbind(channel: Channel, method: methods.ExchangeUnbind) -> None:
    """Remove such a binding; a missing one counts as removed."""
    require_binding(channel, EXCHANGE, method.destination, method.source, method.routing_key)
    source = channel.host.exchanges.get(method.source)
    if source is not None:
        channel.host.unbind(source, (True, method.destination, method.routing_key, method.arguments.raw))
        channel.outbox.hold()
    if not method.nowait:
        channel.reply(methods.ExchangeUnbindOk())


def _clean(name: str) -> str:
    """RabbitMQ drops line ends from names."""
    return name.replace("\r", "").replace("\n", "")
