"""`repo diff`: the net difference of a repository between two moments."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import click

from pulpit.admin.grammar import Command
from pulpit.admin.repo import REPO_ID
from pulpit.admin.session import Session, with_session
from pulpit.client.server import v1_path

_PAGE: Final = 1000
_SIGNS: Final = {"added": "+", "removed": "-", "replaced": "~"}
_MOMENT: Final = "NUMBER|TIME|publication:NUMBER"
_OF_AN_EVENT: Final = ("event_number", "event_type", "occurred_at")

Document = dict[str, Any]


@click.command("diff", cls=Command)
@REPO_ID
@click.option("--from", "first", metavar=_MOMENT, help="After this event, time or publication; everything otherwise.")
@click.option("--to", "last", metavar=_MOMENT, help="Up to this event, time or publication; until now otherwise.")
@with_session
def diff(session: Session, /, *, repo_id: str, first: str | None, last: str | None) -> None:
    """Show which packages were added, removed and replaced between two moments."""
    page = _page(session, repo_id, {"from": first, "to": last})
    seen = list(page["changes"])
    while page.get("next"):
        further = _page(session, repo_id, {"from": page["from"], "to": page["to"], "after": page["next"]})
        seen += further["changes"]
        page["next"] = further["next"]
    found = net(seen)
    if session.screen.as_json:
        counts = {change: sum(entry["change"] == change for entry in found) for change in _SIGNS}
        facts = {key: page[key] for key in ("repo_id", "from", "to", "complete")}
        session.screen.data({**facts, **counts, "changes": found})
        return
    for entry in sorted(found, key=_order):
        session.screen.say(line(entry))
    if not found:
        session.screen.say("There are no differences.")
    if not page["complete"]:
        session.screen.warn(f"What happened up to event {page['from']} is not known.")


def net(changes: Iterable[Mapping[str, Any]]) -> list[Document]:
    """Return the net result of changes in order: units that were added and removed again are omitted."""
    added: dict[str, Document] = {}
    removed: dict[str, Document] = {}
    for change in changes:
        new = {key: value for key, value in change.items() if key not in {*_OF_AN_EVENT, "change", "before"}}
        old = change.get("before") or (new if change["change"] == "removed" else None)
        came: Document | None = None
        if old is not None and old["id"] in added:
            came = added.pop(old["id"])
        elif old is not None:
            removed[old["id"]] = old
        if change["change"] != "removed":
            place = came["_instead_of"] if came else old["id"] if old else ""
            added[new["id"]] = {**new, "_instead_of": place}
    return list(_paired(added, removed))


def _paired(added: Mapping[str, Document], removed: dict[str, Document]) -> Iterator[Document]:
    """Pair units with the same slot: added and removed ones are a replacement; equal ones cancel out."""
    for unit_id, unit in added.items():
        named = {key: value for key, value in unit.items() if key != "_instead_of"}
        before = removed.pop(unit_id, None) or removed.pop(unit["_instead_of"], None)
        if before is None:
            yield {"change": "added", **named}
        elif before != named:
            yield {"change": "replaced", **named, "before": before}
    for unit in removed.values():
        yield {"change": "removed", **unit}


def line(entry: Mapping[str, Any]) -> str:
    """Format one change: a sign, the type, the name and the version."""
    new = _called(entry)
    if entry["change"] == "replaced" and entry.get("before") and _called(entry["before"]) != new:
        new = f"{_called(entry['before'])} -> {entry.get('version') or new}"
    severity = (entry.get("advisory") or {}).get("severity")
    return f"{_SIGNS[entry['change']]} {entry['type']} {new}" + (f" ({severity})" if severity else "")


def _called(unit: Mapping[str, Any]) -> str:
    return " ".join(str(unit[key]) for key in ("name", "version", "arch") if unit.get(key))


def _order(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(entry["type"]), str(entry["name"]), str(entry.get("version") or "")


def _page(session: Session, repo_id: str, query: Mapping[str, Any]) -> Document:
    asked = {key: value for key, value in query.items() if value is not None}
    page: Document = session.server.get(v1_path("repositories", repo_id, "changes"), {**asked, "limit": _PAGE})
    return page
