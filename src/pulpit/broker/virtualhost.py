"""A virtual host: exchanges, queues and bindings by name, and routing between them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from pulpit.broker import schema
from pulpit.broker.dead_letters import DeathReason, dead_letter, is_cycle
from pulpit.broker.exchanges import BindingKey, Destination, Exchange
from pulpit.broker.message import Message
from pulpit.broker.publishing import further_keys
from pulpit.broker.queue import Entry, Queue
from pulpit.broker.queue_arguments import QueueSettings
from pulpit.broker.resources import Timers
from pulpit.broker.store import Store

MAX_ROUTES: Final = 20_000
"""Results of `route` that are cached until a binding changes."""
NO_HEADERS: Final[Mapping[str, object]] = {}

BUILT_IN: Final = (
    ("amq.direct", "direct"),
    ("amq.fanout", "fanout"),
    ("amq.headers", "headers"),
    ("amq.match", "headers"),
    ("amq.rabbitmq.trace", "topic"),
    ("amq.topic", "topic"),
)


class VirtualHost:
    """Everything declared here; names are unique within a virtual host."""

    def __init__(self, *, name: str, store: Store, timers: Timers) -> None:
        self.name: Final = name
        self.store: Final = store
        self.timers: Final = timers
        self.exchanges: dict[str, Exchange] = {
            name: Exchange(name=name, type=kind, internal=name == "amq.rabbitmq.trace") for name, kind in BUILT_IN
        }
        self.default: Final = Exchange(name="", type="direct")
        self.exchanges[""] = self.default
        self.queues: dict[str, Queue] = {}
        self.inbound: dict[Destination, dict[tuple[str, BindingKey], None]] = {}  # bindings by destination
        self._routes: dict[tuple[str, str], tuple[Queue, ...]] = {}

    # -- routing

    def route(self, exchange: Exchange, message: Message) -> tuple[Queue, ...]:
        """Return the queues that a message goes to, each once."""
        found = self._routes.get((exchange.name, message.routing_key))
        if found is not None and not message.properties.has_copies:
            return found
        headers = message.properties.headers
        keys = [message.routing_key]
        keys += further_keys(message.properties)
        return self.route_keys(exchange, keys, headers)

    def route_keys(
        self, exchange: Exchange, keys: list[str], headers: Callable[[], Mapping[str, object]]
    ) -> tuple[Queue, ...]:
        """Return the queues for a message with these keys, each once."""
        queues: dict[Queue, None] = {}
        seen = {exchange.name}
        waiting = [exchange]
        by_headers = False
        while waiting:
            here = waiting.pop()
            by_headers = by_headers or here.kind.by_headers
            for found in self._step(here, keys, headers):
                if isinstance(found, Queue):
                    queues[found] = None
                elif found.name not in seen:
                    seen.add(found.name)
                    waiting.append(found)
        answer = tuple(queues)
        if len(keys) == 1 and not by_headers:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[exchange.name, keys[0]] = answer
        return answer

    def _step(
        self, exchange: Exchange, keys: list[str], headers: Callable[[], Mapping[str, object]]
    ) -> Iterable[Queue | Exchange]:
        """Return where one exchange sends a message: its matching bindings, or without any its alternate exchange."""
        if exchange is self.default:
            return [self.queues[key] for key in keys if key in self.queues]
        sent = headers() if exchange.kind.by_headers else NO_HEADERS
        found = [destination for key in keys for destination in exchange.kind.match(key, sent)]
        if not found and exchange.alternate is not None and exchange.alternate in self.exchanges:
            return [self.exchanges[exchange.alternate]]
        return found

    def publish(self, message: Message, queues: tuple[Queue, ...]) -> bool:
        """Add the message to the queues; False if one of them rejected it."""
        if len(queues) == 1:
            return queues[0].push(message)
        if queues:
            message.fanout = len(queues)
            message.id = self.store.next_id()
        accepted = True
        for queue in queues:
            accepted = queue.push(message) and accepted
        return accepted

    def dead_letter(self, queue: Queue, entry: Entry, reason: DeathReason) -> None:
        """Publish a dead message to the queue's dead-letter exchange, if there is one."""
        settings = queue.settings
        exchange = self.exchanges.get(settings.dead_letter_exchange or "")
        if settings.dead_letter_exchange is None or exchange is None:
            return
        message, keys = dead_letter(
            entry.message,
            queue=queue.name,
            reason=reason,
            exchange=settings.dead_letter_exchange,
            key=settings.dead_letter_key,
            seconds=self.timers.now() // 1000,
        )
        queues = self.route_keys(exchange, keys, message.properties.headers)
        if reason is not DeathReason.REJECTED:
            queues = tuple(target for target in queues if not is_cycle(message, target.name))
        self.publish(message, queues)

    # -- exchanges

    def add_exchange(self, exchange: Exchange) -> None:
        self.exchanges[exchange.name] = exchange
        self._routes.clear()
        if exchange.durable:
            values = (exchange.type, exchange.auto_delete, exchange.internal, exchange.arguments)
            self.store.execute(schema.SAVE_EXCHANGE, self.name, exchange.name, *values)

    def drop_exchange(self, exchange: Exchange) -> None:
        """Delete an exchange with all bindings from it and to it."""
        del self.exchanges[exchange.name]
        self._routes.clear()
        if exchange.durable:
            self.store.execute(schema.DELETE_EXCHANGE, self.name, exchange.name)
        for key in list(exchange.bindings):
            self._remove_binding(exchange, key)
        self._unbind_destination(exchange)

    # -- queues

    def add_queue(
        self,
        *,
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: bytes,
        settings: QueueSettings,
        stored_id: int | None = None,
    ) -> Queue:
        """Add a queue that was declared now, or that the store has under `stored_id`."""
        queue = self.queues[name] = Queue(
            id=stored_id or self.store.next_id(),
            name=name,
            durable=durable,
            auto_delete=auto_delete,
            owner=owner,
            arguments=arguments,
            settings=settings,
            store=self.store,
            timers=self.timers,
            dead_letter=self.dead_letter,
            drop=self.drop_queue,
        )
        self._routes.clear()
        if durable and owner is None and stored_id is None:
            self.store.execute(schema.SAVE_QUEUE, queue.id, self.name, name, auto_delete, arguments)
        return queue

    def drop_queue(self, queue: Queue) -> int:
        """Delete a queue with its messages and bindings; return the number of ready messages."""
        if queue.deleted:
            return 0
        count = queue.purge()
        queue.close()
        del self.queues[queue.name]
        self._routes.clear()
        if queue.durable:
            self.store.execute(schema.DELETE_QUEUE, queue.id)
        self._unbind_destination(queue)
        for consumer in list(queue.consumers):
            consumer.cancelled(consumer)
        queue.consumers.clear()
        return count

    # -- bindings

    def bind(
        self, source: Exchange, key: BindingKey, destination: Destination, arguments: Mapping[str, object]
    ) -> bool:
        """Bind a queue or an exchange; True if that must be stored."""
        if not source.bind(key, destination, arguments):
            return False
        self.inbound.setdefault(destination, {})[source.name, key] = None
        self._routes.clear()
        durable = source.durable and destination.durable and not (isinstance(destination, Queue) and destination.owner)
        if durable:
            self.store.execute(schema.SAVE_BINDING, self.name, source.name, *key)
        return durable

    def restore_binding(
        self, source: Exchange, key: BindingKey, destination: Destination, arguments: Mapping[str, object]
    ) -> None:
        """Add a binding from the store."""
        source.bind(key, destination, arguments)
        self.inbound.setdefault(destination, {})[source.name, key] = None

    def unbind(self, source: Exchange, key: BindingKey) -> None:
        """Remove a binding; an auto-delete exchange is deleted with its last one."""
        binding = source.bindings.get(key)
        if binding is None:
            return
        inbound = self.inbound.get(binding.destination, {})
        inbound.pop((source.name, key), None)
        if not inbound:
            self.inbound.pop(binding.destination, None)
        self._remove_binding(source, key)
        if source.auto_delete and not source.bindings and source.name in self.exchanges:
            self.drop_exchange(source)

    def _remove_binding(self, source: Exchange, key: BindingKey) -> None:
        binding = source.bindings[key]
        source.unbind(key)
        inbound = self.inbound.get(binding.destination)
        if inbound is not None:
            inbound.pop((source.name, key), None)
        self._routes.clear()
        if source.durable:
            self.store.execute(schema.DELETE_BINDING, self.name, source.name, *key)

    def _unbind_destination(self, destination: Destination) -> None:
        for source, key in list(self.inbound.pop(destination, {})):
            exchange = self.exchanges.get(source)
            if exchange is not None:
                self.unbind(exchange, key)
