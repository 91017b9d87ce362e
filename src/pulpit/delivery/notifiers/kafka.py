"""The kafka notifier: events to a topic, through one idempotent producer of librdkafka that all listeners share.

The repository is the key, so that its events are in one partition and in order. A message counts as delivered when all
in-sync replicas have it. librdkafka has threads of its own; a thread of ours polls its delivery reports and wakes the
loop once for each call of `deliver`.
"""

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from pulpit.delivery.headers import attributes
from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Pace, Refused, Retry
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.listener_options import KAFKA
from pulpit.text import one_line

MESSAGE_TIMEOUT_S: Final = 15.0
"""Seconds for which librdkafka retries a message by itself, whichever broker leads its partition."""
SETTLE_TIMEOUT_S: Final = 5.0
"""Seconds beyond that within which librdkafka must report the result."""
LINGER_MS: Final = 2
POLL_S: Final = 0.1
MOST_QUEUED: Final = 10_000
"""Messages of all listeners in librdkafka's queue."""
MOST_QUEUED_KB: Final = 65_536
FULL_PAUSE_S: Final = 0.05
CLOSE_S: Final = 2.0

_TOPIC: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}\Z")
_HOPELESS: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD})
"""Errors that mean a permanent failure of this message."""
_SAID_OTHERWISE: Final = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})  # noqa: SLF001 - the library's names
"""Generic errors that say less than the ones before them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaBrokers:
    """How to reach the brokers."""

    servers: str
    """`host:port`, separated by commas: the bootstrap brokers."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """librdkafka's options for TLS and the login, including the password."""


class KafkaUnavailable(Exception):
    """No broker can be used now; the text is a sentence."""


def reach(brokers: KafkaBrokers, seconds: float) -> int:
    """Connect, log in and ask who is in the cluster; returns how many brokers are.

    Raises:
        KafkaUnavailable: none has answered.
    """
    said: list[str] = []
    options = {"bootstrap.servers": brokers.servers, "error_cb": lambda error: said.append(error.str())}
    silent = logging.Logger("librdkafka", logging.CRITICAL)  # noqa: LOG001 - nobody shall configure it
    asking = Producer({**options, **brokers.options}, logger=silent)
    try:
        return len(asking.list_topics(timeout=seconds).brokers)
    except KafkaException as error:
        asking.poll(0)
        reason = one_line(said[0] if said else error.args[0].str(), 300).rstrip(".")
        raise KafkaUnavailable(f"The Kafka brokers at {brokers.servers} cannot be reached: {reason}.") from None


class Kafka:
    """Produces to one cluster."""

    kind: Final = KAFKA
    pace: Final = Pace(batch=500, overlap=4, first_retry=timedelta(seconds=0.5), longest_retry=timedelta(seconds=15))

    def __init__(
        self,
        brokers: KafkaBrokers,
        default_topic: str,
        *,
        source: str = "/pulpit",
        message_timeout: float = MESSAGE_TIMEOUT_S,
    ) -> None:
        self._producing: Final = _Producing(brokers, message_timeout)
        self._default_topic: Final = default_topic
        self._source: Final = source

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept `topic`.

        Raises:
            InvalidValue: `notifier_config`.
        """
        KAFKA.check(config)
        check_topic(config.get("topic") or self._default_topic)

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Produce to the listener's topic, or to the default one if it names none."""
        return _Notifier(self._producing, str(config.get("topic") or self._default_topic), self._source)

    async def close(self) -> None:
        await self._producing.close()


