"""`repo diff`: the net difference between two moments."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pulpit.admin.repo_diff import line, net
from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
CHANGES = "GET /pulpit/v1/repositories/zoo/changes"


def unit(unit_id: str, version: str = "1") -> dict[str, Any]:
    return {"type": "rpm", "id": unit_id, "name": "ant", "version": version, "arch": "noarch"}


def added(unit_id: str) -> dict[str, Any]:
    return {"event_number": 1, "change": "added", **unit(unit_id)}


def removed(unit_id: str) -> dict[str, Any]:
    return {"event_number": 1, "change": "removed", **unit(unit_id)}


def replaced(old: str, new: str, version: str = "1") -> dict[str, Any]:
    return {"event_number": 1, "change": "replaced", **unit(new, version), "before": unit(old)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([added("a")], [("added", "a", None)]),
        ([added("a"), removed("a")], []),
        ([removed("a"), added("a")], []),
        ([added("a"), replaced("a", "b")], [("added", "b", None)]),
        ([replaced("a", "b"), replaced("b", "c")], [("replaced", "c", "a")]),
        ([replaced("a", "b"), replaced("b", "a")], []),
        ([replaced("a", "b"), removed("b")], [("removed", "a", None)]),
        ([replaced("a", "a", "2")], [("replaced", "a", "a")]),
        ([added("a"), removed("b")], [("added", "a", None), ("removed", "b", None)]),
    ],
)
def test_changes_come_to(changes: list[dict[str, Any]], expected: list[tuple[str, str, str | None]]) -> None:
    found = [(entry["change"], entry["id"], entry.get("before", {}).get("id")) for entry in net(changes)]
    assert found == expected


def test_a_change_is_a_line_for_people() -> None:
    advisory = {"type": "security", "severity": "Important", "title": "x"}
    erratum = {"change": "added", "type": "erratum", "id": "e", "name": "RHSA-1", "version": "2", "advisory": advisory}
    assert [line(entry) for entry in (added("a"), removed("a"), replaced("a", "b", "2"), erratum)] == [
        "+ rpm ant 1 noarch",
        "- rpm ant 1 noarch",
        "~ rpm ant 1 noarch -> 2",
        "+ erratum RHSA-1 2 (Important)",
    ]


def test_all_pages_are_read_and_come_to_one_list(
    admin: RunAdmin, wire: RestWire, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"repo_id": "zoo", "from": 3, "to": 9, "complete": True}
    first = facts | {"changes": [added("a")], "next": "4.1"}
    second = facts | {"changes": [replaced("a", "b", "2"), removed("c")], "next": None}
    wire.on(f"{CHANGES}?from=3&limit=1000", Reply(body=first))
    wire.on(f"{CHANGES}?from=3&to=9&after=4.1&limit=1000", Reply(body=second))
    assert admin("repo", "diff", "--repo-id", "zoo", "--from", "3") == 0
    assert capsys.readouterr().out.splitlines() == ["- rpm ant 1 noarch", "+ rpm ant 2 noarch"]
    assert admin("--json", "repo", "diff", "--repo-id", "zoo", "--from", "3") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [entry["id"] for entry in printed["changes"]] == ["b", "c"]
    assert (printed["added"], printed["removed"], printed["replaced"], printed["complete"]) == (1, 1, 0, True)


def test_nothing_and_a_gap_are_said(admin: RunAdmin, wire: RestWire, capsys: pytest.CaptureFixture[str]) -> None:
    page = {"repo_id": "zoo", "from": 7, "to": 9, "complete": False, "changes": [], "next": None}
    wire.on(f"{CHANGES}?limit=1000", Reply(body=page))
    assert admin("repo", "diff", "--repo-id", "zoo") == 0
    said = capsys.readouterr()
    assert said.out == "There are no differences.\n"
    assert "up to event 7 is not known" in said.err
