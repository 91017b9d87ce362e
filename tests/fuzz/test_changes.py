"""Replaying the events of a repository from its creation gives exactly its content, whatever was done to it."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from pulpit.clock import system_clock
from pulpit.events import PUBLISH_FINISH, SYNC_FINISH, TELLING_CHANGES, Event
from pulpit.repositories import differences
from pulpit.store import changes, publications, repositories, tasks, units
from pulpit.store.schema import change_sets
from pulpit.tasks import queue
from pulpit.tasks.operations import OPERATIONS
from pulpit.tasks.reports import change_document
from pulpit.tasks.worker import Worker
from support.database import log
from support.made_events import check
from support.mirror import DISTRIBUTOR, Mirror, mirror
from support.upstream import Upstream, line, running

NAMES = [f"{letter}.iso" for letter in "abcdefgh"]
EXAMPLES = int(os.environ.get("PULPIT_CHANGES_EXAMPLES", "12"))
MOST_CHANGES = 3
"""Few, so that the whole list must be asked for now and then."""

OFFER = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), max_size=8)
"""What an upstream has: of each file a version."""
SOME = st.sets(st.sampled_from(NAMES), max_size=4)
STEP = st.one_of(
    st.tuples(st.just("sync"), OFFER, st.booleans()),
    st.tuples(st.just("broken"), OFFER, st.sampled_from(NAMES)),
    st.tuples(st.just("cancelled"), OFFER, st.booleans()),
    st.tuples(st.just("upload"), st.sampled_from(NAMES), st.integers(0, 5)),
    st.tuples(st.just("copy"), SOME),
    st.tuples(st.just("remove"), SOME),
    st.tuples(st.just("publish")),
    st.tuples(st.just("promote"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("delete")),
)


def content(name: str, version: int) -> bytes:
    return f"{name} {version}".encode()


@dataclass
class Story:
    """One life of a repository beside another one that is copied from."""

    mirror: Mirror
    feed: Upstream
    repo_id: str
    other: str
    orders: asyncio.StreamReader = field(init=False)

    async def tell(self, steps: list[tuple[Any, ...]]) -> None:
        self.orders = asyncio.StreamReader()
        context = self.mirror.context
        worker = Worker("w@here", context.database, context, OPERATIONS, system_clock, most_changes=MOST_CHANGES)
        working = asyncio.create_task(worker.run(self.orders))
        self.offer(dict.fromkeys(NAMES[::2], 7), missing=None)
        await self.done(queue.SYNC, self.other)
        for step in steps:
            await self.step(*step)
        self.orders.feed_data(b"stop\n")
        await working

    async def step(self, what: str, *arguments: Any) -> None:
        if what in {"sync", "cancelled"}:
            offered, remove_missing = arguments
            self.offer(offered, missing=None)
            self.mirror.configure(self.repo_id, remove_missing=remove_missing, allow_empty=True)
            await self.done(queue.SYNC, self.repo_id, cancel=what == "cancelled")
        elif what == "broken":
            self.offer(arguments[0], missing=arguments[1])
            await self.done(queue.SYNC, self.repo_id)
        elif what == "upload":
            path = self.mirror.data_dir / "uploaded"
            path.write_bytes(content(*arguments))
            key = {"name": arguments[0]}
            await self.done(
                queue.IMPORT_UPLOAD, self.repo_id, path="uploaded", unit_type_id="iso", unit_key=key, unit_metadata={}
            )
        elif what == "publish":
            await self.done(queue.PUBLISH, self.repo_id, distributor_id=DISTRIBUTOR)
        elif what == "promote":
            await self.promote(*arguments)
        elif what == "delete":
            await self.done(queue.DELETE_REPOSITORY, self.repo_id)
            self.mirror.create(self.repo_id, self.feed.url)
        else:
            holder = self.other if what == "copy" else self.repo_id
            ids = [member.unit.id for member in held(self.mirror, holder) if member.unit.key["name"] in arguments[0]]
            if what == "copy":
                await self.done(queue.COPY_UNITS, self.repo_id, source_repo_id=holder, unit_ids=ids)
            else:
                await self.done(queue.REMOVE_UNITS, self.repo_id, unit_ids=ids)

    async def promote(self, which: int, is_rollback: bool) -> None:
        """Let the own place or another one show any of the publications that are kept."""
        with self.mirror.context.database.read() as connection:
            kept = publications.of_repository(connection, self.repo_id)
        if kept:
            path = f"isos/{self.repo_id}" if is_rollback else f"isos/prod/{self.repo_id}"
            number = kept[which % len(kept)].number
            await self.done(queue.PROMOTE, self.repo_id, publication=number, path=path, protect=False)

    def offer(self, versions: dict[str, int], missing: str | None) -> None:
        self.feed.files.clear()
        for name, version in versions.items():
            self.feed.put(name, content(name, version))
        self.feed.manifest(*(line(name, content(name, version)) for name, version in versions.items()))
        self.feed.files.pop(missing or "", None)

    async def done(self, task_type: str, repo_id: str, *, cancel: bool = False, **arguments: Any) -> None:
        """Have a task done by the worker, and wait for its end."""
        new = tasks.NewTask(
            task_type=task_type, arguments={"repo_id": repo_id, "override_config": None, **arguments}, tags=[]
        )
        with self.mirror.context.database.write() as tx:
            task = tasks.add(tx, new, now=system_clock())
        self.orders.feed_data(f"cancel {task.id}\n".encode() if cancel else b"wake\n")
        async with asyncio.timeout(60):
            while self.state(task.id) not in tasks.ENDED:  # noqa: ASYNC110 - only the database tells
                await asyncio.sleep(0.005)

    def state(self, task_id: str) -> str:
        with self.mirror.context.database.read() as connection:
            return tasks.get(connection, task_id).state


def held(mirror: Mirror, repo_id: str) -> list[units.Held]:
    with mirror.context.database.read() as connection:
        return list(units.held(connection, repo_id))


def replayed(mirror: Mirror, repo_id: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The units that a repository, and each place where it is published, must hold by what its events say.

    The repository stands under the empty path, with what the units are called.
    """
    holds: dict[str, dict[str, dict[str, Any]]] = {"": {}}
    for event in log(mirror.context.database):
        if event.repo_id != repo_id or event.event_type not in {*TELLING_CHANGES, "repo.delete"}:
            continue
        check(event)
        if event.event_type == "repo.delete":
            holds = {"": {}}
            continue
        is_publish = event.event_type == PUBLISH_FINISH
        place = event.payload.get("place", f"isos/{repo_id}") if is_publish else ""
        if is_publish and event.result == "success":
            holds.setdefault(place, {})
        apply(holds.get(place, {}), told(mirror, event))
    return holds


