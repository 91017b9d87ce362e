"""Which addresses webhooks and upstreams may reach, and which are this machine."""

from ipaddress import ip_address

import pytest

from pulpit.errors import ConfigurationError
from pulpit.net.addresses import FeedGuard, ForbiddenAddress, WebhookGuard, is_loopback, literal, parse_networks


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",  # noqa: S104 - as a destination
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_what_is_not_public_is_forbidden(address: str) -> None:
    assert not WebhookGuard().permits(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_what_is_public_is_permitted(address: str) -> None:
    assert WebhookGuard().permits(ip_address(address))


def test_what_the_operator_names_is_permitted_in_every_spelling_and_nothing_else() -> None:
    guard = WebhookGuard(parse_networks("10.1.0.0/16, 127.0.0.1 ::1"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "::1"):
        assert guard.permits(ip_address(address)), address
    for address in ("10.2.0.1", "127.0.0.2", "fe80::1", "::ffff:10.2.0.1"):
        assert not guard.permits(ip_address(address)), address


def test_a_host_that_is_an_address_is_refused_when_it_is_given() -> None:
    guard = WebhookGuard()
    for host in ("127.0.0.1", "::1", "[::1]", "fe80::1%eth0"):
        with pytest.raises(ForbiddenAddress, match="webhook_allow"):
            guard.check(host)
    guard.check("localhost")  # a name: judged when it is resolved
    guard.check("1.1.1.1")


def test_a_literal_is_read_with_brackets_and_scope() -> None:
    assert literal("[fe80::1%eth0]") == ip_address("fe80::1")
    assert literal("example.com") is None


@pytest.mark.parametrize("text", ["10.1.0.1/16", "localhost", "10.0.0.0/33", "10.0.0.0-10.0.0.9"])
def test_a_list_that_is_no_list_of_networks_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook_allow"):
        parse_networks(text)


def test_an_empty_list_allows_nothing() -> None:
    assert parse_networks("  ") == []


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "127.255.3.4", "::1", "[::1]", "::1%lo", "::ffff:127.0.0.1"]
)
def test_this_machine_is_known_by_name_and_address(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "broker", "localhost.example.com", "128.0.0.1", "127.0.0.1.example.com", "::2", "::", "127"]
)
def test_nothing_else_is_taken_for_this_machine(host: str) -> None:
    assert not is_loopback(host)


NEAR = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1"]  # noqa: S104 - an address to be refused


@pytest.mark.parametrize("address", NEAR)
def test_an_upstream_elsewhere_leads_not_to_this_machine(address: str) -> None:
    guard = FeedGuard(["mirror.example.com"])
    for host in (address, "elsewhere.example.com"):
        with pytest.raises(ForbiddenAddress):
            guard.check(address, host)


@pytest.mark.parametrize("address", ["1.1.1.1", "10.1.2.3", "192.168.1.1", "2606:4700::1111", "fd00::7"])
def test_it_leads_to_the_world_and_to_networks_of_organisations(address: str) -> None:
    FeedGuard(["mirror.example.com"]).check(address, "mirror.example.com")
    FeedGuard(["mirror.example.com"]).check(address, address)


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("LocalHost.", "::1")])
def test_c12_a_feed_that_is_near_itself_leads_to_that_very_host(host: str, address: str) -> None:
    guard = FeedGuard(["mirror.example.com", host])  # as a proxy
    guard.check(address, host.casefold())
    for elsewhere in ("127.0.0.2", "169.254.169.254", "fe80::1"):
        with pytest.raises(ForbiddenAddress):
            guard.check(elsewhere, elsewhere)


def test_c12_a_name_that_turns_near_is_not_trusted() -> None:
    guard = FeedGuard(["mirror.example.com"])
    guard.check("1.1.1.1", "mirror.example.com")
    with pytest.raises(ForbiddenAddress):
        guard.check("127.0.0.1", "mirror.example.com")


@pytest.mark.parametrize("host", ["169.254.169.254", "fe80::1", "::ffff:169.254.1.1"])
def test_c12_a_link_local_address_is_not_even_for_the_feed_itself(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        FeedGuard([host]).check(host, host)
