"""What a publish, a promotion and a rollback say has changed for readers of the place."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pulpit.events import CONTENT_UPDATE, PUBLISH_FINISH
from pulpit.fire import fire
from pulpit.repositories.differences import Show
from pulpit.repositories.promotion import Promotion, promote
from pulpit.repositories.publish import publish
from pulpit.store import changes, holdings, orphans, units
from pulpit.store.changes import MOST_OF_A_PUBLISH, Counts, UnitChange
from pulpit.store.units import MOST_AT_ONCE, NewUnit
from support.mirror import Mirror, mirror

_numbers = itertools.count()


class Shelf:
    """A repository whose content is written by hand, with the events that would tell of it."""

    def __init__(self, here: Mirror) -> None:
        self.here = here
        here.create("zoo", None)
        here.context.storage.prepare()
        here.context.scratch.prepare()

    def put(self, **files: dict[str, Any]) -> None:
        """Hold files of these names; `sum` is the checksum, everything else is metadata."""
        context = replace(self.here.context, task_id=f"put{next(_numbers)}")
        batch = [
            NewUnit(
                type_id="iso",
                key={"name": name, "checksum": about.get("sum", ""), "size": 1},
                metadata=about,
                files=(),
                slot=name,
            )
            for name, about in files.items()
        ]
        with context.database.write() as tx:
            for start in range(0, len(batch), MOST_AT_ONCE):
                portion = batch[start : start + MOST_AT_ONCE]
                holdings.save(tx, "zoo", portion, now=context.clock(), recorder=context.recorder)
            self.tell(tx, CONTENT_UPDATE, str(context.task_id))

    def drop(self, *names: str) -> None:
        context = replace(self.here.context, task_id=f"drop{next(_numbers)}")
        with context.database.write() as tx:
            ids = [held.unit.id for held in units.held(tx.connection, "zoo") if held.unit.key["name"] in names]
            holdings.let_go(tx, "zoo", ids, now=context.clock(), recorder=context.recorder)
            self.tell(tx, CONTENT_UPDATE, str(context.task_id))

    def publish(self) -> tuple[Counts, list[UnitChange], int]:
        context = replace(self.here.context, task_id=f"publish{next(_numbers)}")
        outcome = asyncio.run(publish(context, "zoo", "iso_distributor", None, lambda _: None))
        assert outcome.show, outcome.error_message
        return self.shown(outcome.show, str(context.task_id))

    def promote(self, number: int, path: str) -> tuple[Counts, list[UnitChange], int]:
        context = replace(self.here.context, task_id=f"promote{next(_numbers)}")
        order = Promotion(repo_id="zoo", number=number, path=path, protect=False)
        return self.shown(promote(context, order), str(context.task_id))

    def shown(self, show: Show, task_id: str) -> tuple[Counts, list[UnitChange], int]:
        """Counts, changes and the number of the event."""
        with self.here.context.database.write() as tx:
            show(tx)
            made = changes.untold(tx.connection, task_id).get("zoo")
            found = changes.first_of(tx.connection, made.id, 10_000) if made else []
            return (made.counts if made else Counts()), found, self.tell(tx, PUBLISH_FINISH, task_id)

    def tell(self, tx: Any, event_type: str, task_id: str) -> int:
        event = fire(tx, event_type, {"repo_id": "zoo"}, clock=self.here.context.clock)
        for made in changes.untold(tx.connection, task_id).values():
            changes.tell(tx, made.id, event.number)
        return event.number


def short(found: list[UnitChange]) -> list[str]:
    return [f"{change.change} {change.unit['name']}" for change in found]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with mirror(tmp_path) as here:
        yield Shelf(here)


def test_a_publish_names_what_is_other_than_before_and_a_rollback_the_reverse(shelf: Shelf) -> None:
    shelf.put(ant={"sum": "1"}, bear={"sum": "1"}, camel={"sum": "1"})
    assert short(shelf.publish()[1]) == ["added ant", "added bear", "added camel"]
    shelf.put(bear={"sum": "2"}, dingo={"sum": "1"})
    shelf.drop("camel")
    counts, found, _ = shelf.publish()
    assert short(found) == ["replaced bear", "removed camel", "added dingo"]
    assert counts == Counts(added=1, removed=1, replaced=1)
    assert found[0].before is not None
    assert found[0].before["purl"].endswith(":1")
    counts, back, _ = shelf.promote(1, "isos/zoo")
    assert short(back) == ["replaced bear", "added camel", "removed dingo"]
    assert (back[0].unit, back[0].before) == (found[0].before, found[0].unit)
    assert short(shelf.promote(2, "isos/prod/zoo")[1]) == ["added ant", "added bear", "added dingo"]
    assert short(shelf.promote(1, "isos/zoo")[1]) == []


def test_what_came_and_went_again_is_no_change(shelf: Shelf) -> None:
    shelf.put(ant={"sum": "1"})
    shelf.publish()
    shelf.put(bear={"sum": "1"}, ant={"sum": "2"})
    shelf.drop("bear")
    shelf.put(ant={"sum": "1"})
    assert shelf.publish()[:2] == (Counts(), [])


def test_a_unit_that_stays_and_gets_other_metadata_is_replaced_by_itself(shelf: Shelf) -> None:
    shelf.put(ant={"sum": "1", "colour": "red"}, bear={"sum": "1"})
    shelf.publish()
    shelf.put(ant={"sum": "1", "colour": "blue"})
    shelf.put(ant={"sum": "1", "colour": "black"})
    counts, found, _ = shelf.publish()
    assert (short(found), counts) == (["replaced ant"], Counts(replaced=1))
    assert found[0].before is not None
    assert found[0].before["id"] == found[0].unit["id"]
    assert short(shelf.promote(1, "isos/zoo")[1]) == ["replaced ant"]
    shelf.put(ant={"sum": "1", "colour": "red"})
    assert short(shelf.promote(2, "isos/zoo")[1]) == ["replaced ant"]


def test_names_of_units_that_are_nowhere_any_more_come_from_their_keys(shelf: Shelf) -> None:
    shelf.put(ant={"sum": "1"}, bear={"sum": "1"})
    shelf.publish()
    shelf.drop("bear")
    with shelf.here.context.database.write() as tx:
        orphans.remove_orphans(tx, None, None)
    _, [gone], _ = shelf.publish()
    assert (gone.change, gone.unit["name"], gone.unit["purl"]) == (
        "removed",
        "bear",
        "pkg:generic/bear?checksum=sha256:1",
    )


def test_a_snapshot_that_is_lost_fails_no_publish(shelf: Shelf) -> None:
    shelf.put(ant={"sum": "1"})
    shelf.publish()
    for file in shelf.here.stored():
        file.unlink()
    shelf.put(bear={"sum": "1"})
    assert short(shelf.publish()[1]) == ["added ant", "added bear"]


def test_more_than_can_be_named_is_counted_and_may_be_any_package(shelf: Shelf) -> None:
    shelf.put(**{f"file{number}": {"sum": str(number)} for number in range(MOST_OF_A_PUBLISH + 1)})
    counts, found, number = shelf.publish()
    assert (counts.added, len(found)) == (MOST_OF_A_PUBLISH + 1, MOST_OF_A_PUBLISH)
    shelf.put(ant={"sum": "1"})
    following = shelf.publish()[2]
    with shelf.here.context.database.read() as connection:
        assert changes.names(connection, [number, following]) == {number: None, following: ["ant"]}
        assert changes.count_between(connection, "zoo", 0, following).added == MOST_OF_A_PUBLISH + 2
