"""`pulp-admin auth user`: its requests and output, lists as tables, and suggestions for mistyped commands."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

JANE: dict[str, Any] = {"login": "jane", "name": "Jane", "role": "reader", "roles": [], "_href": "/x"}
USER = ["auth", "user"]


def test_users_are_listed(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET users/", Reply(body=[JANE]))
    assert admin(*USER, "list") == 0
    assert capsys.readouterr().out == "Login:  jane\nName:   Jane\nRole:   reader\n\n\n"
    assert admin(*USER, "list", "--table") == 0
    assert capsys.readouterr().out == "Login  Name  Role\njane   Jane  reader\n"


def test_a_user_is_created_with_the_password_of_a_file(admin: RunAdmin, wire: RestWire, tmp_path: Path) -> None:
    wire.on("POST users/", Reply(status=201, body=JANE))
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    assert admin(*USER, "create", "--login", "jane", "--role", "admin", "--password-file", str(secret)) == 0
    assert wire.asked[0].body == {"login": "jane", "password": "s3cret", "role": "admin"}


def test_without_a_password_one_is_asked_for(
    admin: RunAdmin, wire: RestWire, monkeypatch: pytest.MonkeyPatch, capsys: Screen
) -> None:
    wire.on("POST users/", Reply(status=201, body=JANE))
    monkeypatch.setattr("sys.stdin", io.StringIO("typed\n"))
    assert admin(*USER, "create", "--login", "jane") == 0
    assert wire.asked[0].body == {"login": "jane", "password": "typed"}
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert admin(*USER, "create", "--login", "jane") == 65
    assert "needs a password" in capsys.readouterr().err


def test_an_update_sends_what_was_given(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("PUT users/jane/", Reply(body=JANE))
    assert admin(*USER, "update", "--login", "jane", "--name", "J.", "--password", "new") == 0
    assert wire.asked[0].body == {"delta": {"password": "new", "name": "J."}}
    assert admin(*USER, "update", "--login", "jane") == 0
    assert len(wire.asked) == 1
    assert "Nothing to change" in capsys.readouterr().err


def test_a_user_is_deleted(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("DELETE users/jane/", Reply())
    assert admin(*USER, "delete", "--login", "jane") == 0
    assert capsys.readouterr().out == "User jane deleted.\n"


def test_repositories_by_id_and_name(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    found = [{"id": "zoo", "display_name": "The Zoo", "notes": {}}, {"id": "a", "display_name": None, "notes": {}}]
    wire.on("GET repositories/", Reply(body=found))
    assert admin("repo", "list", "--summary") == 0
    assert capsys.readouterr().out == "Id   Display Name\nzoo  The Zoo\na\n"


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["status", "-u", "admin"], "before the command: pulp-admin -u … status\n"),
        (["iso", "repo", "list", "--url", "http://x"], "before the command: pulp-admin --url … iso repo list\n"),
        (["iso", "repo", "sync", "--repo-id", "zoo"], "behind a command: run, status.\n"),
        (["repo", "--repo-id", "zoo"], "behind a command: diff, export, list, promote, rollback.\n"),
        (["tasks", "list", "--nonsense"], "No such option '--nonsense'.\n"),
    ],
)
def test_an_option_in_the_wrong_place_is_answered_with_the_right_one(
    admin: RunAdmin, capsys: Screen, words: list[str], place: str
) -> None:
    assert admin(*words) == 64
    assert capsys.readouterr().err.endswith(place)


@pytest.mark.parametrize(
    ("words", "meant"), [(["tasks", "lst"], "list"), (["orphans"], "orphan"), (["iso", "repos", "list"], "repo")]
)
def test_a_slip_of_the_pen_is_answered_with_what_may_have_been_meant(
    admin: RunAdmin, capsys: Screen, words: list[str], meant: str
) -> None:
    assert admin(*words) == 64
    assert f"Did you mean {meant}" in capsys.readouterr().err
