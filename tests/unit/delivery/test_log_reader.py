"""How listeners share the end of the log, and the event loop."""

import asyncio

import pytest

from pulpit.delivery.log_reader import MOST_EVENTS, RecentEvents, Turns
from support.made_events import event


def test_few_readers_wait_for_nothing() -> None:
    async def story() -> None:
        turns = Turns(3)
        for _ in range(3):
            with pytest.raises(StopIteration):
                turns.next().send(None)

    asyncio.run(story())


def test_many_readers_go_on_in_order_a_few_in_each_turn_of_the_loop() -> None:
    async def story() -> None:
        turns, order = Turns(3), list[int]()

        async def read(number: int) -> None:
            await turns.next()
            order.append(number)

        tasks = [asyncio.create_task(read(number)) for number in range(20)]
        most = before = 0
        while len(order) < len(tasks):
            await asyncio.sleep(0)
            most, before = max(most, len(order) - before), len(order)
        assert order == list(range(20))
        assert most <= 2 * 3  # those that found a place, and those that had waited for one
        assert all(task.done() for task in tasks) or await asyncio.wait(tasks)

    asyncio.run(story())


def test_a_reader_that_is_stopped_while_it_waits_takes_nobodys_turn() -> None:
    async def story() -> None:
        turns = Turns(1)
        tasks = [asyncio.create_task(turns.next()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks[1:4]:
            task.cancel()
        async with asyncio.timeout(60):
            await tasks[4]

    asyncio.run(story())


def test_the_window_on_the_logs_end_is_read_from_any_position() -> None:
    recent = RecentEvents(10)
    events = [event(number) for number in range(11, 11 + MOST_EVENTS + 5)]
    recent.extend(events)
    assert (recent.start, recent.head) == (15, events[-1].number)
    assert not recent.covers(14)
    assert recent.after(15, 3) == events[5:8]
    assert recent.after(1000, 2) == [event for event in events if event.number in (1001, 1002)]
    assert recent.after(events[-1].number, 3) == []
    assert recent.after(events[-3].number, 500) == events[-2:]
