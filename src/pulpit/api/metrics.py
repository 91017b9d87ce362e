"""The metrics for Prometheus: read from the database and the running parts when they are scraped."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from pulpit import __version__
from pulpit.api.listeners import STATES, DeliveryState, delivery_states, worst_first
from pulpit.api.services import MOST_WAITING, Services
from pulpit.api.v1.consumers import ConsumerDocument, documents
from pulpit.pulp3.progress import Progress, State
from pulpit.store import consumers, event_log, listeners, schedules, tasks
from pulpit.store.listeners import Listener
from pulpit.store.schedules import Schedule

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_OF_LISTENER: Final = ("listener", "notifier")
MOST_LISTENERS: Final = 100
"""Listeners that are reported individually: those with the most failures, lag, or dead letters."""
MOST_QUEUES: Final = 1_000
"""Queues that are reported individually; the totals include all."""
_OF_BROKER: Final = {
    "memory_used": "Bytes of messages in memory.",
    "memory_limit": "Bytes above which publishers wait.",
    "unwritten_bytes": "Bytes that are on their way to the disk.",
}
_OF_BROKER_EVER: Final = {
    "published": "Messages that queues took.",
    "delivered": "Messages that were given to consumers.",
    "acknowledged": "Messages that consumers acknowledged.",
}
_OF_PULP: Final = {
    "reading": "1 while the outbox of a Pulp 3 is read.",
    "waiting": "Rows of the outbox that waited at the last look.",
    "lag_seconds": "How long the oldest of them has waited.",
}
_OF_PULP_EVER: Final = {
    "rows": "Rows that were taken from the outbox.",
    "events": "Events that were made of them.",
    "refused": "Rows that no event could be made of.",
    "reconciled": "Rows that were made up for.",
}
_OF_QUEUE: Final = {
    "messages_ready": "Messages that wait.",
    "messages_unacknowledged": "Messages that were delivered and not acknowledged.",
    "consumers": "Consumers.",
}
_TASK_STATES: Final = (tasks.WAITING, tasks.RUNNING, *sorted(tasks.ENDED))


def rendered(services: Services) -> bytes:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Server(services))
    return generate_latest(registry)


class _Server(Collector):
    """All metrics at one moment."""

    def __init__(self, services: Services) -> None:
        self._services: Final = services

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that the registry does not compare names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the database once."""
        with self._services.database.read() as connection:
            head = event_log.head(connection)
            found = listeners.every(connection)
            states = delivery_states(connection, found, self._services)
            by_state = tasks.counts(connection)
            scheduled = schedules.every(connection)
            pulling = documents(connection, consumers.every(connection), self._services)
        yield InfoMetricFamily("pulpit", "The server.", value={"version": __version__})
        yield CounterMetricFamily("pulpit_events", "Events that were entered into the log.", value=head)
        yield from _of_listeners(found, states)
        family = GaugeMetricFamily("pulpit_tasks", "Tasks that the server knows, by state.", labels=["state"])
        for state in _TASK_STATES:
            family.add_metric([state], by_state[state])
        yield family
        yield from _schedules(scheduled)
        yield from _of_consumers(pulling)
        yield from self._of_server()

    def _of_server(self) -> Iterator[Metric]:
        services = self._services
        yield GaugeMetricFamily("pulpit_workers", "Worker processes.", value=len(services.workers()))
        delivering, connected = services.delivering(), services.messaging_connected()
        yield GaugeMetricFamily("pulpit_delivering", "1 while the delivery engine runs.", value=delivering)
        yield GaugeMetricFamily("pulpit_broker_connected", "1 while the broker can be reached.", value=connected)
        if services.broker_status is not None:
            yield from _of_broker(services.broker_status())
        if services.pulps:
            yield from _of_pulps(services.pulps, services.clock())
        waiting = MOST_WAITING - services.waiting._value  # noqa: SLF001 - a semaphore has no public counter
        yield GaugeMetricFamily("pulpit_feed_waiting", "Requests and streams that wait for events.", value=waiting)


def _of_pulps(pulps: Sequence[Progress], now: datetime) -> Iterator[Metric]:
    for name, meaning in _OF_PULP.items():
        family = GaugeMetricFamily(f"pulpit_pulp3_{name}", meaning, labels=["pulp"])
        for pulp in pulps:
            values = {
                "reading": pulp.state is State.READING,
                "waiting": pulp.waiting,
                "lag_seconds": max((now - pulp.oldest_at).total_seconds(), 0.0) if pulp.oldest_at else 0.0,
            }
            family.add_metric([pulp.name], values[name])
        yield family
    for name, meaning in _OF_PULP_EVER.items():
        counter = CounterMetricFamily(f"pulpit_pulp3_{name}", meaning, labels=["pulp"])
        for pulp in pulps:
            counter.add_metric([pulp.name], getattr(pulp, name))
        yield counter


