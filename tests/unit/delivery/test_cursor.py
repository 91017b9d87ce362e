"""The delivery engine with a notifier that returns what a test says."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.port import (
    DELIVERED,
    Delivered,
    Gone,
    Later,
    Outcome,
    Refused,
    Retry,
)
from pulpit.delivery.position_writer import PositionWriter
from pulpit.errors import InvalidValue, MissingResource
from pulpit.events import Event
from pulpit.fire import fire
from pulpit.store import dead_letters, listeners
from pulpit.store.database import HANDED_OVER, Database
from support.database import fail, fire_one, fresh, log
from support.scripted_notifier import SOON, Engine, Story, Teller, until


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with fresh(tmp_path) as (database, wakeups):
        yield Engine(database, wakeups)


def test_what_was_fired_before_and_after_the_start_arrives_in_order(engine: Engine) -> None:
    async def story() -> None:
        engine.listener()
        before = [fire_one(engine.database).number for _ in range(5)]
        async with engine.delivering():
            await until(lambda: engine.story.numbers() == before)
            after = [await asyncio.to_thread(lambda: fire_one(engine.database).number) for _ in range(5)]
            await until(lambda: engine.story.numbers() == before + after)

    asyncio.run(story())


def test_what_this_process_and_others_fire_at_one_time_arrives_once_and_in_order(
    engine: Engine, tmp_path: Path
) -> None:
    """Transactions of this process hand their events over, in any order; of those of others there is only a wakeup."""

    def fire_many(database: Database) -> None:
        for number in range(40):
            with contextlib.suppress(InvalidValue), database.write() as tx:
                fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock)
                if number % 4 == 3:
                    fire(tx, "unknown", {}, clock=system_clock)  # it is rolled back, and was never handed over

    async def story() -> None:
        engine.listener()
        with fresh(tmp_path) as (other, _):
            async with engine.delivering():
                firing = (engine.database, engine.database, other)
                await asyncio.gather(*(asyncio.to_thread(fire_many, database) for database in firing))
                await until(lambda: len(engine.story.handed) >= 90)
                with engine.database.write() as tx:  # more than are handed over
                    for _ in range(HANDED_OVER + 1):
                        fire(tx, "repo.sync.start", {}, clock=system_clock)
                await until(lambda: len(engine.story.handed) >= 91 + HANDED_OVER)
        assert engine.story.numbers() == [event.number for event in log(engine.database)] == list(range(1, 142))

    asyncio.run(story())


def test_a_listener_begins_with_the_next_event_and_gets_only_what_it_asked_for(engine: Engine) -> None:
    fire_one(engine.database)
    listener_id = engine.listener("repo.*.finish")

    async def story() -> None:
        async with engine.delivering():
            await asyncio.to_thread(fire_one, engine.database, "repo.sync.start")
            finish = await asyncio.to_thread(fire_one, engine.database, "repo.sync.finish")
            await until(lambda: engine.story.numbers() == [finish.number])
            await until(lambda: engine.state(listener_id).position == 3)

    asyncio.run(story())


def test_a_position_is_kept_over_a_restart_and_nothing_is_sent_twice(engine: Engine) -> None:
    listener_id = engine.listener()

    async def one_run(*, fired: int, in_all: int) -> None:
        async with engine.delivering():
            for _ in range(fired):
                await asyncio.to_thread(fire_one, engine.database)
            await until(lambda: len(engine.story.handed) == in_all)
            await until(lambda: engine.state(listener_id).position == in_all)

    asyncio.run(one_run(fired=4, in_all=4))
    asyncio.run(one_run(fired=8, in_all=12))
    assert engine.story.numbers() == list(range(1, 13))


def test_a_failing_event_is_tried_again_before_anything_after_it(engine: Engine) -> None:
    failures = iter([True, True, False])
    engine.story = Story(batch=1, overlap=1)
    engine.story.answer = lambda event: (
        Retry(reason="not now") if event.number == 2 and next(failures, False) else DELIVERED
    )
    listener_id = engine.listener()

    async def story() -> None:
        for _ in range(4):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.story.numbers()[-1:] == [4])
            await until(lambda: engine.state(listener_id).position >= 4)

    asyncio.run(story())
    assert engine.story.numbers() == [1, 2, 2, 2, 3, 4]
    state = engine.state(listener_id)
    assert (state.attempts, state.failing_since, state.last_error) == (0, None, None)


def test_a_failing_listener_shows_its_state_and_delays_itself_alone(engine: Engine) -> None:
    engine.story.answer = lambda _: DELIVERED
    broken = engine.listener(name="broken")
    engine.listener(name="well")
    original = Teller.deliver

    async def story() -> None:
        for _ in range(6):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: len(engine.story.numbers("well")) == 6)
            await until(lambda: engine.state(broken).attempts >= 2)
            state = engine.state(broken)
            assert state.last_error == "no route"
            assert state.failing_since is not None
            assert state.position == 0

    async def deliver(self: Teller, events: Sequence[Event]) -> Sequence[Outcome]:
        return [Retry(reason="no route")] if self._name == "broken" else await original(self, events)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Teller, "deliver", deliver)
        asyncio.run(story())


def test_a_refusal_becomes_a_dead_letter_with_its_reason_and_the_rest_goes_on(engine: Engine) -> None:
    engine.story.answer = lambda event: Refused(reason="400 Bad Request") if event.number == 2 else DELIVERED
    listener_id = engine.listener()

    async def story() -> None:
        for _ in range(5):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: len(engine.story.handed) == 5)
            await until(lambda: engine.letters(listener_id) == [(2, "400 Bad Request")])
            await until(lambda: engine.state(listener_id).position == 5)

    asyncio.run(story())


def test_what_fails_for_longer_than_give_up_after_becomes_dead_letters_in_order(engine: Engine) -> None:
    engine.story.answer = lambda event: Retry(reason="down") if event.number <= 4 else DELIVERED
    listener_id = engine.listener(give_up_after=60)

    async def story() -> None:
        for _ in range(4):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).attempts >= 2)
            assert engine.letters(listener_id) == []
            engine.now = lambda: system_clock() + timedelta(seconds=61)
            engine.monotonic = lambda: time.monotonic() + 61
            await until(lambda: [number for number, _ in engine.letters(listener_id)] == [1, 2, 3, 4])
            fifth = await asyncio.to_thread(fire_one, engine.database)
            await until(lambda: fifth.number in engine.story.numbers())

    asyncio.run(story())
    assert all("down" in reason for _, reason in engine.letters(listener_id))


def test_c9_a_clock_that_leaps_ahead_gives_nothing_up(engine: Engine) -> None:
    engine.story.answer = lambda _: Retry(reason="down")
    listener_id = engine.listener(give_up_after=60)

    async def story() -> None:
        for _ in range(3):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).attempts >= 2)
            engine.now = lambda: system_clock() + timedelta(hours=2)
            before = engine.state(listener_id).attempts
            await until(lambda: engine.state(listener_id).attempts >= before + 3)
            assert engine.letters(listener_id) == []
            late = await asyncio.to_thread(fire_one, engine.database)
            engine.monotonic = lambda: time.monotonic() + 61  # the first three have been tried for so long, `late` not
            engine.now = lambda: system_clock() + timedelta(hours=4)
            await until(lambda: [number for number, _ in engine.letters(listener_id)] == [1, 2, 3])
            await until(lambda: late.number in engine.story.numbers())

    asyncio.run(story())


def test_c9_what_failed_before_a_restart_counts_by_its_attempts(engine: Engine) -> None:
    engine.story.answer = lambda _: Retry(reason="down")
    listener_id = engine.listener(give_up_after=15 * 24 * 3600)
    fire_one(engine.database)

    async def fail_again(attempts: int) -> None:
        async with engine.delivering():
            before = engine.state(listener_id).attempts
            await until(lambda: engine.state(listener_id).attempts >= before + attempts)

    asyncio.run(fail_again(2))
    engine.now = lambda: system_clock() + timedelta(days=20)  # the server starts with a clock that is wrong
    asyncio.run(fail_again(3))
    assert engine.letters(listener_id) == []
    with engine.database.write() as tx:
        fail(tx, listener_id, "down", now=engine.now(), count=15 * 24 * 60)  # that took a minute each

    async def story() -> None:
        async with engine.delivering():
            await until(lambda: engine.letters(listener_id) != [])

    asyncio.run(story())
    assert [number for number, _ in engine.letters(listener_id)] == [1]


def test_a_changed_listener_goes_on_with_its_new_wish_from_where_it_was(engine: Engine) -> None:
    listener_id = engine.listener("repo.sync.start")

    async def story() -> None:
        async with engine.delivering():
            await asyncio.to_thread(fire_one, engine.database, "repo.sync.start")
            await until(lambda: engine.story.numbers() == [1])
            with engine.database.write() as tx:
                listeners.change(tx, listener_id, event_types=["repo.publish.#"])
            await asyncio.to_thread(fire_one, engine.database, "repo.sync.finish")
            third = await asyncio.to_thread(fire_one, engine.database, "repo.publish.start")
            await until(lambda: engine.story.numbers() == [1, third.number])

    asyncio.run(story())


def test_a_deleted_listener_gets_nothing_more_even_while_it_fails(engine: Engine) -> None:
    engine.story.answer = lambda _: Retry(reason="down")
    listener_id = engine.listener()

    async def story() -> None:
        fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).attempts >= 1)
            with engine.database.write() as tx:
                listeners.remove(tx, listener_id)
            handed = -1
            while handed != len(engine.story.handed):
                handed = len(engine.story.handed)
                await asyncio.sleep(0.1)

    asyncio.run(story())


def test_batches_overlap_and_settle_in_order(engine: Engine) -> None:
    engine.story = Story(batch=2, overlap=2)
    listener_id = engine.listener()

    async def story() -> None:
        engine.story.gate = asyncio.Event()
        for _ in range(9):
            fire_one(engine.database)
        async with engine.delivering():
            await asyncio.sleep(0.05)
            assert engine.state(listener_id).position == 0
            engine.story.gate.set()
            await until(lambda: engine.story.numbers() == list(range(1, 10)))
            await until(lambda: engine.state(listener_id).position == 9)

    asyncio.run(story())


def test_a_bug_in_a_notifier_is_a_failed_attempt_and_not_the_end(engine: Engine) -> None:
    bugs = iter([True])

    def answer(_: Event) -> Outcome:
        if next(bugs, False):
            raise KeyError("a bug")
        return DELIVERED

    engine.story.answer = answer
    listener_id = engine.listener()

    async def story() -> None:
        fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.story.numbers() == [1, 1])
            await until(lambda: engine.state(listener_id).position >= 1)

    asyncio.run(story())


def test_a_receiver_that_is_gone_pauses_the_listener_before_the_event_until_it_is_resumed(engine: Engine) -> None:
    engine.story.answer = lambda event: Gone(reason="410 Gone") if event.number == 2 else DELIVERED
    listener_id = engine.listener()

    async def story() -> None:
        for _ in range(3):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.state(listener_id).paused)
            await until(lambda: engine.state(listener_id).position == 1)
            assert engine.state(listener_id).pause_reason == "410 Gone"
            engine.story.answer = lambda _: DELIVERED
            with engine.database.write() as tx:
                listeners.resume(tx, listener_id)
            await until(lambda: engine.story.numbers()[-2:] == [2, 3])

    asyncio.run(story())


def test_waiting_for_later_is_no_failure(engine: Engine) -> None:
    waits = iter([True, True])
    engine.story.answer = lambda _: Later(reason="collecting", after=SOON) if next(waits, False) else DELIVERED
    listener_id = engine.listener()

    async def story() -> None:
        fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.story.numbers() == [1, 1, 1])
            await until(lambda: engine.state(listener_id).position == 1)

    asyncio.run(story())
    assert [event.event_type for event in log(engine.database)] == ["repo.sync.start"]


def test_an_address_that_refuses_is_a_dead_letter_for_itself_alone(engine: Engine) -> None:
    engine.story.answer = lambda _: Delivered(refused={"nobody@example.org": "550 unknown"})
    listener_id = engine.listener()

    async def story() -> None:
        fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: len(engine.letters(listener_id)) == 1)

    asyncio.run(story())
    with engine.database.read() as connection:
        (letter,) = dead_letters.of_listener(connection, listener_id)
    assert (letter.event_number, letter.recipient, letter.reason) == (1, "nobody@example.org", "550 unknown")


def test_failing_and_recovering_are_told_to_the_listeners_that_ask_and_not_to_the_one_concerned(engine: Engine) -> None:
    failures = iter([True, True])
    engine.story.answer = lambda event: (
        Retry(reason="down") if event.event_type == "repo.sync.start" and next(failures, False) else DELIVERED
    )
    failing = engine.listener("repo.#", "listener.#", name="failing")
    engine.listener("listener.#", name="watching")

    async def story() -> None:
        fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: len(engine.story.numbers("watching")) == 2)

    asyncio.run(story())
    told = [event for event in log(engine.database) if event.event_type.startswith("listener.")]
    assert [event.event_type for event in told] == ["listener.failing", "listener.recovered"]
    assert {event.payload["listener_id"] for event in told} == {failing}
    assert set(engine.story.numbers("failing")) == {1}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"repo_ids": ["fedora-*"]}, [1, 3]),
        ({"repo_ids": ["fedora-*", "zoo"]}, [1, 2, 3]),
        ({"results": ["failed"]}, [3]),
        ({"repo_ids": ["zoo"], "results": ["failed"]}, []),
    ],
)
def test_filters_beyond_the_type(engine: Engine, filters: dict[str, Any], expected: list[int]) -> None:
    with engine.database.write() as tx:
        listeners.add(tx, "story", {"name": "one"}, ["*"], now=system_clock(), **filters)
        listeners.add(tx, "story", {"name": "all"}, ["*"], now=system_clock())

    async def story() -> None:
        fire_one(engine.database, "repo.sync.start", "fedora-40")
        fire_one(engine.database, "repo.sync.finish", "zoo", result="success")
        fire_one(engine.database, "repo.sync.finish", "fedora-41", result="failed")
        fire_one(engine.database, "build.image.done", "other")
        async with engine.delivering():
            await until(lambda: len(engine.story.numbers("all")) == 4)
            await until(lambda: len(engine.story.numbers()) == len(expected))

    asyncio.run(story())
    assert engine.story.numbers() == expected


@pytest.mark.parametrize(("types", "expected"), [(None, [2, 3, 4]), (["repo.publish.start"], [3])])
def test_a_replay_delivers_again_from_a_number_and_the_running_cursor_cannot_undo_it(
    engine: Engine, types: list[str] | None, expected: list[int]
) -> None:
    listener_id = engine.listener()

    async def story() -> None:
        for event_type in ("repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish"):
            fire_one(engine.database, event_type)
        async with engine.delivering():
            await until(lambda: engine.story.numbers() == [1, 2, 3, 4])
            with engine.database.write() as tx:
                listeners.replay(tx, listener_id, 2, types)
            await until(lambda: len(engine.story.numbers()) == 4 + len(expected))
            fifth = await asyncio.to_thread(fire_one, engine.database)
            await until(lambda: engine.story.numbers()[-1] == fifth.number)
            await until(lambda: engine.state(listener_id).position == 5)

    asyncio.run(story())
    assert engine.story.numbers() == [1, 2, 3, 4, *expected, 5]


def test_a_listener_that_gives_up_order_has_several_events_under_way(engine: Engine) -> None:
    engine.story = Story(batch=8, overlap=1)
    with engine.database.write() as tx:
        made = listeners.add(tx, "story", {"concurrency": 4}, ["*"], now=system_clock())

    async def story() -> None:
        engine.story.gate = asyncio.Event()
        for _ in range(9):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.story.waiting == 4)
            engine.story.gate.set()
            await until(lambda: engine.state(made.id).position == 9)

    asyncio.run(story())
    assert sorted(engine.story.numbers()) == list(range(1, 10))


def test_attempts_are_kept_for_an_operator_to_see(engine: Engine) -> None:
    answers: Iterator[Outcome] = iter([Delivered(answer="200"), Delivered(answer="200"), Retry(reason="down")])
    engine.story = Story(batch=1, overlap=1)
    engine.story.answer = lambda _: next(answers, DELIVERED)
    listener_id = engine.listener()

    async def story() -> None:
        for _ in range(3):
            fire_one(engine.database)
        async with engine.delivering():
            await until(lambda: engine.story.numbers() == [1, 2, 3, 3])
            await until(lambda: engine.state(listener_id).position >= 3)

    asyncio.run(story())
    with engine.database.read() as connection:
        found = listeners.recent_deliveries(connection, listener_id, limit=10)
    assert [
        (attempt.outcome, attempt.first_event, attempt.last_event, attempt.event_count, attempt.answer)
        for attempt in reversed(found)
    ] == [
        ("delivered", 1, 2, 2, "200"),
        ("retry", 3, 3, 1, "down"),
        ("delivered", 3, 3, 1, ""),
    ]


def test_b15_hundreds_of_listeners_that_fail_hold_up_neither_a_write_nor_the_stop(engine: Engine) -> None:
    engine.story.answer = lambda _: Retry(reason="down", after=timedelta(hours=1))
    made = [engine.listener(name=str(number)) for number in range(300)]

    async def story() -> None:
        async with engine.delivering():
            fire_one(engine.database)
            await until(lambda: len(engine.story.handed) == len(made))
            await until(lambda: all(engine.state(listener_id).attempts == 1 for listener_id in made))
            assert engine.story.handed == [(name, 1) for name, _ in engine.story.handed]
        with engine.database.read() as connection:
            states = listeners.every(connection)
        assert {(state.attempts, state.position) for state in states} == {(1, 0)}
        with engine.database.read() as connection:
            assert all(len(listeners.recent_deliveries(connection, listener_id, limit=2)) == 1 for listener_id in made)

    asyncio.run(story())


def test_b15_one_write_that_fails_does_not_spoil_those_beside_it(engine: Engine) -> None:
    engine.story.answer = lambda _: Gone(reason="gone")
    first, second = engine.listener(name="first"), engine.listener(name="second")

    async def story() -> None:
        writer = PositionWriter(engine.database, engine.now)
        gone, kept = engine.state(first), engine.state(second)
        with engine.database.write() as tx:
            listeners.remove(tx, first)
        lost, done = await asyncio.gather(
            writer.pause(gone, "gone"), writer.pause(kept, "gone"), return_exceptions=True
        )
        assert isinstance(lost, MissingResource)
        assert done is None
        assert engine.state(second).paused

    asyncio.run(story())
