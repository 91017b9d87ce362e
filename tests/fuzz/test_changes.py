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

from pulpit.clock import system_clock
from pulpit.events import CONTENT_UPDATE, SYNC_FINISH, Event
from pulpit.store import changes, repositories, tasks, units
from pulpit.tasks import queue
from pulpit.tasks.operations import OPERATIONS
from pulpit.tasks.reports import change_document
from pulpit.tasks.worker import Worker
from support.catalogue import check
from support.database import log
from support.mirror import Mirror, mirror
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
        elif what == "delete":
            await self.done(queue.DELETE_REPOSITORY, self.repo_id)
            self.mirror.create(self.repo_id, self.feed.url)
        else:
            holder = self.other if what == "copy" else self.repo_id
            ids = [one.unit.id for one in held(self.mirror, holder) if one.unit.key["name"] in arguments[0]]
            if what == "copy":
                await self.done(queue.COPY_UNITS, self.repo_id, source_repo_id=holder, unit_ids=ids)
            else:
                await self.done(queue.REMOVE_UNITS, self.repo_id, unit_ids=ids)

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


def replayed(mirror: Mirror, repo_id: str) -> dict[str, dict[str, Any]]:
    """The units that a repository must hold by what its events say, with what they are called."""
    holds: dict[str, dict[str, Any]] = {}
    for event in log(mirror.context.database):
        if event.repo_id != repo_id or event.event_type not in {SYNC_FINISH, CONTENT_UPDATE, "repo.delete"}:
            continue
        check(event)
        if event.event_type == "repo.delete":
            holds.clear()
            continue
        for change in told(mirror, event):
            if change["change"] == "removed":
                del holds[change["id"]]
                continue
            if change["change"] == "replaced":
                del holds[change["before"]["id"]]
            assert change["id"] not in holds
            holds[change["id"]] = change
    return holds


def told(mirror: Mirror, event: Event) -> list[dict[str, Any]]:
    """All changes of an event; what its payload has is the beginning of them."""
    said = event.payload["changes"]
    with mirror.context.database.read() as connection:
        rows = changes.between(connection, event.repo_id or "", event.number - 1, event.number, limit=1000)
    everything = [change_document(row.change) for row in rows]
    assert said["units"] == everything[:MOST_CHANGES]
    assert said["truncated"] == (len(everything) > MOST_CHANGES)
    counted = [sum(change["change"] == kind for change in everything) for kind in ("added", "removed", "replaced")]
    assert [said["added"], said["removed"], said["replaced"]] == counted
    if event.event_type == SYNC_FINISH and event.result == "success":
        assert counted == [event.payload[f"{word}_count"] for word in ("added", "removed", "updated")]
    return everything


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
        expected = {one.unit.id: one.unit for one in held(here, repo_id)}
        found = replayed(here, repo_id)
        assert found.keys() == expected.keys()
        for unit_id, unit in expected.items():
            assert found[unit_id]["name"] == found[unit_id]["file"] == unit.key["name"]
            assert found[unit_id]["purl"].endswith(f"?checksum=sha256:{unit.key['checksum']}")
        with here.context.database.read() as connection:
            assert repositories.get(connection, repo_id).changes_from >= 0
            left = connection.exec_driver_sql("SELECT count(*) FROM change_sets WHERE event_number IS NULL").scalar()
        assert left == 0