def _of_broker(broker: dict[str, Any]) -> Iterator[Metric]:
    for name, meaning in _OF_BROKER.items():
        yield GaugeMetricFamily(f"pulpit_broker_{name}", meaning, value=broker[name])
    for name, meaning in _OF_BROKER_EVER.items():
        yield CounterMetricFamily(f"pulpit_broker_{name}", meaning, value=broker[name])
    for name, meaning in _OF_QUEUE.items():
        family = GaugeMetricFamily(f"pulpit_broker_queue_{name}", meaning, labels=("vhost", "queue"))
        for queue in broker["queues"][:MOST_QUEUES]:
            family.add_metric([queue["vhost"], queue["name"]], queue[name])
        yield family
    yield GaugeMetricFamily("pulpit_broker_connections", "Clients.", value=len(broker["connections"]))


def _of_listeners(found: Sequence[Listener], states: dict[str, DeliveryState]) -> Iterator[Metric]:
    yield from _of_kinds(found, states)
    state = GaugeMetricFamily(
        "pulpit_listener_state", "1 for the state that the listener is in.", labels=[*_OF_LISTENER, "state"]
    )
    families = {
        "position": _gauge("position", "Number of the last event that is settled."),
        "lag_events": _gauge("lag_events", "Events in the log behind the position, wanted or not."),
        "lag_seconds": _gauge("lag_seconds", "Age of the first event behind the position."),
        "attempts": _gauge("failures", "Failed attempts in a row."),
        "dead_letters": _gauge("dead_letters", "Events that were put aside."),
    }
    kinds = {listener.id: listener.notifier_type_id for listener in found}
    for listener_id in worst_first(states)[:MOST_LISTENERS]:
        labels, now = [listener_id, kinds[listener_id]], states[listener_id]
        for word in STATES:
            state.add_metric([*labels, word], float(now.state == word))
        for name, family in families.items():
            family.add_metric(labels, getattr(now, name))
    yield state
    yield from families.values()


def _of_kinds(found: Sequence[Listener], states: dict[str, DeliveryState]) -> Iterator[Metric]:
    """Yield the totals over all listeners of a type of notifier."""
    counts = Counter((listener.notifier_type_id, states[listener.id].state) for listener in found)
    count = GaugeMetricFamily("pulpit_listeners", "Listeners, by their state.", labels=("notifier", "state"))
    lag = GaugeMetricFamily("pulpit_listeners_lag_seconds_max", "The greatest of their lags.", labels=("notifier",))
    letters = GaugeMetricFamily("pulpit_listeners_dead_letters", "Events that were put aside.", labels=("notifier",))
    for kind in sorted({listener.notifier_type_id for listener in found}):
        for word in STATES:
            count.add_metric([kind, word], counts[kind, word])
        of_kind = [states[listener.id] for listener in found if listener.notifier_type_id == kind]
        lag.add_metric([kind], max(state.lag_seconds for state in of_kind))
        letters.add_metric([kind], sum(state.dead_letters for state in of_kind))
    yield from (count, lag, letters)


def _of_consumers(found: Sequence[ConsumerDocument]) -> Iterator[Metric]:
    labels = ("user", "consumer")
    events = GaugeMetricFamily("pulpit_consumer_lag_events", "Events behind its position.", labels=labels)
    seconds = GaugeMetricFamily("pulpit_consumer_lag_seconds", "Age of the first of them.", labels=labels)
    for consumer in sorted(found, key=lambda consumer: -consumer.lag_seconds)[:MOST_LISTENERS]:
        events.add_metric([consumer.user, consumer.name], consumer.lag_events)
        seconds.add_metric([consumer.user, consumer.name], consumer.lag_seconds)
    yield from (events, seconds)


def _gauge(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pulpit_listener_{name}", meaning, labels=_OF_LISTENER)


def _schedules(found: Iterable[Schedule]) -> Iterator[Metric]:
    labels = ("schedule", "repository", "action")
    enabled = GaugeMetricFamily("pulpit_schedule_enabled", "1 while the schedule runs.", labels=labels)
    failures = GaugeMetricFamily("pulpit_schedule_failures", "Failed runs in a row.", labels=labels)
    for schedule in found:
        values = [schedule.id, schedule.repo_id, schedule.action]
        enabled.add_metric(values, float(schedule.enabled))
        failures.add_metric(values, schedule.consecutive_failures)
    yield from (enabled, failures)
