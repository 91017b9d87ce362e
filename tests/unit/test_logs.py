"""Log lines: each record is one line without control characters, whatever text it contains."""

import asyncio
import json
import logging
import sys
import time
from typing import Any

import pytest

from pulpit import logs
from pulpit.logs import JsonLines, TextLines

HOSTILE = "zoo\n2026-01-01 00:00:00,000 INFO all is well\r\x1b]0;owned\x07\x1b[2J\x9b1m\u2028\u202eexe"


def line(formatter: logging.Formatter, message: str, *arguments: Any, error: bool = False, **extra: Any) -> str:
    record = logging.LogRecord("pulpit.test", logging.ERROR, "file", 1, message, arguments, None)
    if error:
        record.exc_info = sys.exc_info()
    vars(record).update(extra)
    return formatter.format(record)


@pytest.fixture
def text() -> TextLines:
    return TextLines("%(asctime)s %(levelname)s %(message)s")


def harmless(shown: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in shown)


def test_what_a_stranger_wrote_stays_in_its_line(text: TextLines) -> None:
    shown = line(text, "A request broke: %s", HOSTILE, action="request_broke", path=HOSTILE)
    assert "\n" not in shown
    assert harmless(shown)
    assert shown.count("all is well") == 2  # nothing is hidden either
    assert "\\x1b[2J" in shown
    assert "größer" in line(text, "größer")


def test_a_traceback_has_lines_of_its_own_that_cannot_be_taken_for_others(text: TextLines) -> None:
    try:
        int(HOSTILE)
    except ValueError:
        shown = line(text, "failed", error=True, action="bug")
    first, *others = shown.split("\n")
    assert first.endswith("failed [action=bug]")
    assert harmless(shown)
    assert "Traceback" in shown
    assert all(other.startswith("  ") for other in others)


def test_json_is_one_line_of_ascii() -> None:
    shown = line(JsonLines(), "broke: %s", HOSTILE, path=HOSTILE)
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown)["path"] == HOSTILE


def test_b21_the_time_is_iso_8601_in_utc(text: TextLines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        lines = [line(text, "x", created=0.5), json.loads(line(JsonLines(), "x", created=0.5))["time"]]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [shown.split()[0] for shown in lines] == ["1970-01-01T00:00:00.500000Z"] * 2


def test_a_request_that_a_stop_cuts_off_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    logger, root = logging.getLogger("uvicorn.error"), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure("info", "text")
        logger.error("Exception in ASGI application", exc_info=asyncio.CancelledError("timeout exceeded"))
        logger.error("Exception in ASGI application", exc_info=ValueError("a bug"))
    finally:
        root.handlers[:], root.level = handlers, level
    said = capsys.readouterr().err
    assert "timeout exceeded" not in said
    assert "a bug" in said
