"""How the subscriber shows a message."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.subscriber.listen.text import SEPARATOR, as_json, as_subject, as_text
from pulpit.subscriber.message import Message, neutral

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
        "inner": [{"x": None}, "inf", 1.5],
    }


@pytest.mark.parametrize(
    ("evil", "shown"),
    [("\x1b[2J", "\\x1b[2J"), ("\u202e", "\\u202e"), ("\x9b", "\\x9b"), ("a\nb", "a\\nb"), ("ä\\", "ä\\")],
)
def test_what_could_steer_a_terminal_is_shown_instead(evil: str, shown: str) -> None:
    assert neutral(evil) == shown
    assert as_subject(message(subject=evil)) == shown


@given(st.binary(), st.text(), st.dictionaries(st.text(), st.text() | st.binary() | st.none(), max_size=3))
def test_no_message_can_steer_a_terminal(body: bytes, subject: str, headers: dict[str, Any]) -> None:
    arrived = message(body, subject=subject, headers=headers, properties={"type": subject})
    for text in (as_text(arrived), as_subject(arrived), as_json(arrived)):
        assert not {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))} & set(text)
        assert "\u202e" not in text
    assert as_json(arrived).count("\n") == as_subject(arrived).count("\n") == 0
