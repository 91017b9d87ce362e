"""Guessed passwords are slowed down, and no other logins."""

import asyncio

import pytest

from pulpit.errors import TooManyAttempts
from pulpit.net.login_throttle import FORGIVEN_AFTER_S, MOST_WAITING, MOST_WAITING_UNSUSPECTED, LoginThrottle
from pulpit.net.passwords import hash_password

RIGHT = "correct horse"
HASH = hash_password(RIGHT)


class Guesses:
    """A throttle whose clock and sleep stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.throttle = LoginThrottle(sleep=self._sleep, now=lambda: self.now)
        self._count = 0

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def wrong(self, address: str = "192.0.2.1") -> None:
        self._count += 1
        assert not await self.throttle.fits("admin", f"guess {self._count}", HASH, address)

    async def right(self, address: str = "192.0.2.1") -> None:
        assert await self.throttle.fits("admin", RIGHT, HASH, address)


@pytest.fixture
def guesses() -> Guesses:
    return Guesses()


def test_guessing_becomes_slower_for_the_guesser_alone(guesses: Guesses) -> None:
    async def story() -> None:
        for _ in range(6):
            await guesses.wrong()
        assert guesses.slept == [0.25, 0.5, 1.0]
        await guesses.wrong("192.0.2.2")
        assert len(guesses.slept) == 3

    asyncio.run(story())


def test_the_right_password_and_time_both_forgive(guesses: Guesses) -> None:
    async def story() -> None:
        for _ in range(4):
            await guesses.wrong()
        await guesses.right()
        await guesses.right()
        assert guesses.slept == [0.25, 0.5]
        for _ in range(4):
            await guesses.wrong()
        guesses.now += FORGIVEN_AFTER_S + 1
        await guesses.wrong()
        assert guesses.slept == [0.25, 0.5, 0.25]

    asyncio.run(story())


def test_addresses_of_one_ipv6_network_share_their_guesses(guesses: Guesses) -> None:
    async def story() -> None:
        for number in range(5):
            await guesses.wrong(f"2001:db8::{number}")
        assert guesses.slept == [0.25, 0.5]

    asyncio.run(story())


async def _attempts(guesses: Guesses, count: int, address: str) -> list[bool | BaseException]:
    attempts = (guesses.throttle.fits("admin", f"{number}", HASH, address) for number in range(count))
    return await asyncio.gather(*attempts, return_exceptions=True)


def test_c6_of_many_wrong_passwords_at_once_most_are_refused_at_once(guesses: Guesses) -> None:
    async def story() -> None:
        burst = asyncio.create_task(_attempts(guesses, 300, "192.0.2.1"))
        await guesses.right("192.0.2.2")
        answers = await burst
        refused = [answer for answer in answers if isinstance(answer, TooManyAttempts)]
        assert len(refused) == 300 - MOST_WAITING
        assert answers[:MOST_WAITING] == [False] * MOST_WAITING
        assert guesses.slept == [0.25]
        answers = await _attempts(guesses, 300, "192.0.2.1")
        assert len([answer for answer in answers if isinstance(answer, TooManyAttempts)]) == 300 - MOST_WAITING
        assert all(answer.retry_after >= 1 for answer in answers if isinstance(answer, TooManyAttempts))
        await guesses.right("192.0.2.1")

    asyncio.run(story())


def test_many_users_behind_one_address_all_get_in(guesses: Guesses) -> None:
    async def story() -> None:
        attempts = (guesses.throttle.fits(f"{n}", RIGHT, HASH, "192.0.2.1") for n in range(MOST_WAITING_UNSUSPECTED))
        assert all(await asyncio.gather(*attempts))
        assert guesses.slept == []

    asyncio.run(story())


def test_one_client_that_sends_its_password_many_times_at_once_gets_in_every_time(guesses: Guesses) -> None:
    async def story() -> None:
        attempts = (guesses.throttle.fits("admin", RIGHT, HASH, "192.0.2.1") for _ in range(200))
        assert all(await asyncio.gather(*attempts))

    asyncio.run(story())
