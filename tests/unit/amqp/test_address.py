"""Broker addresses and logins, in every spelling of a URL that brokers and clients know."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.amqp.address import BrokerAddress, parse, parse_all
from pulpit.amqp.amqp091.connection import parameters
from pulpit.errors import ConfigurationError
from pulpit.net.tls import configured_context

SECRET = "geheim"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://h", BrokerAddress(host="h")),
        ("amqp://h/", BrokerAddress(host="h")),
        ("AMQP://h", BrokerAddress(host="h")),
        ("amqps://h", BrokerAddress(host="h", port=5671, tls=True)),
        (
            "amqp://u%40x:p%2Fw@h:1/v%2Fh",
            BrokerAddress(host="h", port=1, user="u@x", password="p/w", virtual_host="v/h"),
        ),
        ("amqp://h/%2f", BrokerAddress(host="h")),
        ("amqp://h//", BrokerAddress(host="h")),
        ("amqp://h/a/b", BrokerAddress(host="h", virtual_host="a/b")),
        ("amqp://h/%C3%A9", BrokerAddress(host="h", virtual_host="é")),
        ("amqp://[::1]:9", BrokerAddress(host="::1", port=9)),
        ("amqp://u:p@[fe80::1%25eth0]/v", BrokerAddress(host="fe80::1%eth0", user="u", password="p", virtual_host="v")),
        ("amqp://h:", BrokerAddress(host="h")),
        ("amqp://", BrokerAddress()),
        ("amqp:///v", BrokerAddress(virtual_host="v")),
        ("amqp://@h", BrokerAddress(host="h")),
        ("amqp://j%C3%B6rg:%C3%A9@h", BrokerAddress(host="h", user="jörg", password="é")),
        ("amqp://jörg:é@h", BrokerAddress(host="h", user="jörg", password="é")),
        ("amqp://u:p@ss:w%rd@h", BrokerAddress(host="h", user="u", password="p@ss:w%rd")),
        ("amqp://u:@h", BrokerAddress(host="h", user="u")),
        ("amqp://h?heartbeat=30&connection_timeout=2500", BrokerAddress(host="h", heartbeat=30, connect_timeout=2.5)),
        ("amqp://h/v?heartbeat=0", BrokerAddress(host="h", virtual_host="v", heartbeat=0)),
        ("amqp://h?channel_max=10&connection_attempts=3&retry_delay=5", BrokerAddress(host="h")),
        ("amqp+10://h", BrokerAddress(host="h", speaks_10=True)),
        (
            "amqps+10://u:p@h:1/v",
            BrokerAddress(host="h", port=1, tls=True, user="u", password="p", virtual_host="v", speaks_10=True),
        ),
        ("tcp://h:5672", BrokerAddress(host="h", speaks_10=True)),
        ("ssl://h", BrokerAddress(host="h", port=5671, tls=True, speaks_10=True)),
        ("qpid://u:p@h", BrokerAddress(host="h", user="u", password="p", speaks_10=True)),
    ],
)
def test_urls_of_brokers_are_read(url: str, expected: BrokerAddress) -> None:
    assert parse(url, "--url") == expected
    assert parse(f" {url} ", "--url") == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with amqp://"),
        ("h:5672", "must begin with amqp://"),
        ("http://h", "must begin with amqp://"),
        (f"amqp:{SECRET}@h", "must begin with amqp://"),
        ("amqp://h:x", "cannot be read"),
        ("amqp://h:0", "cannot be read"),
        ("amqp://[::1", "cannot be read"),
        (f"amqp://u:{SECRET}@h:99999", "cannot be read"),
        (f"amqp://joe:s3cr/{SECRET}@host/", "cannot be read"),
        (f"amqp://joe:12/{SECRET}@host/", "cannot be read"),
        (f"amqp://joe:12?{SECRET}@host/", "cannot be read"),
        (f"amqp://joe:12#{SECRET}@host/", "cannot be read"),
        (f"amqp://joe:\u2100{SECRET}@host/", "cannot be read"),  # urlsplit would quote it whole
        (f"amqp://joe:{SECRET}\tx@host/", "cannot be read"),
        (f"amqp://joe:{SECRET}%FF@host/", "not that of UTF-8"),
        (f"amqp://joe:{SECRET}@", "no host behind the @"),
        (f"amqp://joe:{SECRET}@:5672", "no host behind the @"),
        (f"amqp://:{SECRET}@host", "no user before it"),
        ("amqp://joe@host/", "a user without a password"),
        ("amqp+10://joe@host/", "a user without a password"),
        (f"amqp://h?{SECRET}=1", "there are heartbeat"),
        ("amqp://h?heartbeat=x", "heartbeat must be a whole number from 0 to 65535"),
        ("amqp://h?heartbeat=", "heartbeat must be a whole number"),
        ("amqp://h?heartbeat=-1", "heartbeat must be a whole number"),
        ("amqp://h?heartbeat=٣", "heartbeat must be a whole number"),
        ("amqp://h?connection_timeout=0", "connection_timeout must be a whole number"),
        ("amqps://h?verify=verify_none", "verify is not for a URL"),
        (f"amqp://{'a' * 70}", "neither a name nor an address"),
        ("amqp://a..b", "neither a name nor an address"),
        ("amqp://a%20b", "neither a name nor an address"),
    ],
)
def test_other_urls_are_refused_by_a_sentence_that_quotes_nothing(url: str, words: str) -> None:
    """One parser, whose complaints hold no part of what may be a password."""
    with pytest.raises(ConfigurationError) as refused:
        parse(url, "--url")
    assert str(refused.value).startswith("--url: ")
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "s3cr" not in str(refused.value)


def test_user_and_password_of_their_own_keys_fill_what_the_url_leaves_open() -> None:
    assert parse("amqp://h", "url", user="bob", password="p").user == "bob"
    ann = parse("amqp://ann@h", "url", user="bob", password="p")
    assert (ann.user, ann.password) == ("ann", "p")
    assert parse("amqp://ann:own@h", "url", user="bob", password="p").password == "own"
    with pytest.raises(ConfigurationError, match="a user without a password"):
        parse("amqp://h", "url", user="bob")


@pytest.mark.parametrize("urls", ["", "amqp://a,", "amqp://a,http://b", []])
def test_each_of_several_urls_must_be_one(urls: str | list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^--url: "):
        parse_all(urls, "--url")


def test_of_several_the_wrong_one_is_named_by_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"^--url: address 2 of 2: there is a user without"):
        parse_all("amqp://a,amqp://joe@b", "--url")


def test_the_password_is_in_no_text() -> None:
    address = BrokerAddress(password=SECRET, user="u")
    assert SECRET not in f"{address} {address!r} {address.place}"


def test_the_host_name_is_checked_over_tls_and_a_wrong_authority_is_told(tmp_path: Path) -> None:
    context = configured_context(None, "ca_path")
    wanted = parameters(BrokerAddress(host="h", tls=True), name="test", heartbeat=20, context=context)
    assert wanted.ssl_options.server_hostname == "h"
    assert wanted.ssl_options.context.check_hostname
    with pytest.raises(ConfigurationError, match=r"ca_path: .*absent cannot be read"):
        configured_context(tmp_path / "absent", "ca_path")


@pytest.mark.parametrize(
    ("host", "tls", "allowed"),
    [("localhost", False, False), ("broker", True, False), ("broker", False, True)],
)
def test_a_password_may_go_to_this_machine_or_encrypted_or_where_it_is_allowed(
    host: str, *, tls: bool, allowed: bool
) -> None:
    BrokerAddress(host=host, tls=tls).check_password_is_safe("--url", allowed=allowed, permission="--allow")


def test_any_other_way_is_refused_by_a_sentence_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=r"^--url: .* broker unencrypted; .*TLS.* --allow to") as refused:
        BrokerAddress(host="broker").check_password_is_safe("--url", allowed=False, permission="--allow")
    assert "\n" not in str(refused.value)


PARTS = st.sampled_from(
    ["amqp", "amqps", "amqp+10", "tcp", "http", "", "://", ":", "@", "[", "]", "/", "%", "%zz", ",", "5672", "?", "#"]
)


@given(st.text() | st.lists(PARTS | st.text(max_size=3)).map("".join))
def test_no_text_breaks_the_reading_of_urls(text: str) -> None:
    with suppress(ConfigurationError):
        addresses = parse_all(text, "--url")
        assert all(str(address).isprintable() and 0 < address.port <= 65535 for address in addresses)
