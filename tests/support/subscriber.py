"""A subscriber to a topic exchange that records every message, on pika."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from support.waiting import PATIENCE, until


@dataclass(frozen=True)
class Received:
    subject: str
    body: dict[str, Any]
    properties: BasicProperties
    redelivered: bool


class Subscriber:
    """A durable queue's reader: what is published while it is away waits for it."""

    def __init__(self, url: str, exchange: str, pattern: str, queue: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._exchange, self._pattern, self._queue = exchange, pattern, queue
        self.received: list[Received] = []
        self.bound = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def arrived(self) -> list[Received]:
        """Every message once, in the order of the first arrivals."""
        first: dict[str | None, Received] = {}
        for message in list(self.received):
            first.setdefault(message.properties.message_id, message)
        return list(first.values())

    @property
    def subjects(self) -> list[str]:
        """The subjects of the first arrivals, in order."""
        return [message.subject for message in self.arrived]

    @property
    def numbers(self) -> list[int]:
        """The log numbers of the first arrivals, in order."""
        return [message.properties.headers["pulpit-number"] for message in self.arrived]

    @property
    def repo_numbers(self) -> list[int]:
        """The repository's own numbers of the first arrivals, in order."""
        return [message.properties.headers["pulpit-repo-number"] for message in self.arrived]

    def wait_for(self, count: int, *, seconds: float = PATIENCE) -> list[Received]:
        """Wait for a number of different messages."""
        until(lambda: len(self.arrived) >= count, what=f"{count} messages, having {self.subjects}", seconds=seconds)
        return self.arrived

    def start(self) -> None:
        """Bind the queue and read on, over broken connections too."""
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(AMQPError, OSError):
                self._read()
            self._stop.wait(0.1)

    def _read(self) -> None:
        connection = pika.BlockingConnection(self._parameters)
        try:
            channel = connection.channel()
            channel.exchange_declare(self._exchange, "topic", durable=True)
            channel.queue_declare(self._queue, durable=True)
            channel.queue_bind(self._queue, self._exchange, self._pattern)
            channel.basic_consume(self._queue, self._take)
            self.bound.set()
            while not self._stop.is_set():
                connection.process_data_events(0.1)
        finally:
            if connection.is_open:
                connection.close()

    def _take(self, channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        redelivered = bool(method.redelivered)
        self.received.append(Received(str(method.routing_key), json.loads(body), properties, redelivered))
        channel.basic_ack(method.delivery_tag or 0)


@contextlib.contextmanager
def subscribed(url: str, exchange: str, pattern: str = "#", *, queue: str = "collected") -> Iterator[Subscriber]:
    """Subscribe, and be bound when the block begins."""
    subscriber = Subscriber(url, exchange, pattern, queue)
    subscriber.start()
    try:
        assert subscriber.bound.wait(60), "the subscriber could not bind"
        yield subscriber
    finally:
        subscriber.stop()
