"""The content of a repository at one moment, as a publish reads it: ids and versions first, the rest if needed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, cast, func, select, type_coerce

from pulpit.store.schema import associations, units
from pulpit.store.units import portions


def versions(connection: Connection, repo_id: str) -> Sequence[str]:
    """Return `ID TAB VERSION TAB TYPE` for each of a repository's units, by id; VERSION changes whenever the unit does.

    The database joins them to one text, which costs a third of reading as many rows.
    """
    columns = associations.c
    version = (
        columns.unit_id + "\t" + cast(type_coerce(columns.updated, BigInteger), Text) + "\t" + columns.unit_type_id
    )
    text = connection.scalar(select(func.aggregate_strings(version, "\n")).where(columns.repo_id == repo_id))
    return sorted(text.split("\n")) if text else []


def keys(connection: Connection, repo_id: str, type_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the keys of a repository's units of these types."""
    columns = associations.c
    mine = (columns.repo_id == repo_id) & columns.unit_type_id.in_(type_ids)
    wanted = select(units.c.key).join(associations, columns.unit_id == units.c.id).where(mine)
    yield from connection.execute(wanted).scalars()


def details(connection: Connection, unit_ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield key and detail of these units, in this order, read in portions."""
    wanted = select(units.c.id, units.c.key, units.c.detail)
    for portion in portions(unit_ids):
        rows = connection.execute(wanted.where(units.c.id.in_(portion)))
        found = {unit_id: (key, detail or b"") for unit_id, key, detail in rows}
        yield from (found[unit_id] for unit_id in portion)


def snapshot(connection: Connection, unit_ids: Sequence[str], known: Iterable[bytes] = ()) -> list[bytes]:
    """Return a line for each of these units, in this order: `type TAB id TAB key`, the key as compact JSON.

    Lines of an earlier snapshot that are `known` are not read again, because type and key of a unit never change.
    """
    lines = {line.split(b"\t", 2)[1].decode(): line for line in known}
    columns = units.c
    wanted = select(columns.type_id, columns.id, type_coerce(columns.key, Text))
    new = [unit_id for unit_id in unit_ids if unit_id not in lines]
    for portion in portions(new):
        for type_id, unit_id, key in connection.execute(wanted.where(columns.id.in_(portion))):
            lines[unit_id] = f"{type_id}\t{unit_id}\t{key}\n".encode()
    return [lines[unit_id] for unit_id in unit_ids]


def read_snapshot(lines: Iterable[bytes]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Parse the type, id and key of every unit in a snapshot.

    Raises:
        ValueError: it is damaged.
    """
    for line in lines:
        type_id, unit_id, key = line.decode().rstrip("\n").split("\t", 2)
        yield type_id, unit_id, json.loads(key)
