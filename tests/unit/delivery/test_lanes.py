"""Listeners with lanes: order within a repository, no waiting between repositories, also after a kill."""

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pulpit.clock import system_clock
from pulpit.delivery.lanes import MOST_IN_LANE
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Gone, Outcome, Refused, Retry
from pulpit.events import Event
from pulpit.fire import fire
from pulpit.store import listeners
from pulpit.store.database import Database
from support.chaos import seeded
from support.database import fresh, log
from support.scripted_notifier import Engine, Story, until

KILLS = int(os.environ.get("PULPIT_LANE_KILLS", "12"))
SEED = int(os.environ.get("PULPIT_LANE_KILLS_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with fresh(tmp_path) as (database, wakeups):
        yield Engine(database, wakeups)


def fired(database: Database, *repo_ids: str) -> list[int]:
    """Fire an event for each, and return their numbers."""
    with database.write() as tx:
        return [fire(tx, "repo.sync.start", {"repo_id": repo_id}, clock=system_clock).number for repo_id in repo_ids]


def test_a_repository_that_hangs_or_fails_delays_itself_alone(engine: Engine) -> None:
    listener_id = engine.listener(lanes=4)
    numbers = fired(engine.database, "slow", "zoo", "slow", "bear", "broken", "zoo", "bear", "broken")

    async def story() -> None:
        over = asyncio.Event()

        async def hang() -> Outcome:
            await over.wait()
            return DELIVERED

        slow: dict[str | None, Callable[[], Outcome | Awaitable[Outcome]]]
        slow = {"slow": hang, "broken": lambda: Retry(reason="down")}
        engine.story.answer = lambda event: slow.get(event.repo_id, lambda: DELIVERED)()
        async with engine.delivering():
            await until(lambda: {2, 4, 6, 7} <= set(engine.story.numbers()))
            await until(lambda: engine.state(listener_id).attempts >= 3)
            state = engine.state(listener_id)
            assert (state.position, state.last_error) == (0, "broken: down")
            ahead = state.settled_ahead
            assert ahead
            assert ahead.to >= 8
            assert dict(ahead.held) == {"slow": 1, "broken": 5}
            assert set(engine.story.numbers()) == {1, 2, 4, 5, 6, 7}
            over.set()
            await until(lambda: engine.state(listener_id).position >= 4)
            engine.story.answer = lambda _: DELIVERED
            await until(lambda: engine.state(listener_id).position >= 8)
            await until(lambda: engine.state(listener_id).last_error is None)
        assert engine.state(listener_id).ahead is None

    asyncio.run(story())
    assert set(engine.story.numbers()) == set(numbers)
    assert [number for number in engine.story.numbers() if number in (2, 6)] == [2, 6]


def test_so_many_are_served_at_a_time_and_those_that_fail_have_half_of_it_at_most(engine: Engine) -> None:
    engine.listener(lanes=4)
    engine.story = Story(batch=1)
    repo_ids = [f"repo{number}" for number in range(8)]
    busy = most = 0

    async def answer() -> Outcome:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        try:
            await over.wait()
        finally:
            busy -= 1
        return Retry(reason="slow", after=timedelta(0))

    async def story() -> None:
        engine.story.answer = lambda event: DELIVERED if event.repo_id == "well" else answer()
        fired(engine.database, *repo_ids)
        async with engine.delivering():
            await until(lambda: busy == 4)
            over.set()
            await until(lambda: len(engine.story.handed) > 30)  # all of them have failed by now
            over.clear()
            number = (await asyncio.to_thread(fired, engine.database, "well"))[0]
            await until(lambda: number in engine.story.numbers())
            await until(lambda: busy == 2)

    over = asyncio.Event()
    asyncio.run(story())
    assert most == 4


def test_what_stands_behind_a_failing_event_is_read_again_from_the_log_in_order(engine: Engine) -> None:
    listener_id = engine.listener(lanes=2)
    numbers = fired(engine.database, *["zoo"] * (3 * MOST_IN_LANE), "bear")
    engine.story.answer = lambda event: Retry(reason="down") if event.number == 3 else DELIVERED

    async def story() -> None:
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).attempts >= 2)
            more = await asyncio.to_thread(fired, engine.database, *["zoo"] * 5)
            engine.story.answer = lambda _: DELIVERED
            await until(lambda: engine.state(listener_id).position >= more[-1])
            again = await asyncio.to_thread(fired, engine.database, "zoo")
            await until(lambda: engine.state(listener_id).position >= again[0])
            numbers.extend([*more, *again])

    asyncio.run(story())
    seen = [number for number in dict.fromkeys(engine.story.numbers()) if number != 3 * MOST_IN_LANE + 1]
    assert seen == [number for number in numbers if number != 3 * MOST_IN_LANE + 1]


