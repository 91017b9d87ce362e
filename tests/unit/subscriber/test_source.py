"""Deliveries that are left when their connection is lost."""

import asyncio

import pytest

from pulpit.subscriber.event import Message
from pulpit.subscriber.source import Delivery, Inbox, Interrupted, Verdict

LOST = Interrupted("lost")


class Discarding:
    async def next(self) -> Delivery:
        raise NotImplementedError

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def delivery(tag: int) -> Delivery:
    message = Message(subject="s", exchange="e", properties={}, headers={}, body=b"")
    return Delivery(message=message, line=Discarding(), tag=tag)


def filled(*, keeps: bool) -> Inbox:
    inbox = Inbox(keeps=keeps)
    inbox.put(delivery(1))
    inbox.put(delivery(2))
    return inbox


def test_arrivals_of_a_queue_that_goes_with_the_connection_are_handed_over_before_the_loss() -> None:
    async def story() -> None:
        inbox = filled(keeps=False)
        inbox.end(LOST)
        assert [(await inbox.next()).tag, (await inbox.next()).tag] == [1, 2]
        with pytest.raises(Interrupted):
            await inbox.next()

    asyncio.run(story())


def test_arrivals_of_a_queue_that_stays_are_not_because_they_come_again() -> None:
    async def story() -> None:
        inbox = filled(keeps=True)
        inbox.end(LOST)
        with pytest.raises(Interrupted):
            await inbox.next()

    asyncio.run(story())


def test_the_first_reason_counts_and_wakes_who_waits() -> None:
    async def story() -> None:
        inbox = Inbox(keeps=True)
        waiting = asyncio.create_task(inbox.next())
        await asyncio.sleep(0)
        inbox.end(LOST)
        inbox.end(Interrupted("closed"))
        with pytest.raises(Interrupted, match="lost"):
            await waiting
        with pytest.raises(Interrupted, match="lost"):
            await inbox.next()

    asyncio.run(story())
