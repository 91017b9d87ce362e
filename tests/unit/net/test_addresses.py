"""Which addresses web hooks may reach."""

from ipaddress import ip_address

import pytest

from pulpit.errors import ConfigurationError
from pulpit.net.addresses import ForbiddenAddress, Guard, literal, parse_networks


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
    assert not Guard().permits(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_what_is_public_is_permitted(address: str) -> None:
    assert Guard().permits(ip_address(address))


def test_what_the_operator_names_is_permitted_in_every_spelling_and_nothing_else() -> None:
    guard = Guard(parse_networks("10.1.0.0/16, 127.0.0.1 ::1"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "::1"):
        assert guard.permits(ip_address(address)), address
    for address in ("10.2.0.1", "127.0.0.2", "fe80::1", "::ffff:10.2.0.1"):
        assert not guard.permits(ip_address(address)), address


def test_a_host_that_is_an_address_is_refused_when_it_is_given() -> None:
    guard = Guard()
    for host in ("127.0.0.1", "::1", "[::1]", "fe80::1%eth0"):
        with pytest.raises(ForbiddenAddress, match="webhook_allow"):
            guard.check_literal(host)
    guard.check_literal("localhost")  # a name: judged when it is resolved
    guard.check_literal("1.1.1.1")


def test_a_literal_is_read_with_brackets_and_scope() -> None:
    assert literal("[fe80::1%eth0]") == ip_address("fe80::1")
    assert literal("example.com") is None


@pytest.mark.parametrize("text", ["10.1.0.1/16", "localhost", "10.0.0.0/33", "10.0.0.0-10.0.0.9"])
def test_a_list_that_is_no_list_of_networks_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook_allow"):
        parse_networks(text)


def test_an_empty_list_allows_nothing() -> None:
    assert parse_networks("  ") == []
