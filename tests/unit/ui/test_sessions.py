"""The signed session cookies of the page, and when they expire."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pulpit.ui.sessions import FILE, IDLE_S, LONGEST_S, Sessions

HASH = "scrypt$16384$8$1$salt$key"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2031, 5, 4, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(tmp_path: Path, clock: Clock) -> Sessions:
    return Sessions(tmp_path, clock)


def _counts(sessions: Sessions, token: str, password_hash: str = HASH) -> bool:
    return sessions.read(token) is not None and sessions.proves(token, password_hash)


def test_a_token_proves_its_session_for_the_password_it_was_made_with(sessions: Sessions) -> None:
    session = sessions.begin("jane")
    token = sessions.token(session, HASH)
    assert sessions.read(token) == session
    assert sessions.proves(token, HASH)
    assert not sessions.proves(token, "scrypt$16384$8$1$salt$other")


def test_a_token_that_was_changed_proves_nothing(sessions: Sessions) -> None:
    token = sessions.token(sessions.begin("reader"), HASH)
    payload, _, signature = token.partition(".")
    admin = sessions.token(sessions.begin("admin"), "another").partition(".")[0]
    for forged in (f"{admin}.{signature}", payload, f"{payload}.", f"{payload}.{signature}A", "", "é.é", "." * 3_000):
        assert not _counts(sessions, forged)


def test_garbage_is_read_as_no_session(sessions: Sessions) -> None:
    for garbage in ("bnVsbA.x", "W10.x", "eyJsb2dpbiI6MX0.x", "MQ.x", "\udcff", "e30."):
        assert sessions.read(garbage) is None


def test_a_session_ends_when_it_is_idle_or_old(sessions: Sessions, clock: Clock) -> None:
    session = sessions.begin("jane")
    clock.pass_by(IDLE_S + 1)
    assert sessions.read(sessions.token(session, HASH)) is None
    session = sessions.begin("jane")
    for _ in range(LONGEST_S // (IDLE_S // 2) + 1):
        clock.pass_by(IDLE_S // 2)
        session = sessions.renewed(session) or session
    assert sessions.read(sessions.token(session, HASH)) is None


def test_a_session_outlives_new_keys_and_a_restart_but_not_its_end(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    clock.pass_by(-3600)
    sessions.token(sessions.begin("first"), HASH)  # the key is a day old when the next ones are a few hours
    clock.pass_by(20 * 3600)
    kept, left = sessions.begin("jane"), sessions.begin("jane")
    tokens = [sessions.token(session, HASH) for session in (kept, left)]
    clock.pass_by(10 * 3600)
    sessions.token(sessions.begin("other"), HASH)
    again = Sessions(tmp_path, clock)
    assert [_counts(again, token) for token in tokens] == [True, True]
    again.end(left)
    once_more = Sessions(tmp_path, clock)
    assert [_counts(once_more, token) for token in tokens] == [True, False]


def test_the_keys_are_for_the_owner_alone_and_a_damaged_file_ends_all_sessions(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    token = sessions.token(sessions.begin("jane"), HASH)
    file = tmp_path / FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for damaged in ("", "{", "[]", '{"keys": [[1]], "ended": {}}', '{"keys": [["a", "zz"]], "ended": {}}'):
        file.write_text(damaged)
        assert not _counts(Sessions(tmp_path, clock), token)
    file.chmod(0o644)
    assert not _counts(Sessions(tmp_path, clock), token)


def test_a_folder_that_cannot_be_written_keeps_nobody_out(tmp_path: Path, clock: Clock) -> None:
    sessions = Sessions(tmp_path / "gone", clock)
    session = sessions.begin("jane")
    token = sessions.token(session, HASH)
    assert _counts(sessions, token)
    sessions.end(session)
    assert not _counts(sessions, token)


def test_a_form_token_belongs_to_its_session(sessions: Sessions) -> None:
    jane, joe = sessions.begin("jane"), sessions.begin("joe")
    token = sessions.form_token(jane)
    assert sessions.is_form_token(jane, token)
    for other in ("", "é", token[:-1], sessions.form_token(joe)):
        assert not sessions.is_form_token(jane, other)
