"""Finds units of a repository by Pulp 2's criteria, which look at the unit and at its association separately.

The database chooses by type; the rest is judged unit by unit as they are read, so memory holds what is found, not what
is looked through.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection

from pulpit.api import criteria
from pulpit.api.criteria import Criteria
from pulpit.clock import iso
from pulpit.errors import InvalidValue, UnsupportedValue
from pulpit.store import units
from pulpit.store.units import Held, Unit

Document = dict[str, Any]

_KEYS: Final = frozenset({"type_ids", "filters", "fields", "sort", "limit", "skip", "remove_duplicates"})
_SIDES: Final = ("unit", "association")
_ALWAYS_UNIT: Final = ("_id", "_content_type_id")
_ALWAYS_ASSOCIATION: Final = ("_id", "repo_id", "unit_id", "unit_type_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitCriteria:
    """One search among the units of a repository."""

    type_ids: list[str] | None
    unit: Criteria
    association: Criteria
    limit: int | None
    skip: int


def parse(body: object) -> UnitCriteria:
    """Read the criteria of a search for units.

    Raises:
        UnsupportedValue: it has keys that are no criteria.
        InvalidValue: the name of the part that cannot be understood.
    """
    if not isinstance(body, dict):
        raise InvalidValue("criteria", "it must be an object.")
    unknown = sorted(set(body) - _KEYS)
    if unknown:
        raise UnsupportedValue(unknown)
    return UnitCriteria(
        type_ids=_type_ids(body.get("type_ids")),
        unit=_side(body, "unit"),
        association=_side(body, "association"),
        limit=criteria.read_count("limit", body.get("limit")),
        skip=criteria.read_count("skip", body.get("skip")) or 0,
    )


def find(connection: Connection, repo_id: str, wanted: UnitCriteria) -> list[Document]:
    """The units as the API shows them: the association, with the unit under `metadata`."""
    found = islice(_sorted(_matching(connection, repo_id, wanted), wanted), wanted.skip, _end(wanted))
    return [_trimmed(document, wanted) for document in found]


def find_ids(connection: Connection, repo_id: str, wanted: UnitCriteria) -> list[str]:
    """The ids of the same units."""
    return [document["unit_id"] for document in find(connection, repo_id, wanted)]


def _matching(connection: Connection, repo_id: str, wanted: UnitCriteria) -> Iterator[Document]:
    for one in units.held(connection, repo_id, wanted.type_ids):
        document = _document(repo_id, one)
        if wanted.association.matches(document) and wanted.unit.matches(document["metadata"]):
            yield document


def _document(repo_id: str, held: Held) -> Document:
    unit = held.unit
    return {
        "_id": {"$oid": unit.id},
        "repo_id": repo_id,
        "unit_id": unit.id,
        "unit_type_id": unit.type_id,
        "created": iso(held.created),
        "updated": iso(held.updated),
        "metadata": unit_document(unit),
    }


def unit_document(unit: Unit) -> Document:
    """What a unit itself is: its description, its key, and who it is."""
    return {**unit.metadata, **unit.key, "_id": unit.id, "_content_type_id": unit.type_id}


def _sorted(found: Iterator[Document], wanted: UnitCriteria) -> Iterator[Document]:
    if not wanted.unit.sort and not wanted.association.sort:
        return found
    everything = list(found)
    criteria.sort(everything, wanted.unit.sort, part="metadata")
    criteria.sort(everything, wanted.association.sort)
    return iter(everything)


def _end(wanted: UnitCriteria) -> int | None:
    return None if wanted.limit is None else wanted.skip + wanted.limit


def _trimmed(document: Document, wanted: UnitCriteria) -> Document:
    shown = wanted.association.trimmed(document, _ALWAYS_ASSOCIATION)
    shown["metadata"] = wanted.unit.trimmed(document["metadata"], _ALWAYS_UNIT)
    return shown


def _type_ids(type_ids: object) -> list[str] | None:
    if type_ids is None:
        return None
    names = [type_ids] if isinstance(type_ids, str) else type_ids
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidValue("type_ids", "it must be a list of types.")
    return list(dict.fromkeys(names))[:100]


def _side(body: dict[str, Any], side: str) -> Criteria:
    """The criteria of one of the two sides."""
    own: dict[str, Any] = {}
    for name in ("filters", "fields", "sort"):
        both = body.get(name)
        if both is None:
            continue
        if not isinstance(both, dict) or set(both) - set(_SIDES):
            raise InvalidValue(name, "it must be an object with the keys `unit` and `association`.")
        own[name] = both.get(side)
    return criteria.parse(own)