def test_after_a_restart_only_what_was_not_settled_comes(engine: Engine) -> None:
    listener_id = engine.listener(lanes=3, give_up_after=7 * 24 * 3600)
    fired(engine.database, "zoo", "broken", "bear", "broken", "zoo", "bear")
    engine.story.answer = lambda event: Retry(reason="down") if event.repo_id == "broken" else DELIVERED

    async def first() -> None:
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).attempts >= 2 and len(set(engine.story.numbers())) == 5)

    async def second() -> None:
        engine.story.handed.clear()
        engine.story.answer = lambda _: DELIVERED
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).position >= 6)
            assert engine.story.numbers() == [2, 4]
            await until(lambda: engine.state(listener_id).failing_since is None)

    asyncio.run(first())
    state = engine.state(listener_id)
    assert state.position == 1
    asyncio.run(second())


def test_what_one_repository_has_been_refused_for_too_long_is_put_aside_over_restarts_too(engine: Engine) -> None:
    listener_id = engine.listener(lanes=2, give_up_after=60)
    numbers = fired(engine.database, "broken", "zoo", *["broken"] * (2 * MOST_IN_LANE))
    engine.story.answer = lambda event: Retry(reason="down") if event.repo_id == "broken" else DELIVERED

    async def run(attempts: int) -> None:
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).attempts >= attempts)
            assert engine.letters(listener_id) == []

    async def last() -> None:
        engine.now = lambda: system_clock() + timedelta(seconds=70)
        engine.monotonic = lambda: time.monotonic() + 70
        async with engine.delivering():
            await until(lambda: len(engine.letters(listener_id)) == len(numbers) - 1)
            fresh_one = (await asyncio.to_thread(fired, engine.database, "broken"))[0]
            engine.story.answer = lambda _: DELIVERED
            await until(lambda: engine.state(listener_id).position >= fresh_one)

    asyncio.run(run(3))
    asyncio.run(run(6))
    asyncio.run(last())
    assert [number for number, _ in engine.letters(listener_id)] == [n for n in numbers if n != 2]
    assert engine.story.numbers().count(2) == 1


def test_gone_pauses_the_listener_and_it_goes_on_where_each_repository_was(engine: Engine) -> None:
    listener_id = engine.listener(lanes=2)
    fired(engine.database, "gone", "zoo", "gone", "zoo")
    engine.story.answer = lambda event: Gone(reason="410") if event.repo_id == "gone" else DELIVERED

    async def story() -> None:
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).paused and set(engine.story.numbers()) == {1, 2, 4})
            await until(lambda: engine.state(listener_id).ahead is not None)
            engine.story.answer = lambda _: DELIVERED
            with engine.database.write() as tx:
                listeners.resume(tx, listener_id)
            await until(lambda: engine.state(listener_id).position >= 4)

    asyncio.run(story())
    assert sorted(engine.story.numbers()) == [1, 1, 2, 3, 4]


@pytest.mark.parametrize(("since", "again"), [(2, [2, 3, 4, 5, 6, 7]), (6, [3, 5, 6, 7]), (99, [3, 5])])
def test_a_replay_repeats_what_it_is_about_and_keeps_what_is_held_before_it(
    engine: Engine, since: int, again: list[int]
) -> None:
    listener_id = engine.listener(lanes=2)
    fired(engine.database, "zoo", "zoo", "broken", "zoo", "broken", "bear", "bear")

    async def story() -> None:
        engine.story.answer = lambda event: Retry(reason="down") if event.repo_id == "broken" else DELIVERED
        async with engine.delivering():
            await until(lambda: len(set(engine.story.numbers())) == 6)
            await until(lambda: engine.state(listener_id).attempts > 1 and engine.state(listener_id).position == 2)
            with engine.database.write() as tx:
                listeners.pause(tx, listener_id)
            await until(lambda: engine.story.closed == ["one"])
            engine.story.handed.clear()
            engine.story.answer = lambda _: DELIVERED
            with engine.database.write() as tx:
                listeners.replay(tx, listener_id, since, None)
                listeners.resume(tx, listener_id)
            await until(lambda: engine.state(listener_id).position >= 7)

    asyncio.run(story())
    numbers = engine.story.numbers()
    assert sorted(n for n in numbers if n < 8) == again


