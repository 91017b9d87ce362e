"""Recovery: restores exchanges, queues, bindings and counts from the store."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from pulpit.amqp.amqp091 import tables
from pulpit.broker import schema
from pulpit.broker.connection import BrokerState
from pulpit.broker.exchanges import Exchange
from pulpit.broker.handlers.exchange import ALTERNATE
from pulpit.broker.queue import Queue
from pulpit.broker.queue_arguments import read_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The rows of the store that become objects in memory; messages stay on disk."""

    last_id: int
    exchanges: list[tuple[Any, ...]]
    queues: list[tuple[Any, ...]]
    bindings: list[tuple[Any, ...]]
    counts: list[tuple[Any, ...]]


class NewerStore(Exception):
    """The store was written by a later version of the broker, whose data must not be lost."""


def prepare(connection: sqlite3.Connection) -> Stored:
    """Create the tables, delete what was transient, and read the rest; with a long backlog this takes seconds.

    Raises:
        NewerStore: the tables are from a later version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > schema.VERSION:
        raise NewerStore
    for statement in schema.TABLES:
        connection.execute(statement)
    connection.execute("BEGIN IMMEDIATE")
    if version < schema.VERSION:
        connection.create_function(
            "unwrapped", 1, lambda header: header[5 : 5 + int.from_bytes(header[1:5])], deterministic=True
        )
        for statement in schema.UNWRAP_HEADERS:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    for statement in schema.FORGET_NOT_DURABLE:
        connection.execute(statement)
    connection.execute("COMMIT")
    return Stored(
        last_id=int(connection.execute(schema.LAST_ID).fetchone()[0]),
        exchanges=connection.execute("SELECT * FROM exchange").fetchall(),
        queues=connection.execute("SELECT * FROM queue ORDER BY id").fetchall(),
        bindings=connection.execute("SELECT * FROM binding").fetchall(),
        counts=connection.execute(schema.COUNTS).fetchall(),
    )


def recover(stored: Stored, state: BrokerState) -> None:
    """Fill the virtual hosts; data of one that is no longer configured stays in the store."""
    for row in stored.exchanges:
        _exchange(state, *row)
    by_id: dict[int, tuple[Queue, bool]] = {}
    for row in stored.queues:
        _queue(state, by_id, *row)
    for row in stored.bindings:
        _binding(state, *row)
    for queue_id, priority, count, size, last in stored.counts:
        if queue_id in by_id:
            queue, touched = by_id[queue_id]
            queue.recover(priority, count, size, last, redelivered=touched)


def _exchange(  # noqa: PLR0917 - the columns of the row
    state: BrokerState, host: str, name: str, kind: str, auto_delete: int, internal: int, arguments: bytes
) -> None:
    if host in state.hosts:
        state.hosts[host].exchanges[name] = Exchange(
            name=name,
            type=kind,
            durable=True,
            auto_delete=bool(auto_delete),
            internal=bool(internal),
            arguments=arguments,
            alternate=tables.read_table(arguments)[0].get(ALTERNATE),
        )


def _queue(  # noqa: PLR0917 - the columns of the row
    state: BrokerState,
    by_id: dict[int, tuple[Queue, bool]],
    queue_id: int,
    host: str,
    name: str,
    auto_delete: int,
    arguments: bytes,
    touched: int,
) -> None:
    if host not in state.hosts:
        return
    queue = state.hosts[host].add_queue(
        stored_id=queue_id,
        name=name,
        durable=True,
        auto_delete=bool(auto_delete),
        owner=None,
        arguments=arguments,
        settings=read_settings(arguments),
    )
    queue.touched = bool(touched)
    by_id[queue_id] = (queue, bool(touched))


def _binding(  # noqa: PLR0917 - the columns of the row
    state: BrokerState, host: str, source: str, to_exchange: int, destination: str, key: str, arguments: bytes
) -> None:
    there = state.hosts.get(host)
    if there is None or source not in there.exchanges:
        return
    target = there.exchanges.get(destination) if to_exchange else there.queues.get(destination)
    if target is not None:
        values, _ = tables.read_table(arguments)
        there.restore_binding(there.exchanges[source], (bool(to_exchange), destination, key, arguments), target, values)