def apply(holds: dict[str, dict[str, Any]], happened: list[dict[str, Any]]) -> None:
    for change in happened:
        if change["change"] == "removed":
            del holds[change["id"]]
            continue
        if change["change"] == "replaced":
            del holds[change["before"]["id"]]
        assert change["id"] not in holds
        holds[change["id"]] = change


def told(mirror: Mirror, event: Event) -> list[dict[str, Any]]:
    """All changes of an event; what its payload has is the beginning of them."""
    said = event.payload["changes"]
    with mirror.context.database.read() as connection:
        repeated = changes.between(connection, event.repo_id or "", event.number - 1, event.number, limit=1000)
        set_id = connection.scalar(select(change_sets.c.id).where(change_sets.c.event_number == event.number))
        rows = changes.first_of(connection, set_id or 0, 1000)
    everything = [change_document(row) for row in rows]
    assert [row.change for row in repeated] == ([] if event.event_type == PUBLISH_FINISH else rows)
    assert said["units"] == everything[:MOST_CHANGES]
    assert said["truncated"] == (len(everything) > MOST_CHANGES)
    counted = [sum(change["change"] == kind for change in everything) for kind in ("added", "removed", "replaced")]
    assert [said["added"], said["removed"], said["replaced"]] == counted
    if event.event_type == SYNC_FINISH and event.result == "success":
        assert counted == [event.payload[f"{word}_count"] for word in ("added", "removed", "updated")]
    return everything


def published(mirror: Mirror, repo_id: str) -> dict[str, dict[str, str]]:
    """The names of the units that the publication of each place holds, by their ids."""
    found: dict[str, dict[str, str]] = {}
    for path in (f"isos/{repo_id}", f"isos/prod/{repo_id}"):
        with mirror.context.database.read() as connection:
            shown = publications.at(connection, path)
        if shown:
            holds = differences.held(mirror.context.storage, shown)
            found[path] = {unit_id: key["name"] for unit_id, (_, key) in holds.items()}
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mirror, Upstream]]:
    with mirror(tmp_path_factory.mktemp("data")) as here, running() as feed:
        yield here.impatient(), feed


_numbers = itertools.count()


@given(steps=st.lists(STEP, min_size=1, max_size=8))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_events_of_a_repository_replayed_are_its_content(
    place: tuple[Mirror, Upstream], steps: list[tuple[Any, ...]]
) -> None:
    here, feed = place
    number = next(_numbers)
    story = Story(here, feed, f"zoo-{number}", f"ark-{number}")
    for repo_id in (story.repo_id, story.other):
        here.create(repo_id, feed.url)
    asyncio.run(story.tell(steps))
    for repo_id in (story.repo_id, story.other):
        expected = {member.unit.id: member.unit for member in held(here, repo_id)}
        places = replayed(here, repo_id)
        found = places.pop("")
        named = {path: {unit_id: unit["name"] for unit_id, unit in holds.items()} for path, holds in places.items()}
        assert named == published(here, repo_id)
        assert found.keys() == expected.keys()
        for unit_id, unit in expected.items():
            assert found[unit_id]["name"] == found[unit_id]["file"] == unit.key["name"]
            assert found[unit_id]["purl"].endswith(f"?checksum=sha256:{unit.key['checksum']}")
        with here.context.database.read() as connection:
            assert repositories.get(connection, repo_id).changes_from >= 0
            left = connection.exec_driver_sql("SELECT count(*) FROM change_sets WHERE event_number IS NULL").scalar()
        assert left == 0
