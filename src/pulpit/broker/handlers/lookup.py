"""Lookup of what a method names, and RabbitMQ's rules for names."""

import base64
import os
from collections.abc import Iterable
from typing import Final

from pulpit.amqp.amqp091 import tables
from pulpit.broker.channel import Channel
from pulpit.broker.exchanges import Exchange
from pulpit.broker.permissions import EXCHANGE, READ, WRITE
from pulpit.broker.queue import Queue
from pulpit.broker.refusals import ChannelRefusal, access_refused, not_found, precondition_failed, resource_locked

RESERVED: Final = "amq."
_UNNAMED_BYTES: Final = 16
_TEXTS: Final = (b"S", b"x")


def invented_name(prefix: str) -> str:
    """Return a unique name."""
    return prefix + base64.urlsafe_b64encode(os.urandom(_UNNAMED_BYTES)).rstrip(b"=").decode()


def queue_title(channel: Channel, name: str) -> str:
    return f"queue '{name}' in vhost '{channel.host.name}'"


def exchange_title(channel: Channel, name: str) -> str:
    return f"exchange '{name}' in vhost '{channel.host.name}'"


def queue_name(channel: Channel, name: str) -> str:
    """Return the queue name that a method means; empty is the queue that the channel declared last."""
    if name:
        return name
    if not channel.last_queue:
        raise not_found("no previously declared queue")
    return channel.last_queue


def find_queue(channel: Channel, name: str) -> Queue:
    """Return a queue that exists and is not exclusive to another connection."""
    name = queue_name(channel, name)
    queue = channel.host.queues.get(name)
    if queue is None:
        raise not_found(f"no {queue_title(channel, name)}")
    check_owner(channel, queue)
    return queue


def check_owner(channel: Channel, queue: Queue) -> None:
    """Reject the exclusive queue of another connection."""
    if queue.owner is not None and queue.owner is not channel.session:
        raise locked(channel, queue.name)


def locked(channel: Channel, name: str) -> ChannelRefusal:
    """Return the error for a queue that is exclusive elsewhere."""
    return resource_locked(
        f"cannot obtain exclusive access to locked {queue_title(channel, name)}. It could be originally declared on"
        " another connection or the exclusive property value does not match that of the original declaration."
    )


def require_binding(channel: Channel, kind: str, destination: str, source: str, key: str) -> None:
    """Check the permission to bind: write on the destination and read on the source.

    If the binding key does not decide what is passed on, a permission limited to keys does not suffice.
    """
    rights = channel.session.rights
    rights.require(WRITE, kind, destination)
    for name in (source, destination) if kind == EXCHANGE else (source,):
        refuse_default(name)
    exchange = channel.host.exchanges.get(source)
    decides = exchange is None or not exchange.kind.ignores_keys
    rights.require(READ, EXCHANGE, source, key if decides else None)


def find_exchange(channel: Channel, name: str) -> Exchange:
    exchange = channel.host.exchanges.get(name)
    if exchange is None:
        raise not_found(f"no {exchange_title(channel, name)}")
    return exchange


def refuse_default(name: str) -> None:
    """Reject every operation on the default exchange except publishing."""
    if not name:
        raise access_refused("operation not permitted on the default exchange")


def refuse_reserved(kind: str, name: str) -> None:
    if name.startswith(RESERVED):
        raise access_refused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def require_same(title: str, argument: str, received: bool | str, current: bool | str) -> None:
    """Reject a redeclaration that differs in a property."""
    if received != current:
        raise precondition_failed(
            f"inequivalent arg '{argument}' for {title}: received '{_word(received)}' but current is '{_word(current)}'"
        )


def require_same_arguments(title: str, names: Iterable[str], received: bytes, current: bytes) -> None:
    """Reject a redeclaration that differs in one of these arguments."""
    new, old = dict(tables.split(received)), dict(tables.split(current))
    for name in names:
        left, right = new.get(name.encode()), old.get(name.encode())
        if left != right and not _equal(left, right):
            sent, known = _described(left, beside=right), _described(right, beside=left)
            raise precondition_failed(f"inequivalent arg '{name}' for {title}: received {sent} but current is {known}")


def _equal(left: bytes | None, right: bytes | None) -> bool:
    """Compare values; numbers of any width are equal, and so are texts and the same bytes as binary."""
    if left is None or right is None:
        return left is right
    if left[:1] in _TEXTS and right[:1] in _TEXTS:
        return left[1:] == right[1:]
    first, second = tables.read_value(left), tables.read_value(right)
    return type(first) is type(second) and bool(first == second)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _described(raw: bytes | None, *, beside: bytes | None) -> str:
    """Describe a value as RabbitMQ does: with its type only if the other side has no such argument."""
    if raw is None:
        return "none"
    value = _word(tables.read_value(raw))
    return f"'{value}'" if beside is not None else f"the value '{value}' of type '{tables.TYPE_NAMES[raw[0]]}'"
