"""Who gets in, who may do what, and how guessing is slowed down."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pulpit.api.auth.guessing import FORGIVEN_AFTER
from pulpit.api.auth.login import Doorkeeper, WrongPassword, read_basic
from pulpit.errors import AuthenticationFailed
from pulpit.net.passwords import VerifiedPasswords, hash_password, is_password
from pulpit.store import users
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from support.api import PASSWORD, PASSWORD_HASH, V2, Api, basic


def test_a_hash_names_its_parameters_and_fits_its_password_only() -> None:
    hashed = hash_password("päss:word")
    assert hashed.startswith("scrypt$16384$8$1$")
    assert is_password("päss:word", hashed)
    assert not is_password("pass:word", hashed)
    assert hashed != hash_password("päss:word")


def test_a_password_of_any_length_costs_little() -> None:
    assert not is_password("x" * 10_000_000, PASSWORD_HASH)


def test_what_was_verified_is_forgotten_when_the_hash_changes_or_room_is_needed() -> None:
    verified = VerifiedPasswords(capacity=2)
    verified.remember("a", "pw", "hash")
    assert verified.knows("a", "pw", "hash")
    assert not verified.knows("a", "pw", "other hash")
    assert not verified.knows("apw", "", "hash")
    verified.remember("b", "pw", "hash")
    verified.remember("c", "pw", "hash")
    assert not verified.knows("a", "pw", "hash")


@pytest.mark.parametrize("header", ["", "Bearer x", "Basic", "Basic !", "Basic YWJj", "Basic /w==", "Basic YTpiAA=="])
def test_an_unreadable_header_is_a_failed_login(header: str) -> None:
    with pytest.raises(AuthenticationFailed):
        read_basic(header)


def test_a_password_may_hold_colons() -> None:
    assert read_basic(basic("me", "a:b:c")["Authorization"]) == ("me", "a:b:c")


def test_no_login_no_answer_but_the_status(api: Api) -> None:
    del api.client.headers["Authorization"]
    answer = api.client.get(f"{V2}/repositories/")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.json()["auth_error_code"] == "authentication_failed"
    assert api.client.get(f"{V2}/status/").status_code == 200


@pytest.mark.parametrize(
    "path", [f"{V2}/nil/", f"{V2}/openapi.json", "/pulp/api/v1/", f"http://testserver/{V2}/repositories/"]
)
def test_nothing_below_the_api_is_told_to_strangers(api: Api, path: str) -> None:
    del api.client.headers["Authorization"]
    assert api.client.get(path).status_code == 401


def test_wrong_credentials_are_401_with_the_code_that_the_client_reads(api: Api) -> None:
    for login, password in (("admin", "wrong"), ("nobody", PASSWORD)):
        answer = api.client.get(f"{V2}/repositories/", headers=basic(login, password))
        assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "invalid_username_or_password")
        assert answer.json()["error"]["code"] == "PLP0030"


def test_a_reader_may_read_and_search_and_nothing_else(api: Api) -> None:
    api.client.headers.update(basic("reader"))
    assert api.client.get(f"{V2}/events/").status_code == 200
    assert api.client.post(f"{V2}/tasks/search/", json={"criteria": {}}).status_code == 200
    for method, path in (("POST", "events/"), ("DELETE", "repositories/x/"), ("PUT", "users/admin/")):
        answer = api.client.request(method, f"{V2}/{path}", json={})
        assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "permission_denied")


def test_a_deleted_user_is_out_at_once(api: Api) -> None:
    assert api.client.get(f"{V2}/events/", headers=basic("reader")).status_code == 200
    assert api.client.delete(f"{V2}/users/reader/").status_code == 200
    assert api.client.get(f"{V2}/events/", headers=basic("reader")).status_code == 401


def test_pages_of_other_sites_are_refused(api: Api) -> None:
    answer = api.client.delete(f"{V2}/users/reader/", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "permission_denied")
    assert api.client.get(f"{V2}/events/", headers={"Origin": "http://testserver"}).status_code == 200


class Guesses:
    """A doorkeeper whose clock and sleep stand still until they are moved."""

    def __init__(self, database: Database) -> None:
        self.now = datetime(2031, 1, 1, tzinfo=UTC)
        self.slept: list[float] = []
        self.doorkeeper = Doorkeeper(database, lambda: self.now, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def wrong(self, address: str = "192.0.2.1") -> None:
        with pytest.raises(WrongPassword):
            await self.doorkeeper.admit(basic("admin", "guess")["Authorization"], address)

    async def right(self, address: str = "192.0.2.1") -> None:
        await self.doorkeeper.admit(basic("admin")["Authorization"], address)


@pytest.fixture
def guesses(tmp_path: Path) -> Iterator[Guesses]:
    with WakeupSocket(tmp_path) as wakeups, contextlib.closing(Database.open(tmp_path, wakeups)) as database:
        with database.write() as tx:
            users.add(tx, "admin", name="", password_hash=PASSWORD_HASH, role="admin", now=datetime.now(UTC))
        yield Guesses(database)


def test_guessing_becomes_slower_for_the_guesser_alone(guesses: Guesses) -> None:
    async def story() -> None:
        for _ in range(6):
            await guesses.wrong()
        assert guesses.slept == [0.0, 0.0, 0.25, 0.5, 1.0]
        await guesses.wrong("192.0.2.2")
        assert len(guesses.slept) == 5

    asyncio.run(story())


def test_the_right_password_and_time_both_forgive(guesses: Guesses) -> None:
    async def story() -> None:
        for _ in range(4):
            await guesses.wrong()
        await guesses.right()
        await guesses.right()
        assert guesses.slept == [0.0, 0.0, 0.25, 0.5]
        for _ in range(4):
            await guesses.wrong()
        guesses.now += FORGIVEN_AFTER + timedelta(seconds=1)
        await guesses.wrong()
        assert guesses.slept == [0.0, 0.0, 0.25, 0.5, 0.0, 0.0, 0.25]

    asyncio.run(story())


def test_addresses_of_one_ipv6_network_share_their_guesses(guesses: Guesses) -> None:
    async def story() -> None:
        for number in range(5):
            await guesses.wrong(f"2001:db8::{number}")
        assert guesses.slept == [0.0, 0.0, 0.25, 0.5]

    asyncio.run(story())
