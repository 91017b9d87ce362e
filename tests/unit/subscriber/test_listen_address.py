"""Where the subscriber finds its broker."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.errors import ConfigurationError
from pulpit.subscriber.address import Address, parse, parse_all
from pulpit.subscriber.listen.address import choose
from pulpit.subscriber.sources import Papers, parameters, trust


def chosen(
    url: str | None = None,
    url_file: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    allow_plain: bool = True,
    **environment: str,
) -> Address:
    [only] = choose(url=url, url_file=url_file, host=host, port=port, environment=environment, allow_plain=allow_plain)
    return only


def test_the_defaults_are_those_of_the_original() -> None:
    assert chosen() == Address(host="localhost", port=5672)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://h", Address(host="h")),
        ("amqp://h/", Address(host="h")),
        ("amqps://h", Address(host="h", port=5671, tls=True)),
        ("amqp://u%40x:p%2Fw@h:1/v%2Fh", Address(host="h", port=1, user="u@x", password="p/w", virtual_host="v/h")),
        ("amqp://[::1]:9", Address(host="::1", port=9)),
        ("amqp://", Address()),
        ("amqp+10://h", Address(host="h", password="", speaks_10=True)),
        (
            "amqps+10://u:p@h:1/v",
            Address(host="h", port=1, tls=True, user="u", password="p", virtual_host="v", speaks_10=True),
        ),
        ("tcp://h:5672", Address(host="h", password="", speaks_10=True)),
        ("ssl://h", Address(host="h", port=5671, tls=True, password="", speaks_10=True)),
        ("qpid://u@h", Address(host="h", user="u", password="", speaks_10=True)),
    ],
)
def test_urls_of_amqp_are_read(url: str, expected: Address) -> None:
    assert parse(url, "--url") == expected


@pytest.mark.parametrize("url", ["", "h:5672", "http://h", "amqp://h:x", "amqp://[::1", "amqp://u:geheim@h:99999"])
def test_other_urls_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(url, "--url")
    assert str(raised.value).startswith("--url")
    assert "geheim" not in str(raised.value)


def test_the_option_goes_before_the_file_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("amqp://file\n")
    path.chmod(0o600)
    assert chosen(PULPIT_AMQP_URL="amqp://env").host == "env"
    assert chosen(url_file=path, PULPIT_AMQP_URL="amqp://env").host == "file"
    assert chosen(url="amqp://option", url_file=path, PULPIT_AMQP_URL="amqp://env").host == "option"


def test_host_and_port_change_the_url_and_leave_its_credentials() -> None:
    assert chosen(host="h", port=7, PULPIT_AMQP_URL="amqp://u:p@env/v") == Address(
        host="h", port=7, user="u", password="p", virtual_host="v"
    )


def test_a_url_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("amqp://u:p@h")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        chosen(url_file=path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        chosen(url_file=tmp_path / "absent")


def test_the_password_is_in_no_text() -> None:
    address = Address(password="geheim", user="u")
    assert "geheim" not in f"{address} {address!r}"


def test_tls_checks_the_name_and_a_wrong_ca_is_told(tmp_path: Path) -> None:
    wanted = parameters(Address(host="h", tls=True), trust(Papers(name="test")), Papers(name="test"))
    assert wanted.ssl_options.server_hostname == "h"
    assert wanted.ssl_options.context.check_hostname
    with pytest.raises(ConfigurationError, match=r"ca_path: .*absent holds no certificates"):
        trust(Papers(ca_path=tmp_path / "absent", name="test"))


def test_several_urls_stand_with_commas_between_and_are_all_changed_by_host_and_port() -> None:
    several = "amqp://u:p@a/v, amqps://b,amqp://localhost:7"
    assert [str(one) for one in parse_all(several, "--url")] == [
        "amqp://a:5672",
        "amqps://b:5671",
        "amqp://localhost:7",
    ]
    addresses = choose(url=several, url_file=None, host=None, port=9, environment={}, allow_plain=True)
    assert [(one.host, one.port, one.tls) for one in addresses] == [
        ("a", 9, False),
        ("b", 9, True),
        ("localhost", 9, False),
    ]


@pytest.mark.parametrize("urls", ["", "amqp://a,", "amqp://a,http://b", []])
def test_each_of_several_urls_must_be_one(urls: str | list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^--url: "):
        parse_all(urls, "--url")


def test_over_amqp_10_nobody_in_particular_has_no_password_to_send() -> None:
    assert chosen(url="amqp+10://broker", allow_plain=False).user is None
    with pytest.raises(ConfigurationError, match="unencrypted"):
        chosen(url="amqp+10://u:p@broker", allow_plain=False)


def test_no_password_of_several_travels_unencrypted() -> None:
    with pytest.raises(ConfigurationError, match="travel to b unencrypted"):
        choose(url="amqps://a,amqp://b", url_file=None, host=None, port=None, environment={})


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("--url", {"url": "amqp://u:geheim@broker"}),
        ("--address", {"host": "broker"}),
        ("PULPIT_AMQP_URL", {"PULPIT_AMQP_URL": "amqp://u:geheim@broker"}),
    ],
)
def test_a_password_does_not_travel_unencrypted_unless_that_is_allowed(source: str, given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="--allow-plain-without-tls") as refused:
        chosen(**given, allow_plain=False)  # type: ignore[arg-type] # options by name
    assert refused.value.key == source
    assert "geheim" not in str(refused.value)
    assert chosen(**given, allow_plain=True).host == "broker"  # type: ignore[arg-type] # options by name
    assert chosen(url="amqps://broker", allow_plain=False).tls


PARTS = st.sampled_from(
    ["amqp", "amqps", "amqp+10", "tcp", "http", "", "://", ":", "@", "[", "]", "/", "%", "%zz", ",", "5672"]
)


@given(st.text() | st.lists(PARTS | st.text(max_size=3)).map("".join))
def test_no_text_breaks_the_reading_of_urls(text: str) -> None:
    with suppress(ConfigurationError):
        addresses = parse_all(text, "--url")
        assert all(str(one).isprintable() and 0 <= one.port <= 65535 for one in addresses)
