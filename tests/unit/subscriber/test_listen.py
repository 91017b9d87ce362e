"""The options of `pulpit listen`, and how it prints a message."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.amqp.address import BrokerAddress, parse_all
from pulpit.errors import ConfigurationError
from pulpit.subscriber.event import Message
from pulpit.subscriber.listen import SEPARATOR, as_json, as_subject, as_text, choose
from pulpit.text import escaped

SYNC_START = "pulp.server.repo.sync.start"


def message(body: bytes = b"{}", **more: Any) -> Message:
    known = {"subject": SYNC_START, "exchange": "pulp", "properties": {}, "headers": {}}
    return Message(**{**known, **more}, body=body)


def test_quiet_mode_is_the_subject_alone() -> None:
    assert as_subject(message()) == SYNC_START


def test_text_has_a_separator_what_is_known_and_an_indented_body() -> None:
    shown = as_text(message(b'{"a":[1]}', properties={"message_id": "m"}, headers={"x": "y"}))
    assert shown.splitlines() == [
        SEPARATOR,
        f"subject:    {SYNC_START}",
        "exchange:   pulp",
        "message_id: m",
        "header x:   y",
        "",
        "{",
        '  "a": [',
        "    1",
        "  ]",
        "}",
    ]


def test_json_is_one_line_with_the_body_parsed() -> None:
    line = as_json(message(b'{"a": "\xc3\xa4"}', headers={"n": 1}, redelivered=True))
    assert line.isascii()
    assert json.loads(line) == {
        "subject": SYNC_START,
        "exchange": "pulp",
        "headers": {"n": 1},
        "properties": {},
        "redelivered": True,
        "body": {"a": "ä"},
    }


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        (b"", "body", ""),
        (b"hello", "body", "hello"),
        (b"NaN", "body", "NaN"),
        (b"[" * 100_000, "body", "[" * 100_000),
        (b"\xff\x00", "body_base64", "/wA="),
    ],
)
def test_a_body_that_is_no_json_is_text_or_base64(body: bytes, key: str, expected: str) -> None:
    assert json.loads(as_json(message(body)))[key] == expected
    as_text(message(body))


def test_values_that_only_amqp_has_become_json() -> None:
    headers = {
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "amount": Decimal("1.5"),
        "raw": b"\xff",
        "inner": [{"x": None}, float("inf"), 1.5],
    }
    assert json.loads(as_json(message(headers=headers)))["headers"] == {
        "when": "2026-01-02T00:00:00+00:00",
        "amount": "1.5",
        "raw": "\\xff",
        "inner": [{"x": None}, None, 1.5],
    }


@pytest.mark.parametrize(
    ("evil", "shown"),
    [("\x1b[2J", "\\x1b[2J"), ("\u202e", "\\u202e"), ("\x9b", "\\x9b"), ("a\nb", "a\\nb"), ("ä\\", "ä\\")],
)
def test_what_could_steer_a_terminal_is_shown_instead(evil: str, shown: str) -> None:
    assert escaped(evil) == shown
    assert as_subject(message(subject=evil)) == shown


@given(st.binary(), st.text(), st.dictionaries(st.text(), st.text() | st.binary() | st.none(), max_size=3))
def test_no_message_can_steer_a_terminal(body: bytes, subject: str, headers: dict[str, Any]) -> None:
    arrived = message(body, subject=subject, headers=headers, properties={"type": subject})
    for text in (as_text(arrived), as_subject(arrived), as_json(arrived)):
        assert not {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))} & set(text)
        assert "\u202e" not in text
    assert as_json(arrived).count("\n") == as_subject(arrived).count("\n") == 0


def chosen(
    url: str | None = None,
    url_file: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    allow_plain: bool = True,
    **environment: str,
) -> BrokerAddress:
    [only] = choose(url=url, url_file=url_file, host=host, port=port, environment=environment, allow_plain=allow_plain)
    return only


def test_the_defaults_are_those_of_the_original() -> None:
    assert chosen() == BrokerAddress(host="localhost", port=5672)


def test_the_option_goes_before_the_file_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("amqp://file\n")
    path.chmod(0o600)
    assert chosen(PULPIT_AMQP_URL="amqp://env").host == "env"
    assert chosen(url_file=path, PULPIT_AMQP_URL="amqp://env").host == "file"
    assert chosen(url="amqp://option", url_file=path, PULPIT_AMQP_URL="amqp://env").host == "option"


def test_host_and_port_change_the_url_and_leave_its_credentials() -> None:
    assert chosen(host="h", port=7, PULPIT_AMQP_URL="amqp://u:p@env/v") == BrokerAddress(
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


def test_several_urls_stand_with_commas_between_and_are_all_changed_by_host_and_port() -> None:
    several = "amqp://u:p@a/v, amqps://b,amqp://localhost:7"
    assert [str(address) for address in parse_all(several, "--url")] == [
        "amqp://a:5672",
        "amqps://b:5671",
        "amqp://localhost:7",
    ]
    addresses = choose(url=several, url_file=None, host=None, port=9, environment={}, allow_plain=True)
    assert [(address.host, address.port, address.tls) for address in addresses] == [
        ("a", 9, False),
        ("b", 9, True),
        ("localhost", 9, False),
    ]


def test_over_amqp_10_nobody_in_particular_has_no_password_to_send() -> None:
    assert chosen(url="amqp+10://broker", allow_plain=False).user is None
    with pytest.raises(ConfigurationError, match="unencrypted"):
        chosen(url="amqp+10://u:p@broker", allow_plain=False)


@pytest.mark.parametrize("host", ["localhost:5672", "http://localhost", "amqp://localhost"])
def test_an_address_is_a_host_alone(host: str) -> None:
    with pytest.raises(ConfigurationError, match="the host alone"):
        choose(url=None, url_file=None, host=host, port=None, environment={})
    [six] = choose(url=None, url_file=None, host="::1", port=None, environment={})
    assert six.host == "::1"


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
