"""A server that was frozen or cut off delivers nothing of what another one has taken over, and goes on behind it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pulpit.clock import system_clock
from pulpit.delivery.dispatcher import Dispatcher
from pulpit.delivery.leases import since_boot
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.fire import fire
from pulpit.store import listeners
from pulpit.store.database import Database
from pulpit.store.servers import Instance
from pulpit.store.wakeups import WakeupSocket
from support.postgresql import PostgreSQL
from support.scripted_notifier import Story, running, until

ONE = Instance(node="one", id="1", home="here")
HOUR = timedelta(hours=1)


def delivering(database: Database, story: Story, clock: Callable[[], float]) -> AbstractAsyncContextManager[None]:
    dispatcher = Dispatcher(database, NotifierTypes({"story": story}), system_clock, me=ONE, since_boot=clock)
    return running(dispatcher)


def fire_some(database: Database, count: int) -> list[int]:
    with database.write() as tx:
        return [fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock).number for _ in range(count)]


def delivered_by_another(database: Database, listener_id: str, count: int) -> list[int]:
    """Fire events that a server has delivered by the time they are committed; it holds the listener."""
    with database.write() as tx:
        listeners.get(tx.connection, listener_id)
        numbers = [fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock).number for _ in range(count)]
        held = "UPDATE listeners SET lease_owner = :owner, lease_until = lease_until + 3600000000, position = :position"
        tx.connection.execute(sa.text(held), {"owner": "two", "position": numbers[-1]})
    return numbers


def let_go(database: Database) -> None:
    with database.write() as tx:
        tx.connection.execute(sa.text("UPDATE listeners SET lease_owner = NULL, lease_until = NULL"))


@pytest.mark.parametrize("lanes", [1, 4])
def test_what_another_server_delivered_meanwhile_is_not_delivered_again(
    tmp_path: Path, cluster: PostgreSQL, lanes: int
) -> None:
    frozen_for = 0.0
    story = Story()
    story.pace = replace(story.pace, lanes=lanes)

    async def run(database: Database) -> None:
        nonlocal frozen_for
        with database.write() as tx:
            one = listeners.add(tx, "story", {"name": "one"}, ["*"], now=system_clock()).id
        async with delivering(database, story, lambda: since_boot() + frozen_for):
            mine = await asyncio.to_thread(fire_some, database, 3)
            await until(lambda: story.numbers() == mine)
            frozen_for += 60.0
            theirs = await asyncio.to_thread(delivered_by_another, database, one, 3)
            await asyncio.to_thread(let_go, database)
            again = await asyncio.to_thread(fire_some, database, 3)
            await until(lambda: again[-1] in story.numbers(), 30)
        assert story.numbers() == mine + again
        assert not set(theirs) & set(story.numbers())

    with WakeupSocket(tmp_path) as wakeups:
        database = Database.open(tmp_path, wakeups, url=cluster.fresh())
        try:
            asyncio.run(run(database))
        finally:
            database.close()