class _Notifier:
    def __init__(self, producing: "_Producing", topic: str, source: str) -> None:
        self._producing: Final = producing
        self._topic: Final = topic
        self._source: Final = source
        self._sending: Final = asyncio.Lock()
        self._failures = 0

    async def prepare(self) -> None:
        """Do nothing: brokers or their operators create topics."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Produce all in order, wait for the delivery reports, and return the outcomes."""
        failures_before = self._failures
        async with self._sending:
            if self._failures != failures_before:
                return []  # an earlier call failed while this one waited: sending now would break the order
            batch = await self._produce(events)
        errors = await batch.settled(self._producing.patience)
        outcomes = self._outcomes(errors, len(events))
        if outcomes and isinstance(outcomes[-1], Retry):
            self._failures += 1
        return outcomes

    def describe(self, event: Event) -> dict[str, Any]:
        """Return the message and where it is produced to."""
        return {
            "brokers": self._producing.servers,
            "topic": self._topic,
            "key": event.repo_id,
            "headers": self._headers(event),
            "body": event.body,
        }

    async def close(self) -> None:
        """Do nothing: the producer is shared."""

    async def _produce(self, events: Sequence[Event]) -> "_Batch":
        """Hand events to librdkafka, up to the first that it rejects, and wait while its queue is full."""
        batch = _Batch(len(events))
        end = asyncio.get_running_loop().time() + self._producing.patience
        for index, event in enumerate(events):
            while True:
                try:
                    self._producing.producer.produce(
                        self._topic,
                        event.body.encode(),
                        key=event.repo_id.encode() if event.repo_id is not None else None,
                        headers=[(name, text.encode()) for name, text in self._headers(event).items()],
                        on_delivery=batch.callback(index),
                    )
                except BufferError:
                    if asyncio.get_running_loop().time() < end:
                        await asyncio.sleep(FULL_PAUSE_S)
                        continue
                    return batch.ended(index, KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001 - the library's name
                except KafkaException as error:
                    # One that is too large becomes a dead letter, and those behind it go on.
                    batch.note(index, error.args[0])
                    if error.args[0].code() not in _HOPELESS:
                        return batch.ended(index + 1)
                break
        return batch

    def _outcomes(self, errors: "Sequence[KafkaError | _Open | None]", count: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for error in errors[:count]:
            if isinstance(error, _Open):
                outcomes.append(Retry(reason=self._producing.complaint("did not say what became of it")))
            elif error is None:
                outcomes.append(DELIVERED)
            else:
                outcomes.append(self._refusal(error))
            if isinstance(outcomes[-1], Retry):
                break
        return outcomes

    def _refusal(self, error: KafkaError) -> Outcome:
        if error.code() in _HOPELESS:
            return Refused(reason=f"The topic {self._topic} does not take it: {_said(error)}.")
        if error.fatal():
            self._producing.renew()
        if error.code() in _SAID_OTHERWISE:
            return Retry(reason=self._producing.complaint("did not take it in time"))
        return Retry(reason=f"The topic {self._topic} did not take it: {_said(error)}.")

    def _headers(self, event: Event) -> dict[str, str]:
        """Headers by the binary mode of the Kafka binding of CloudEvents, and those that every notifier sends."""
        headers = {f"ce_{name}": text for name, text in attributes(event, self._source).items()}
        headers |= {
            "content-type": "application/json",
            "pulpit-number": str(event.number),
            "traceparent": event.traceparent,
        }
        if event.repo_number is not None:
            headers["pulpit-repo-number"] = str(event.repo_number)
        return headers


class _Open:
    """Marks a message without a delivery report."""


_OPEN: Final = _Open()


class _Batch:
    """The results of the messages of one call; written by the polling thread, read by the loop."""

    def __init__(self, count: int) -> None:
        self._errors: Final[list[KafkaError | _Open | None]] = [_OPEN] * count
        self._left = count
        self._loop: Final = asyncio.get_running_loop()
        self._lock: Final = threading.Lock()
        self._done: Final = asyncio.Event()

    def callback(self, index: int) -> Any:
        return lambda error, _: self.note(index, error)

    def note(self, index: int, error: KafkaError | None) -> None:
        with self._lock:
            self._errors[index] = error
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            with contextlib.suppress(RuntimeError):  # the loop has ended and needs no result
                self._loop.call_soon_threadsafe(self._done.set)

    def ended(self, count: int, error: KafkaError | None = None) -> "_Batch":
        """Close the batch after so many messages; the next one failed with `error`, the others were not tried."""
        with self._lock:
            behind = len(self._errors) - count
        if error is not None:
            self.note(count, error)
            behind -= 1
        with self._lock:
            self._left -= behind
            is_last = self._left == 0
        if is_last:
            self._done.set()
        return self

    async def settled(self, seconds: float) -> "Sequence[KafkaError | _Open | None]":
        """Wait until every result is known or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._done.wait()
        with self._lock:
            return list(self._errors)


class _Producing:
    """librdkafka's producer, created when it is first needed, and the thread that polls it."""

    def __init__(self, brokers: KafkaBrokers, message_timeout: float) -> None:
        self.servers: Final = brokers.servers
        self.patience: Final = message_timeout + SETTLE_TIMEOUT_S
        """Seconds after which every result is known, whatever the brokers do."""
        self._lock: Final = threading.Lock()
        self._current: Producer | None = None
        self._stop = threading.Event()
        self._last_error = ""
        self._options: Final[dict[str, Any]] = {
            "bootstrap.servers": brokers.servers,
            "client.id": "pulpit",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(message_timeout * 1000),
            "socket.timeout.ms": 10_000,
            "linger.ms": LINGER_MS,
            "queue.buffering.max.messages": MOST_QUEUED,
            "queue.buffering.max.kbytes": MOST_QUEUED_KB,
            "reconnect.backoff.max.ms": 2_000,
            "log.connection.close": False,
            "error_cb": self._on_error,
            **brokers.options,
        }

    @property
    def producer(self) -> Producer:
        with self._lock:
            if self._current is None:
                # librdkafka would repeat its log lines every second, and the outcomes report the same.
                silent = logging.Logger("librdkafka", logging.CRITICAL)  # noqa: LOG001 - not to be configured
                self._current = Producer(self._options, logger=silent)
                self._stop = threading.Event()
                arguments = (self._current, self._stop)
                threading.Thread(target=_fetch, args=arguments, name="kafka-reports", daemon=True).start()
            return self._current

    def complaint(self, otherwise: str) -> str:
        """Say why messages were not accepted, as far as librdkafka has reported."""
        said = f": {self._last_error}" if self._last_error else ""
        return f"The Kafka brokers at {self.servers} {otherwise}{said}."

    def renew(self) -> None:
        """Discard a producer that has failed permanently; the next message creates another."""
        with self._lock:
            self._stop.set()
            self._current = None

    async def close(self) -> None:
        """Discard the producer; events still in its queue are read from the log again."""
        with self._lock:
            producer, self._current = self._current, None
            self._stop.set()
        if producer is not None:
            await asyncio.to_thread(_let_go, producer)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() not in _SAID_OTHERWISE or not self._last_error:
            self._last_error = _said(error)
        if error.fatal():
            _log.error("the Kafka producer failed: %s", _said(error), extra={"action": "kafka_producer_failed"})


def _fetch(producer: Producer, stop: threading.Event) -> None:
    while not stop.is_set():
        producer.poll(POLL_S)


def _let_go(producer: Producer) -> None:
    producer.purge()
    producer.flush(CLOSE_S)


def check_topic(name: object) -> None:
    """Reject an invalid topic name.

    Raises:
        InvalidValue: `notifier_config`.
    """
    if not isinstance(name, str) or not _TOPIC.match(name):
        raise InvalidValue("notifier_config", "topic must be 1 to 249 letters, digits, '.', '-' and '_'.")


def _said(error: KafkaError) -> str:
    """Return librdkafka's text of an error, without the name of its thread."""
    text = re.sub(r"^(\[thrd:[^\]]*\]: )?[^ ]*/(bootstrap|[0-9]+): ", "", error.str())
    return one_line(text, 300).rstrip(".")