def test_a_listener_that_has_lanes_no_more_ends_what_is_held_and_goes_on_in_order(engine: Engine) -> None:
    listener_id = engine.listener(lanes=3)
    fired(engine.database, "zoo", "broken", "bear")

    async def story() -> None:
        engine.story.answer = lambda event: Retry(reason="down") if event.repo_id == "broken" else DELIVERED
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).attempts > 1 and len(set(engine.story.numbers())) == 3)
            with engine.database.write() as tx:
                listeners.change(tx, listener_id, notifier_config={"name": "one"})
            await until(lambda: engine.state(listener_id).attempts > 3)
            engine.story.answer = lambda _: DELIVERED
            await until(lambda: engine.state(listener_id).position >= 3)
            engine.story.answer = lambda event: Retry(reason="down") if event.repo_id == "late" else DELIVERED
            (late,) = await asyncio.to_thread(fired, engine.database, "late")
            await until(lambda: engine.story.numbers().count(late) > 2)
            (bear,) = await asyncio.to_thread(fired, engine.database, "bear")
            await until(lambda: engine.story.numbers().count(late) > 4)
            assert bear not in engine.story.numbers()
            engine.story.answer = lambda _: DELIVERED
            await until(lambda: engine.state(listener_id).position >= bear)

    asyncio.run(story())
    assert engine.story.numbers().count(1) == engine.story.numbers().count(3) == 1


def test_letters_of_some_addresses_and_of_refusals_are_written_beside_what_is_held(engine: Engine) -> None:
    listener_id = engine.listener(lanes=2)
    fired(engine.database, "broken", "zoo", "bear")
    outcomes: dict[int, Outcome] = {
        1: Retry(reason="down"),
        2: Refused(reason="400"),
        3: Delivered(refused={"joe@example.com": "no such user"}),
    }
    engine.story.answer = lambda event: outcomes[event.number]

    async def story() -> None:
        async with engine.delivering():
            await until(lambda: len(engine.letters(listener_id)) == 2)
            await until(lambda: engine.state(listener_id).attempts > 1)

    asyncio.run(story())
    assert engine.letters(listener_id) == [(2, "400"), (3, "no such user")]
    state = engine.state(listener_id)
    assert state.position == 0
    assert state.settled_ahead
    assert dict(state.settled_ahead.held) == {"broken": 1}


class Campaign:
    """Rounds that each end by a kill: what the next one finds is the database as it was at a random moment."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.story = Story(batch=3)
        self.story.answer = self.answer
        self.taken: list[tuple[str, int]] = []
        self.failing = ""
        self.dead = False

    def answer(self, event: Event) -> Outcome | Awaitable[Outcome]:
        if self.dead:
            return asyncio.get_running_loop().create_future()
        if event.repo_id == self.failing or self.chance.random() < 0.05:
            return Retry(reason="down")
        if event.number % 50 == 0:
            return Refused(reason="400")
        self.taken.append((str(event.repo_id), event.number))
        return DELIVERED

    async def round(self, number: int, *, last: bool = False) -> None:
        self.dead = False
        with fresh(self.folder / str(number)) as (database, wakeups):
            engine = Engine(database, wakeups)
            engine.story = self.story
            if number == 0:
                engine.listener("repo.*.*", lanes=4)
            (listener,) = self.listeners(database)
            async with engine.delivering():
                self.failing = "" if last else f"repo{self.chance.randrange(6)}"
                for _ in range(0 if last else 4):
                    some = [f"repo{self.chance.randrange(6)}" for _ in range(20)]
                    await asyncio.to_thread(fired, database, *some)
                    await asyncio.sleep(self.chance.random() * 0.15)
                if last:
                    head = log(database)[-1].number
                    await until(lambda: engine.state(listener.id).position >= head, 60)
                self.dead = True  # what comes after this moment is as if it had never been
                (self.folder / str(number + 1)).mkdir()
                with (
                    contextlib.closing(sqlite3.connect(self.folder / str(number) / "pulpit.db")) as before,
                    contextlib.closing(sqlite3.connect(self.folder / str(number + 1) / "pulpit.db")) as after,
                ):
                    before.backup(after)

    def listeners(self, database: Database) -> list[listeners.Listener]:
        with database.read() as connection:
            return listeners.every(connection)


def test_kills_lose_nothing_and_repeat_little_and_keep_the_order_of_each_repository(tmp_path: Path) -> None:
    chance = seeded(SEED)
    campaign = Campaign(tmp_path, chance)
    (tmp_path / "0").mkdir()

    async def story() -> None:
        for number in range(KILLS):
            await campaign.round(number)
        await campaign.round(KILLS, last=True)

    asyncio.run(story())
    with fresh(tmp_path / str(KILLS + 1)) as (database, wakeups):
        engine = Engine(database, wakeups)
        (listener,) = campaign.listeners(database)
        assert listener.settled_ahead is None
        letters = {number for number, _ in engine.letters(listener.id)}
        wanted = [event for event in log(database) if event.event_type.startswith("repo.")]
    taken = {number for _, number in campaign.taken}
    assert {event.number for event in wanted} <= taken | letters, SEED
    firsts: dict[str, list[int]] = defaultdict(list)
    for repo_id, number in dict.fromkeys(campaign.taken):
        firsts[repo_id].append(number)
    assert all(numbers == sorted(numbers) for numbers in firsts.values()), SEED
    repeated = len(campaign.taken) - len(taken)
    assert repeated < len(wanted) / 2
