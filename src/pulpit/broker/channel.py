"""A channel: methods and content in, methods and content out.

The two hot paths, publishing and delivering, work on raw bytes; everything else goes through the handlers.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from pulpit.broker import methods
from pulpit.broker.exchanges import Exchange
from pulpit.broker.frames import FRAME_BODY, FRAME_END, FRAME_HEAD, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD, frame
from pulpit.broker.message import Message
from pulpit.broker.method_codec import Method, head, method_frame
from pulpit.broker.outbox import Outbox
from pulpit.broker.permissions import EXCHANGE, WRITE, Rights
from pulpit.broker.properties import Properties, read_properties
from pulpit.broker.publishing import (
    Budget,
    Confirms,
    ContentAssembler,
    DirectReplies,
    Publish,
    check_message,
    further_keys,
    hide_blind_copies,
    remember,
    replace_reply_to,
)
from pulpit.broker.queue import DEAD_AT_ONCE, WORTH_SHEDDING, Consumer, Entry, Queue
from pulpit.broker.queue_arguments import QUORUM
from pulpit.broker.refusals import access_refused, not_found, precondition_failed
from pulpit.broker.virtualhost import VirtualHost

_DELIVERY: Final = struct.Struct(">Q?")
_COUNT: Final = struct.Struct(">I")
_GET_OK: Final = head(methods.BasicGetOk)
_PROPERTIES_START: Final = 12


@dataclass(kw_only=True, slots=True, eq=False)
class ConnectionContext:
    """What a connection negotiated with its client, and what its channels share.

    `owned` are its exclusive queues, `publishing` says that the bytes being handled contain a publish.
    """

    host: VirtualHost
    outbox: Outbox
    replies: DirectReplies
    unfinished: Budget
    max_message_size: int
    max_queues: int
    frame_max: int
    channel_max: int
    heartbeat: int = 0
    user: str = ""
    rights: Rights
    client_properties: Mapping[str, object] = field(default_factory=dict)
    wants_cancel_notices: bool = False
    wants_blocked_notices: bool = False
    owned: dict[Queue, None] = field(default_factory=dict)
    publishing: bool = False
    published: int = 0
    delivered: int = 0


@dataclass(slots=True)
class ChannelTransaction:
    """What a transactional channel did since the last commit."""

    publishes: list[tuple[Publish, Message, Exchange]] = field(default_factory=list)
    settlements: list[Entry] = field(default_factory=list)
    rejections: list[Entry] = field(default_factory=list)
    requeues: list[Entry] = field(default_factory=list)


class Channel:
    """`unacknowledged` maps delivery tags to entries, ordered by tag."""

    def __init__(self, number: int, session: ConnectionContext) -> None:
        self.number: Final = number
        self.session: Final = session
        self.host: Final = session.host
        self.outbox: Final = session.outbox
        self.consumers: dict[str, Consumer] = {}
        self._turns: dict[Queue, None] = {}  # queues that it consumes from, the next one first
        self.unacknowledged: dict[int, Entry] = {}
        self.prefetch = 0  # of future consumers
        self.global_prefetch = 0
        self.held = 0  # deliveries that count against the global prefetch
        self.confirms: Confirms | None = None
        self.transaction: ChannelTransaction | None = None
        self.last_queue = ""
        self.reply_address: str | None = None
        self.reply_tag = ""
        self.closing = False
        self._next_tag = 1
        self.content: Final = ContentAssembler(session.max_message_size, session.unfinished)
        self._properties: dict[bytes, Properties] = {}

    # -- content in

    def take_message(self, payload: bytes, header: bytes, body: bytes) -> None:
        publish = self.content.whole(payload, len(body))
        if publish is not None:
            self._complete(publish, header, body)
        else:
            self.content.begin(payload)  # reports what is wrong, or the header does
            self.take_header(header)

    def take_header(self, payload: bytes) -> None:
        if self.content.take_header(payload):
            self._complete(*self.content.finish(), b"")

    def take_body(self, payload: bytes) -> None:
        """Handle a piece of a body; the last one completes the message."""
        body = self.content.take_body(payload)
        if body is not None:
            self._complete(*self.content.finish(), body)

    def _complete(self, publish: Publish, header: bytes, body: bytes) -> None:
        key = header[_PROPERTIES_START:]
        properties = self._properties.get(key)
        if properties is None:
            properties = read_properties(header)
            remember(self._properties, key, properties)
        message = Message(publish.exchange, publish.routing_key, publish.address, header, body, properties)
        session = self.session
        session.published += 1
        session.publishing = True
        exchange = self.host.exchanges.get(publish.exchange)
        if exchange is None or exchange is not publish.permitted or not properties.ordinary:
            exchange = publish.permitted = self._permitted(publish, message)
        if self.transaction is None:
            self.publish(publish, message, exchange)
        else:
            self.transaction.publishes.append((publish, message, exchange))

    def _permitted(self, publish: Publish, message: Message) -> Exchange:
        """Return the exchange of a publish, if it is allowed."""
        properties = message.properties
        for routing_key in (publish.routing_key, *further_keys(properties)):  # CC and BCC too
            self.session.rights.require(WRITE, EXCHANGE, publish.exchange, routing_key)
        exchange = self._exchange(publish.exchange)
        check_message(publish, properties, user=self.session.user)
        if properties.reply_to is not None:
            replace_reply_to(message, self.reply_address)
        return exchange

    def _exchange(self, name: str) -> Exchange:
        exchange = self.host.exchanges.get(name)
        if exchange is None:
            raise not_found(f"no exchange '{name}' in vhost '{self.host.name}'")
        if exchange.internal:
            raise access_refused(f"cannot publish to internal exchange '{name}' in vhost '{self.host.name}'")
        return exchange

    def publish(self, publish: Publish, message: Message, exchange: Exchange) -> None:
        """Route a message, return it if it is mandatory and unroutable, and confirm it when it is safe."""
        host, confirms = self.host, self.confirms
        if publish.is_reply and (reply := self.session.replies.find(publish.routing_key)) is not None:
            reply(message)
            if confirms is not None:
                confirms.confirm_next()
            return
        queues = host.route(exchange, message)
        if not queues and publish.mandatory:
            if confirms is not None:
                confirms.flush()  # in the order of the publishes
            method = methods.BasicReturn(312, "NO_ROUTE", message.exchange, message.routing_key)
            self.outbox.send(method_frame(self.number, method) + self._content_frames(message))
        properties = message.properties
        if properties.has_copies:
            hide_blind_copies(message)
        accepted = host.publish(message, queues)
        if confirms is None:
            return
        if not accepted:
            confirms.refuse(confirms.expect())
        elif properties.persistent and host.store.has_unwritten and any(queue.durable for queue in queues):
            host.store.confirm(confirms.confirm, confirms.expect())
        else:
            confirms.confirm_next()

    # -- content out

    def has_room(self) -> bool:
        """Whether consumers of this channel may get another message now.

        Consumers without acknowledgements do not count against the global prefetch, but wait too while it is reached.
        """
        return self.outbox.writable and not (self.global_prefetch and self.held >= self.global_prefetch)

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send basic.deliver with its content."""
        tag = self._next_tag
        self._next_tag = tag + 1
        message = entry.message
        if entry.returns and entry.queue.settings.type == QUORUM:
            message = message.counted(entry.returns)
        start, address, header, body = consumer.start, message.address, message.header, message.body
        pack, number, session = FRAME_HEAD.pack, self.number, self.session
        parts = [
            pack(FRAME_METHOD, number, len(start) + 9 + len(address)),
            start,
            _DELIVERY.pack(tag, entry.redelivered),
            address,
            FRAME_END,
            pack(FRAME_HEADER, number, len(header)),
            header,
            FRAME_END,
        ]
        if 0 < len(body) <= session.frame_max - FRAME_OVERHEAD:
            parts += (pack(FRAME_BODY, number, len(body)), body, FRAME_END)
        elif body:
            parts += self._body_frames(body)
        session.delivered += 1
        self.outbox.send(b"".join(parts))
        if consumer.no_ack:
            entry.queue.settle(entry)
        else:
            self.unacknowledged[tag] = entry
            entry.tag = tag
            entry.consumer = consumer
            consumer.unacknowledged += 1
            self.held += 1

    def deliver_reply(self, message: Message) -> None:
        """Deliver a direct reply to a request of this channel."""
        method = methods.BasicDeliver(self.reply_tag, self._next_tag, False, message.exchange, message.routing_key)
        self._next_tag += 1
        self.outbox.send(method_frame(self.number, method) + self._content_frames(message))

    def get_ok(self, entry: Entry, *, no_ack: bool, remaining: int) -> None:
        """Answer basic.get with a message."""
        tag = self._next_tag
        self._next_tag += 1
        message = entry.message
        if entry.queue.settings.type == QUORUM:
            message = message.counted(entry.returns)
        payload = _GET_OK + _DELIVERY.pack(tag, entry.redelivered) + message.address + _COUNT.pack(remaining)
        self.session.delivered += 1
        self.outbox.send(frame(FRAME_METHOD, self.number, payload) + self._content_frames(message))
        if no_ack:
            entry.queue.settle(entry)
        else:
            self.unacknowledged[tag] = entry
            entry.tag = tag
            entry.consumer = None

    def _content_frames(self, message: Message) -> bytes:
        return frame(FRAME_HEADER, self.number, message.header) + b"".join(self._body_frames(message.body))

    def _body_frames(self, body: bytes) -> list[bytes]:
        size = self.session.frame_max - FRAME_OVERHEAD
        return [frame(FRAME_BODY, self.number, body[at : at + size]) for at in range(0, len(body), size)]

    def reply(self, method: Method) -> None:
        """Send a method without content."""
        self.outbox.send(method_frame(self.number, method))

    def say(self, payload: bytes) -> None:
        """Send an encoded method."""
        if not self.closing:
            self.outbox.send(frame(FRAME_METHOD, self.number, payload))

    # -- acknowledgements

    def collect(self, tag: int, *, multiple: bool) -> list[Entry]:
        """Remove the entries of a delivery tag from the unacknowledged; the caller settles them."""
        held = self.unacknowledged
        if not multiple:
            entry = held.pop(tag, None)
            if entry is None:
                raise precondition_failed(f"unknown delivery tag {tag}")
            self._release(entry)
            return [entry]
        if tag and tag not in held:
            raise precondition_failed(f"unknown delivery tag {tag}")
        tags = list(takewhile(lambda held_tag: held_tag <= tag, held)) if tag else list(held)
        entries = [held.pop(held_tag) for held_tag in tags]
        for entry in entries:
            self._release(entry)
        return entries

    def _release(self, entry: Entry) -> None:
        if entry.consumer is not None:
            entry.consumer.unacknowledged -= 1
            if not entry.shed and entry.size >= WORTH_SHEDDING:
                entry.consumer.unacknowledged_bytes -= entry.size
            self.held -= 1

    def hold_again(self, entries: Iterable[Entry]) -> None:
        """Undo `collect`; the entries keep their delivery tags."""
        for entry in entries:
            self.unacknowledged[entry.tag] = entry
            if entry.consumer is not None:
                entry.consumer.unacknowledged += 1
                if not entry.shed and entry.size >= WORTH_SHEDDING:
                    entry.consumer.unacknowledged_bytes += entry.size
                self.held += 1
        self.unacknowledged = dict(sorted(self.unacknowledged.items()))

    def acknowledge_one(self, tag: int) -> None:
        """Settle what a tag stands for: `collect` and `acknowledge` in one, because most are of one message."""
        entry = self.unacknowledged.pop(tag, None)
        if entry is None:
            raise precondition_failed(f"unknown delivery tag {tag}")
        self._release(entry)
        entry.queue.settle(entry)
        if self.global_prefetch:
            self.resume()
        else:
            entry.queue.drain()

    def acknowledge(self, entries: Iterable[Entry]) -> None:
        queues = set()
        for entry in entries:
            entry.queue.settle(entry)
            queues.add(entry.queue)
        self._drain(queues)

    def reject(self, entries: Iterable[Entry]) -> None:
        """Dead-letter entries."""
        queues = set()
        for entry in entries:
            entry.queue.reject(entry)
            queues.add(entry.queue)
        self._drain(queues)

    def reject_in_turns(self, entries: Sequence[Entry]) -> None:
        """Dead-letter entries, some in each turn of the loop."""
        self.reject(entries[:DEAD_AT_ONCE])
        if rest := entries[DEAD_AT_ONCE:]:
            rest[0].queue.timers.after(0, lambda: self.reject_in_turns(rest))

    def requeue(self, entries: Iterable[Entry]) -> None:
        by_queue: dict[Queue, list[Entry]] = {}
        for entry in entries:
            by_queue.setdefault(entry.queue, []).append(entry)
        for queue, members in by_queue.items():
            queue.give_back(members)
        self._drain(())

    def _drain(self, queues: Iterable[Queue]) -> None:
        if self.global_prefetch:
            self.resume()
            return
        for queue in queues:
            queue.drain()

    def resume(self) -> None:
        """Deliver again to all consumers after a pause: one message from each queue in turn."""
        if len(self._turns) == 1:
            next(iter(self._turns)).drain()
            return
        while self.deliver_next():
            pass

    def deliver_next(self) -> bool:
        """Deliver one message from the queue whose turn it is; False if there is none to deliver."""
        turns = self._turns
        for _ in range(len(turns)):
            if not self.has_room():
                return False
            queue = next(iter(turns))
            turns[queue] = turns.pop(queue)
            if queue.deliver_next():
                return True
        return False

    # -- consumers and the end

    def add_consumer(self, consumer: Consumer) -> None:
        self.consumers[consumer.tag] = consumer
        self._turns[consumer.queue] = None
        consumer.queue.add_consumer(consumer)
        consumer.queue.drain()

    def remove_consumer(self, tag: str) -> bool:
        """Remove a consumer; its deliveries stay unacknowledged. False if there is none."""
        consumer = self.consumers.pop(tag, None)
        if consumer is None:
            return False
        self._forget_turn(consumer.queue)
        consumer.queue.remove_consumer(consumer)
        return True

    def _forget_turn(self, queue: Queue) -> None:
        if not any(consumer.queue is queue for consumer in self.consumers.values()):
            self._turns.pop(queue, None)

    def cancelled(self, consumer: Consumer) -> None:
        """Handle the deletion of a consumer's queue; the client that deletes it first gets its delete-ok."""
        self.consumers.pop(consumer.tag, None)
        self._forget_turn(consumer.queue)
        if self.session.wants_cancel_notices:
            self.outbox.soon(lambda: None if self.closing else self.reply(methods.BasicCancel(consumer.tag, True)))

    def close(self) -> None:
        """Close: consumers first, so that they get nothing back, then requeue the unacknowledged."""
        self.closing = True
        self.content.forget()
        if self.reply_address is not None:
            self.session.replies.leave(self.reply_address)
        consumers, self.consumers = self.consumers, {}
        self._turns.clear()
        for consumer in consumers.values():
            consumer.queue.remove_consumer(consumer)
        entries = list(self.unacknowledged.values())
        if self.transaction is not None:
            entries += self.transaction.settlements + self.transaction.rejections + self.transaction.requeues
            self.transaction = None
        self.unacknowledged = {}
        self.requeue(entries)
