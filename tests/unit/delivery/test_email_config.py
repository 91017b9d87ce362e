"""The configuration of an email listener, and the section `[email]`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.email import Email
from pulpit.delivery.notifiers.email_config import filled, is_address, read
from pulpit.errors import ConfigurationError, InvalidValue
from pulpit.settings import EmailSettings as Settings

JOE = "joe@example.com"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"subject": "Pulp says {event_type}, {repo_id}, {result} { } {}"},
        {"subject": ""},
        {"subject": "größer"},
        {"addresses": ["root@localhost", "a.b+c@mail.example.com"]},
        {"digest": "15m"},
        {"digest": "90s"},
        {"digest": "1d"},
        {"digest": ""},
    ],
)
def test_accepts(config: dict[str, Any]) -> None:
    Email(Settings(), system_clock).check_config({"addresses": [JOE], **config})


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"addresses": None}, "addresses"),
        ({"addresses": []}, "1 to 100"),
        ({"addresses": JOE}, "addresses"),
        ({"addresses": [JOE] * 101}, "1 to 100"),
        ({"addresses": ["joe"]}, "'joe' is no mail address"),
        ({"addresses": [7]}, "no mail address"),
        ({"addresses": ["joe@example.com\nbcc: eve@example.com"]}, "no mail address"),
        ({"addresses": ["joe@example.com, eve@example.com"]}, "no mail address"),
        ({"addresses": ["Joe <joe@example.com>"]}, "no mail address"),
        ({"addresses": ["@example.com"]}, "no mail address"),
        ({"addresses": ["a" * 65 + "@example.com"]}, "no mail address"),
        ({"addresses": ["a@" + "b." * 150 + "c"]}, "no mail address"),
        ({"subject": 7}, "subject"),
        ({"subject": "x" * 201}, "200"),
        ({"subject": "one\r\nBcc: eve@example.com"}, "one line"),
        ({"subject": "{event_typ}"}, "{event_typ} is unknown"),
        ({"digest": 15}, "15m"),
        ({"digest": "15"}, "15m"),
        ({"digest": "30s"}, "from 1m to 1d"),
        ({"digest": "2d"}, "from 1m to 1d"),
        ({"colour": "red"}, "has no colour"),
    ],
)
def test_refuses_with_the_reason(config: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Email(Settings(), system_clock).check_config({"addresses": [JOE], **config})
    assert caught.value.property_names == ["notifier_config"]
    assert word in str(caught.value)


def test_an_address_given_twice_gets_one_message() -> None:
    assert read({"addresses": [JOE, "ann@example.com", JOE]}).addresses == (JOE, "ann@example.com")


def test_digests_are_read_with_their_unit() -> None:
    assert read({"addresses": [JOE], "digest": "2h"}).digest == timedelta(hours=2)


@given(st.text())
def test_an_address_holds_nothing_that_ends_a_line_or_a_command(text: str) -> None:
    address = text + "@example.com"
    if is_address(address):
        assert address.isascii()
        assert address.isprintable()
        assert not set(' <>,;:"()[]\\') & set(address)


@given(st.text(), st.text())
def test_only_known_placeholders_are_filled(text: str, value: str) -> None:
    template = text.replace("{result}", "")
    assert filled(template, {"result": value}) == template
    assert filled("{result}", {"result": value}) == value


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"host": "mail.example.com:587"}, "host"),
        ({"host": "smtp://mail.example.com"}, "host"),
        ({"host": ""}, "host"),
        ({"sender": "nobody"}, "from"),
        ({"sender": "a@b\nBcc: c@d"}, "from"),
        ({"username": "joe", "host": "mail.example.com"}, "username"),
        ({"password": "x", "password_file": "/x"}, "password_file"),
        ({"password_file": "/nowhere/password"}, "password_file"),
        ({"tls": "tls", "ca": "/nowhere/ca.pem"}, "ca"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Email(Settings(**settings), system_clock)
    assert caught.value.key == f"[email] {key}"


def test_a_password_comes_from_its_file_which_others_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("two words\r\n")
    path.chmod(0o600)
    assert Email(Settings(password_file=str(path)), system_clock).server.password == "two words"
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Email(Settings(password_file=str(path)), system_clock)
