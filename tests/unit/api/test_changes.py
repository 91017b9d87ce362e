"""The changes of a repository, page by page."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from pulpit.clock import iso_micro, system_clock
from pulpit.fire import fire
from pulpit.store import changes, event_log, holdings, repositories, units
from pulpit.store.changes import Description, Recorder
from pulpit.store.schema import events
from pulpit.store.units import NewUnit
from support.api import V1, Api


def work(api: Api, task_id: str, *names: str, gone: bool = False) -> int:
    """Let a task add units, or let go of them, and tell of it."""
    recorder = Recorder(task_id=task_id, describe=lambda _, key, metadata: Description(name=key["name"], **metadata))
    now = system_clock()
    with api.database.write() as tx:
        batch = [NewUnit(type_id="iso", key={"name": name}, metadata={}, files=(), slot=name) for name in names]
        if gone:
            held = [one.unit for one in units.held(tx.connection, "zoo")]
            ids = [unit.id for unit in held if unit.key["name"] in names]
            holdings.let_go(tx, "zoo", ids, now=now, recorder=recorder)
        else:
            holdings.save(tx, "zoo", batch, now=now, recorder=recorder)
        event = fire(tx, "repo.content.update", {"repo_id": "zoo"}, clock=lambda: now)
        for made in changes.untold(tx.connection, task_id).values():
            changes.tell(tx, made.id, event.number)
        return event.number


def page(api: Api, **query: Any) -> dict[str, Any]:
    answer = api.client.get(f"{V1}/repositories/zoo/changes", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def named(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["change"], change["name"]) for change in found["changes"]]


@pytest.fixture
def zoo(api: Api) -> Api:
    with api.database.write() as tx:
        fire(tx, "repo.sync.start", {"repo_id": "elsewhere"}, clock=system_clock)
        repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=system_clock())
    return api


def test_pages_follow_one_another_and_count_the_whole(zoo: Api) -> None:
    first = work(zoo, "1", "ant", "bear", "cat")
    second = work(zoo, "2", "bear", gone=True)
    found = page(zoo, limit=2)
    assert named(found) == [("added", "ant"), ("added", "bear")]
    assert (found["added"], found["removed"], found["replaced"], found["complete"]) == (3, 1, 0, True)
    rest = page(zoo, limit=2, after=found["next"])
    assert named(rest) == [("added", "cat"), ("removed", "bear")]
    assert rest["next"] is None
    assert [change["event_number"] for change in rest["changes"]] == [first, second]
    assert rest["changes"][0]["event_type"] == "repo.content.update"


def test_moments_are_numbers_or_times(zoo: Api) -> None:
    first = work(zoo, "1", "ant")
    second = work(zoo, "2", "bear")
    assert named(page(zoo, **{"from": first})) == [("added", "bear")]
    assert named(page(zoo, to=first)) == [("added", "ant")]
    assert named(page(zoo, **{"from": second, "to": second})) == []
    with zoo.database.read() as connection:
        moment = event_log.get(connection, second)
    assert moment
    assert named(page(zoo, **{"from": iso_micro(moment.occurred_at)})) == [("added", "bear")]
    assert named(page(zoo, to=iso_micro(moment.occurred_at))) == [("added", "ant")]
    later = iso_micro(moment.occurred_at + timedelta(days=1))
    assert named(page(zoo, **{"from": later})) == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"to": "2026-01-01T00:00:00"},
        {"after": "x"},
        {"limit": 0},
        {"limit": 1001},
        {"from": "-1"},
    ],
)
def test_what_is_no_moment_is_refused_by_name(zoo: Api, query: dict[str, Any]) -> None:
    answer = zoo.client.get(f"{V1}/repositories/zoo/changes", params=query)
    assert (answer.status_code, answer.json()["property_names"]) == (400, list(query))


def test_an_unknown_repository_is_missing(api: Api) -> None:
    answer = api.client.get(f"{V1}/repositories/nil/changes")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"repository": "nil"})


def test_changes_go_with_their_events_and_a_gap_is_told(zoo: Api) -> None:
    names = [f"{number}.iso" for number in range(25)]
    first = work(zoo, "1", *names)
    second = work(zoo, "2", "ant")
    with zoo.database.write() as tx:
        tx.connection.execute(delete(events).where(events.c.number <= first))
    while True:
        with zoo.database.write() as tx:
            if not changes.forget(tx, limit=10):
                break
    with zoo.database.read() as connection:
        assert changes.names(connection, [first, second]) == {second: ["ant"]}
    found = page(zoo, **{"from": 0})
    assert (named(found), found["complete"], found["from"]) == ([("added", "ant")], False, first)


def test_a_repository_of_the_same_id_begins_anew(zoo: Api) -> None:
    work(zoo, "1", "ant")
    with zoo.database.write() as tx:
        repositories.remove(tx, "zoo")
        repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=system_clock())
    work(zoo, "2", "bear")
    assert named(page(zoo)) == [("added", "bear")]
    assert page(zoo)["complete"]
