"""The event log: its numbers, its transactions, and reading from any position."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.errors import InvalidValue
from pulpit.fire import fire, fire_all
from pulpit.store import dead_letters, event_log, listeners
from pulpit.store.database import Database
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Move
from support.database import fire_one, log


def test_events_are_numbered_in_order_and_per_repository_without_holes(database: Database) -> None:
    for repo_id in ("zoo", "zoo", "farm", "zoo"):
        fire_one(database, repo_id=repo_id)
    found = log(database)
    assert [event.number for event in found] == [1, 2, 3, 4]
    assert [(event.repo_id, event.repo_number) for event in found] == [("zoo", 1), ("zoo", 2), ("farm", 1), ("zoo", 3)]
    assert len({event.id for event in found}) == 4
    assert [event.id for event in found] == sorted(event.id for event in found)


def test_what_is_rolled_back_never_happened_and_leaves_no_hole_in_the_repository(database: Database) -> None:
    fire_one(database)
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock)
        raise ZeroDivisionError
    fire_one(database)
    assert [event.repo_number for event in log(database)] == [1, 2]


def test_many_at_once_are_numbered_as_one_by_one(database: Database) -> None:
    """Types that `*` matches draw numbers of their repository, others do not; what is rolled back leaves no hole."""
    many: list[tuple[str, dict[str, Any], str | None]] = [
        ("repo.update" if number % 3 else "ci.build", {"n": number}, "zoo" if number % 2 else "farm")
        for number in range(60)
    ]
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        fire_all(tx, many, clock=system_clock)
        raise ZeroDivisionError
    with database.write() as tx:
        fired = fire_all(tx, many, clock=system_clock)
        assert fire_all(tx, [], clock=system_clock) == []
        last = fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock)
    assert log(database) == [*fired, last]
    assert [event.payload["n"] for event in fired] == list(range(60))
    for repo_id in ("zoo", "farm"):
        counted = [event.repo_number for event in fired if event.repo_id == repo_id and event.event_type == "ci.build"]
        assert counted == list(range(1, 11))
    assert last.repo_number == 11


def test_a_transaction_of_one_statement_and_a_read_leave_the_next_one_whole(database: Database) -> None:
    with database.write(is_one_statement=True) as tx:
        fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock)
    assert len(log(database)) == 1
    with pytest.raises(KeyError), database.write() as tx:
        fire(tx, "repo.sync.finish", {"repo_id": "zoo"}, clock=system_clock)
        raise KeyError
    assert len(log(database)) == 1
    assert fire_one(database).repo_number == 2


def test_the_body_has_the_three_keys_of_pulp_2(database: Database) -> None:
    event = fire_one(database, "repo.sync.finish", result="failed", summary={"ä": 1})
    (kept,) = log(database)
    assert kept == event
    payload = {"repo_id": "zoo", "result": "failed", "summary": {"ä": 1}}
    assert json.loads(kept.body) == {"event_type": "repo.sync.finish", "payload": payload, "call_report": None}
    assert (kept.subject, kept.result, kept.payload) == ("pulp.server.repo.sync.finish", "failed", payload)


@pytest.mark.parametrize("event_type", ["", "build", "repo.sync.began", "a..b", "a b.c", "a.*", "x." + "y" * 200])
def test_a_type_that_nobody_knows_is_refused(database: Database, event_type: str) -> None:
    with pytest.raises(InvalidValue, match="event_type"):
        fire_one(database, event_type)


def test_somebody_elses_type_is_welcome(database: Database) -> None:
    assert fire_one(database, "build.image.done").number == 1


def test_reading_goes_on_from_any_position(database: Database) -> None:
    with database.read() as connection:
        assert event_log.head(connection) == 0
    for _ in range(7):
        fire_one(database)
    with database.read() as connection:
        assert event_log.head(connection) == 7
        assert [event.number for event in event_log.read_after(connection, 3, limit=2)] == [4, 5]
        assert event_log.read_after(connection, 7, limit=2) == []
        assert event_log.get(connection, 8) is None


def test_many_threads_fire_and_no_number_is_lost(database: Database) -> None:
    threads = [threading.Thread(target=lambda: [fire_one(database) for _ in range(20)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = log(database)
    assert [event.number for event in found] == list(range(1, 121))
    assert [event.repo_number for event in found] == list(range(1, 121))


def test_a_reader_never_steps_over_an_event_that_is_still_to_be_committed(database: Database) -> None:
    """A transaction that has drawn a number and is slow: nobody may see a higher one before it has ended."""
    drawn, commit = threading.Event(), threading.Event()

    def slow() -> None:
        with database.write() as tx:
            fire(tx, "repo.sync.start", {"repo_id": "slow"}, clock=system_clock)
            drawn.set()
            commit.wait(60)

    threads = [threading.Thread(target=slow), threading.Thread(target=lambda: fire_one(database, repo_id="quick"))]
    threads[0].start()
    assert drawn.wait(60)
    threads[1].start()
    threads[1].join(0.3)
    seen_before = log(database)
    commit.set()
    for thread in threads:
        thread.join()
    assert seen_before == []
    assert [event.repo_id for event in log(database)] == ["slow", "quick"]


def forget(database: Database, **rules: Any) -> list[int]:
    wanted: dict[str, Any] = {"older_than": None, "beyond": None, "past_cursors": False, "limit": 100, **rules}
    with database.write() as tx:
        event_log.forget(tx, **wanted)
    return [event.number for event in log(database)]


def test_old_events_are_forgotten_but_never_what_somebody_still_needs(database: Database) -> None:
    with database.write() as tx:
        slow = listeners.add(tx, "amqp", {}, ["*"], now=system_clock())
    for _ in range(10):
        fire_one(database)
    tomorrow = system_clock() + timedelta(days=1)
    assert forget(database) == list(range(1, 11))
    assert forget(database, older_than=system_clock() - timedelta(days=1)) == list(range(1, 11))
    assert forget(database, older_than=tomorrow) == list(range(1, 11)), "the listener has had none of them"
    with database.write() as tx:
        listeners.settle(tx, [Move(listener_id=slow.id, epoch=1, position=6)])
        letter = NewDeadLetter(event_number=2, reason="no")
        dead_letters.add(tx, slow.id, [letter], attempts=1, now=system_clock())
    assert forget(database, older_than=tomorrow, limit=2) == [2, *range(4, 11)]
    assert forget(database, beyond=5) == [2, *range(6, 11)]
    assert forget(database, older_than=tomorrow) == [2, *range(7, 11)]
    assert forget(database, older_than=tomorrow, past_cursors=True) == [2, 10], "the newest stays"
    assert fire_one(database).number == 11


def test_the_log_is_read_backwards_through_a_filter_and_by_text(database: Database) -> None:
    for repo_id in ("zoo", "farm", "zoo", "zoo"):
        fire_one(database, repo_id=repo_id, note=f"of the {repo_id}, 100% \u00e4")

    def numbers(before: int | None, repo_id: str = "", text: str = "", limit: int = 10) -> tuple[list[int], int]:
        with database.read() as connection:
            wanted = (lambda outline: outline.repo_id == repo_id) if repo_id else None
            found = event_log.page_before(connection, before, wanted, text_in_body=text, limit=limit)
        return [event.number for event in found.events], found.through

    assert numbers(None) == ([1, 2, 3, 4], 0)
    assert numbers(None, limit=2) == ([3, 4], 3)
    assert numbers(3) == ([1, 2], 0)
    assert numbers(None, "zoo", limit=2) == ([3, 4], 3)
    assert numbers(3, "zoo", limit=2) == ([1], 0)
    assert numbers(None, text="OF THE FARM") == ([2], 0)
    assert numbers(None, text="100% \u00e4", limit=1) == ([4], 4)
    assert numbers(None, text="100_") == ([], 0)
    assert numbers(None, "zoo", text="farm") == ([], 0)


def test_the_first_event_of_a_minute_is_found_by_halving(database: Database) -> None:
    with database.read() as connection:
        assert event_log.number_at(connection, system_clock()) == 1
    begun = system_clock()
    coming = iter([begun + timedelta(minutes=minute) for minute in (0, 0, 1, 3)])
    with database.write() as tx:
        for _ in range(4):
            fire(tx, "zoo.fed", {}, clock=coming.__next__)
    with database.read() as connection:
        found = [event_log.number_at(connection, begun + timedelta(minutes=minute)) for minute in (-1, 0, 1, 2, 3, 4)]
        outlines = event_log.outlines_after(connection, 2, limit=5)
    assert found == [1, 1, 3, 4, 4, 5]
    assert [outline.number for outline in outlines] == [3, 4]
