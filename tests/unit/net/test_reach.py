"""Where an upstream may lead, and where not."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pulpit.net.reach import OutOfReach, Reach

NEAR = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1"]  # noqa: S104 - an address to be refused


def reaches(hosts: Iterable[str], address: str, first: Callable[[Reach], Any] | None = None) -> bool:
    async def story() -> bool:
        reach = Reach(hosts)
        if first is not None:
            await first(reach)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            reach.socket_for((family, socket.SOCK_STREAM, 0, "", (address, 80))).close()
        except OutOfReach:
            return False
        return True

    return asyncio.run(story())


@pytest.mark.parametrize("address", NEAR)
def test_an_upstream_elsewhere_leads_not_to_this_machine(address: str) -> None:
    assert not reaches(["mirror.example.com"], address)


@pytest.mark.parametrize("address", ["1.1.1.1", "10.1.2.3", "192.168.1.1", "2606:4700::1111", "fd00::7"])
def test_it_leads_to_the_world_and_to_networks_of_organisations(address: str) -> None:
    assert reaches(["mirror.example.com"], address)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.7.7"])
def test_a_feed_that_is_near_itself_leads_where_it_likes(host: str) -> None:
    assert reaches([host], "127.0.0.1")
    assert reaches(["mirror.example.com", host], "::1")  # as a proxy


def test_a_feed_whose_name_is_near_leads_where_it_likes_and_another_name_does_not_help() -> None:
    assert reaches(["localhost"], "127.0.0.1", lambda reach: reach.resolve("localhost"))
    assert not reaches(["mirror.example.com"], "127.0.0.1", lambda reach: reach.resolve("localhost"))
