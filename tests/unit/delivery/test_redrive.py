"""Dead letters that are sent again: to whom, in which order, and with which result."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Outcome, Pace, Refused, Retry
from pulpit.delivery.redrive import Redriver
from pulpit.events import Event
from pulpit.fire import fire
from pulpit.listener_options import ListenerKind
from pulpit.store import dead_letters, listeners
from pulpit.store.database import Database
from pulpit.store.dead_letters import DeadLetter, NewDeadLetter
from support.database import fresh

Answer = Callable[[Mapping[str, Any], Event], Outcome]


class Told:
    """A kind of notifier that writes down what it is handed, and answers as it is told."""

    pace = Pace(batch=1, overlap=1, first_retry=timedelta(seconds=0.1), longest_retry=timedelta(seconds=0.2))
    kind = ListenerKind(id="told", summary="Told.", options=())

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.handed: list[tuple[Any, int]] = []
        self.open_now = 0

    def check_config(self, config: Mapping[str, Any]) -> None:
        pass

    def open(self, config: Mapping[str, Any]) -> "Notifier":
        self.open_now += 1
        return Notifier(self, config)

    async def close(self) -> None:
        pass


class Notifier:
    def __init__(self, kind: Told, config: Mapping[str, Any]) -> None:
        self._kind, self._config = kind, config

    async def prepare(self) -> None:
        pass

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        self._kind.handed += [(self._config.get("addresses"), event.number) for event in events]
        return [self._kind.answer(self._config, event) for event in events]

    def describe(self, event: Event) -> dict[str, Any]:
        return {"number": event.number}

    async def close(self) -> None:
        self._kind.open_now -= 1


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh(tmp_path) as (opened, _):
        with opened.write() as tx:
            for _ in range(3):
                fire(tx, "ci.x", {}, clock=system_clock)
        yield opened


def listener(database: Database, config: dict[str, Any], *letters: tuple[int, str | None]) -> str:
    with database.write() as tx:
        made = listeners.add(tx, "told", config, ["ci.#"], now=system_clock())
        new = [NewDeadLetter(event_number=number, reason="No.", recipient=recipient) for number, recipient in letters]
        dead_letters.add(tx, made.id, new, attempts=1, now=system_clock())
        dead_letters.send_again(tx, made.id, None)
    return made.id


def left(database: Database, listener_id: str) -> list[DeadLetter]:
    with database.read() as connection:
        return dead_letters.of_listener(connection, listener_id)


def redrive(database: Database, kind: Told, until: Callable[[], bool]) -> None:
    async def story() -> None:
        running = asyncio.create_task(Redriver(database, NotifierTypes({"told": kind}), system_clock).run())
        async with asyncio.timeout(60):
            while not until():
                assert not running.done()
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(story())
    assert kind.open_now == 0


def test_each_address_gets_its_own_letters_at_once_and_nobody_elses(database: Database) -> None:
    kind = Told(lambda *_: DELIVERED)
    config = {"addresses": ["a@x", "b@x", "c@x"], "digest": "15m"}
    listener_id = listener(database, config, (2, "b@x"), (1, "b@x"), (1, "a@x"), (3, None))
    redrive(database, kind, lambda: not left(database, listener_id))
    assert kind.handed == [(["a@x", "b@x", "c@x"], 3), (["a@x"], 1), (["b@x"], 1), (["b@x"], 2)]


def test_an_event_that_the_log_has_no_more_is_refused_with_that_reason(database: Database) -> None:
    kind = Told(lambda *_: DELIVERED)
    listener_id = listener(database, {}, (99, None))
    redrive(database, kind, lambda: not left(database, listener_id)[0].send_again)
    [letter] = left(database, listener_id)
    assert (letter.reason, letter.attempts) == ("The log does not hold event 99 any more.", 2)
    assert kind.handed == []


def test_addresses_that_refuse_while_others_take_get_letters_of_their_own(database: Database) -> None:
    kind = Told(lambda *_: Delivered(refused={"b@x": "550 Unknown."}))
    listener_id = listener(database, {"addresses": ["a@x", "b@x"]}, (1, None))
    redrive(database, kind, lambda: left(database, listener_id)[0].recipient is not None)
    [letter] = left(database, listener_id)
    assert (letter.event_number, letter.recipient, letter.reason) == (1, "b@x", "550 Unknown.")
    assert not letter.send_again


def test_a_listener_that_fails_is_tried_again_and_holds_nobody_up(database: Database) -> None:
    failing = iter([Retry(reason="Later."), Retry(reason="Later.")])

    def answer(config: Mapping[str, Any], _: Event) -> Outcome:
        return next(failing, DELIVERED) if config["name"] == "ill" else Refused(reason="Never.")

    kind = Told(answer)
    ill = listener(database, {"name": "ill"}, (1, None), (2, None))
    well = listener(database, {"name": "well"}, (1, None))
    redrive(database, kind, lambda: not left(database, ill))
    assert [letter.reason for letter in left(database, well)] == ["Never."]
    assert len(kind.handed) == 5


def test_a_bug_in_a_notifier_costs_a_pause_and_no_letter(database: Database) -> None:
    bugs = iter([ZeroDivisionError()])

    def answer(*_: object) -> Outcome:
        for bug in bugs:
            raise bug
        return DELIVERED

    kind = Told(answer)
    listener_id = listener(database, {}, (1, None))
    redrive(database, kind, lambda: not left(database, listener_id))
    assert len(kind.handed) == 2
