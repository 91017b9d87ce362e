"""Logins that a Pulp 3 is asked about, here a server that says what the test wants."""

import asyncio

import pytest
from aiohttp import BasicAuth, web

from pulpit.api.auth.pulp_users import PulpUnreachable, PulpUsers
from pulpit.clock import system_clock
from pulpit.errors import PermissionDenied
from support.ports import free_port
from support.webhooks import Call, run, sink


def test_pulp_says_which_logins_are_right() -> None:
    async def story() -> None:
        async with sink() as pulp:
            users = PulpUsers(f"{pulp.url}/pulp/", system_clock, role="admin")
            pulp.answer = lambda call: web.Response(
                status=200 if BasicAuth.decode(call.headers["Authorization"], "utf-8").password == "zö:o" else 401
            )
            assert not await users.is_password("joe", "wrong")
            assert users.known("joe", "wrong") is None
            assert await users.is_password("joe", "zö:o")
            known = users.known("joe", "zö:o")
            assert known is not None
            assert (known.login, known.role) == ("joe", "admin")
        assert {(call.method, call.path) for call in pulp.calls} == {
            ("GET", "/pulp/api/v3/users/?limit=1&fields=username")
        }

    run(story)


@pytest.mark.parametrize(("status", "error"), [(403, PermissionDenied), (302, PulpUnreachable), (500, PulpUnreachable)])
def test_everything_else_that_pulp_says_is_no_login(status: int, error: type[Exception]) -> None:
    def moved(call: Call) -> web.Response:
        return web.Response(status=status if "limit" in call.path else 200, headers={"Location": "/elsewhere"})

    async def story() -> None:
        async with sink() as pulp:
            pulp.answer = moved
            with pytest.raises(error):
                await PulpUsers(pulp.url, system_clock, role="admin").is_password("joe", "zoo")

    run(story)


def test_a_pulp_that_is_not_there_is_said_to_be_so() -> None:
    async def story() -> None:
        users = PulpUsers(f"http://127.0.0.1:{free_port()}", system_clock, role="admin")
        with pytest.raises(PulpUnreachable):
            await users.is_password("joe", "zoo")
        with pytest.raises(PulpUnreachable):
            await users.is_password("joe", "lone \ud800 and NUL \0")

    asyncio.run(asyncio.wait_for(story(), 60))
