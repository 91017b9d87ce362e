"""When watched files are read again."""

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from pulpit.errors import ConfigurationError
from pulpit.net.renewal import Watched, keep_fresh


class Reader:
    """Counts, and fails if it is asked to."""

    def __init__(self) -> None:
        self.times = 0
        self.fails = False

    def __call__(self) -> None:
        self.times += 1
        if self.fails:
            raise ConfigurationError("[broker] users_file", "line 1 is wrong.")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("one")
    return file


def test_nothing_is_read_while_nothing_changes(path: Path) -> None:
    reader = Reader()
    watched = Watched("it", [path], reader)
    for _ in range(3):
        watched.look()
    assert reader.times == 0


def test_a_change_is_read_once_when_it_has_come_to_rest(path: Path) -> None:
    reader = Reader()
    watched = Watched("it", [path], reader)
    for number in range(3):
        path.write_text("x" * number)
        watched.look()
        assert reader.times == 0
    for _ in range(3):
        watched.look()
    assert reader.times == 1


def test_a_file_that_is_replaced_or_gone_has_changed(path: Path, tmp_path: Path) -> None:
    reader = Reader()
    watched = Watched("it", [path], reader)
    fresh = tmp_path / "fresh"
    fresh.write_text("two")
    fresh.replace(path)
    watched.look()
    watched.look()
    path.unlink()
    watched.look()
    watched.look()
    assert reader.times == 2


def test_what_cannot_be_used_is_told_once_and_tried_again_after_the_next_change(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader()
    reader.fails = True
    watched = Watched("it", [path], reader)
    path.write_text("wrong")
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            watched.look()
        assert [vars(record)["action"] for record in caplog.records] == ["files_not_renewed"]
        assert "line 1 is wrong" in caplog.text
        reader.fails = False
        path.write_text("right again")
        watched.look()
        watched.look()
    assert vars(caplog.records[-1])["action"] == "files_renewed"


def test_all_are_looked_at_again_and_again(path: Path) -> None:
    readers = [Reader(), Reader()]
    watched = [Watched("it", [path], reader) for reader in readers]
    path.write_text("changed")
    rounds = iter(range(3))

    async def sleep(_: float) -> None:
        if next(rounds, None) is None:
            raise asyncio.CancelledError

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(keep_fresh(watched, sleep))
    assert [reader.times for reader in readers] == [1, 1]
