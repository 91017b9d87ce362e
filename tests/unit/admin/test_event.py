"""`pulp-admin event listener`: its requests and output."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulpit.admin.listener_kinds import GROUPS
from pulpit.listener_options import BUILT_IN, TAKEN
from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

LISTENER = {
    "_href": "/pulp/api/v2/events/a1/",
    "_id": {"$oid": "a1"},
    "_ns": "event_listeners",
    "id": "a1",
    "notifier_type_id": "amqp",
    "notifier_config": {"exchange": "pulp"},
    "event_types": ["*"],
    "_filters": {"repo_ids": ["fedora-*"], "results": None, "packages": None, "give_up_after": 259200},
    "_delivery": {
        "state": "retrying",
        "pause_reason": None,
        "position": 41,
        "lag_events": 3,
        "lag_seconds": 12.5,
        "attempts": 4,
        "failing_since": "2026-05-04T12:00:00.000000Z",
        "last_error": "No connection.",
        "last_error_at": "2026-05-04T12:00:07.000000Z",
        "dead_letters": 2,
    },
}


def test_create_sends_the_body_of_pulp2_and_prints_the_new_id(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("POST events/", Reply(status=201, body=LISTENER))
    assert admin("event", "listener", "amqp", "create", "--event-type", "*", "--exchange", "pulp") == 0
    assert wire.asked[0].body == {
        "notifier_type_id": "amqp",
        "notifier_config": {"exchange": "pulp"},
        "event_types": ["*"],
    }
    assert capsys.readouterr().out == "Event listener created: a1\n"


def test_create_answers_with_json_if_asked(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("POST events/", Reply(status=201, body=LISTENER))
    assert admin("--json", "event", "listener", "amqp", "create", "--event-type", "*") == 0
    assert json.loads(capsys.readouterr().out) == LISTENER
    assert wire.asked[0].body["notifier_config"] == {}


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (
            ["amqp", "update", "--listener-id", "a1", "--exchange", ""],
            {"notifier_config": {"exchange": None}},
        ),
        (
            ["amqp", "update", "--listener-id", "a1", "--event-type", "repo.sync.start", "--event-type", "repo.#"],
            {"event_types": ["repo.sync.start", "repo.#"]},
        ),
        (
            ["email", "update", "--listener-id", "a1", "--addresses", "a@x,b@x"],
            {"notifier_config": {"addresses": ["a@x", "b@x"]}},
        ),
        (
            ["http", "update", "--listener-id", "a1", "--url", "http://h/", "--ca-path", "/ca"],
            {"notifier_config": {"url": "http://h/", "ca_path": "/ca"}},
        ),
        (
            ["http", "update", "--listener-id", "a1", "--header", "X-A=1", "--header", "X-B=c=d", "--timeout", "5"],
            {"notifier_config": {"headers": {"X-A": "1", "X-B": "c=d"}, "timeout": 5}},
        ),
        (
            ["http", "update", "--listener-id", "a1", "--header", "", "--old-secret-file", "", "--redirects", "true"],
            {"notifier_config": {"headers": None, "old_secret": None, "redirects": True}},
        ),
        (
            ["email", "update", "--listener-id", "a1", "--digest", "15m", "--give-up-after", "12h"],
            {"notifier_config": {"digest": "15m"}, "give_up_after": 43200},
        ),
        (
            ["amqp", "update", "--listener-id", "a1", "--repo-id", "fedora-*", "--repo-id", "zoo"],
            {"repo_ids": ["fedora-*", "zoo"]},
        ),
        (
            ["amqp", "update", "--listener-id", "a1", "--repo-id", "", "--result", "", "--give-up-after", ""],
            {"repo_ids": [], "results": [], "give_up_after": None},
        ),
        (
            ["http", "update", "--listener-id", "a1", "--package", "openssl*", "--package", "glibc"],
            {"packages": ["openssl*", "glibc"]},
        ),
    ],
)
def test_update_sends_only_what_was_given(
    admin: RunAdmin, wire: RestWire, arguments: list[str], body: dict[str, Any]
) -> None:
    wire.on("PUT events/a1/", Reply(body=LISTENER))
    assert admin("event", "listener", *arguments) == 0
    assert wire.asked[0].body == body


def test_headers_that_are_secrets_come_from_a_file_that_others_cannot_read(
    admin: RunAdmin, wire: RestWire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.on("PUT events/a1/", Reply(body=LISTENER))
    headers = tmp_path / "headers"
    headers.write_text("Authorization=Bearer s3cret=\n\nX-B=2\n")
    update = ["event", "listener", "http", "update", "--listener-id", "a1", "--header", "X-A=1"]
    headers.chmod(0o644)
    assert admin(*update, "--header-file", str(headers)) == 78
    assert "chmod 600" in capsys.readouterr().err
    headers.chmod(0o600)
    assert admin(*update, "--header-file", str(headers)) == 0
    sent = {"X-A": "1", "Authorization": "Bearer s3cret=", "X-B": "2"}
    assert wire.asked[0].body == {"notifier_config": {"headers": sent}}
    headers.write_text("no equals sign s3cret\n")
    assert admin(*update, "--header-file", str(headers)) == 65
    assert "s3cret" not in capsys.readouterr().err


def test_update_with_nothing_asks_nobody_and_ends_with_0(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    assert admin("event", "listener", "http", "update", "--listener-id", "a1") == 0
    assert wire.asked == []
    assert "Nothing to change" in capsys.readouterr().err


def test_a_secret_can_come_from_a_private_file(admin: RunAdmin, wire: RestWire, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("pw\n")
    path.chmod(0o600)
    wire.on("POST events/", Reply(status=201, body=LISTENER))
    command = ["event", "listener", "http", "create", "--event-type", "*", "--url", "http://h/", "--username", "u"]
    assert admin(*command, "--password-file", str(path)) == 0
    assert wire.asked[0].body["notifier_config"] == {"url": "http://h/", "username": "u", "password": "pw"}


def test_list_shows_what_pulp2_showed(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET events/", Reply(body=[LISTENER, LISTENER]))
    assert admin("event", "listener", "list") == 0
    one = ["Event Types:       *", "Id:                a1", "Notifier Config:", "  Exchange:  pulp"]
    one += ["Notifier Type Id:  amqp", "", ""]
    assert capsys.readouterr().out.splitlines() == one * 2


def test_filters_and_patience_are_given_at_creation(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("POST events/", Reply(status=201, body=LISTENER))
    filters = ["--repo-id", "fedora-*", "--result", "failed", "--result", "error", "--give-up-after", "90s"]
    assert admin("event", "listener", "amqp", "create", "--event-type", "*", *filters) == 0
    body = wire.asked[0].body
    assert (body["repo_ids"], body["results"], body["give_up_after"]) == (["fedora-*"], ["failed", "error"], 90)


def test_a_listener_that_signs_reads_both_secrets_from_files(admin: RunAdmin, wire: RestWire, tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).write_text(f"whsec_{name}\n")
        (tmp_path / name).chmod(0o600)
    wire.on("POST events/", Reply(status=201, body=LISTENER))
    secrets = ["--secret-file", str(tmp_path / "new"), "--old-secret-file", str(tmp_path / "old")]
    assert admin("event", "listener", "http", "create", "--event-type", "*", "--url", "http://h/", *secrets) == 0
    config = wire.asked[0].body["notifier_config"]
    assert config == {"url": "http://h/", "secret": "whsec_new", "old_secret": "whsec_old"}


@pytest.mark.parametrize(
    "wrong", [["--give-up-after", "3"], ["--give-up-after", "0d"], ["--header", "x"], ["--timeout", "0"]]
)
def test_what_cannot_be_right_is_refused_here(
    admin: RunAdmin, wire: RestWire, capsys: Screen, wrong: list[str]
) -> None:
    assert admin("event", "listener", "http", "create", "--event-type", "*", "--url", "http://h/", *wrong) == 65
    assert wire.asked == []
    assert wrong[0] in capsys.readouterr().err


def test_list_with_details_tells_how_the_delivery_goes(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET events/", Reply(body=[LISTENER]))
    assert admin("event", "listener", "list", "--details") == 0
    shown = capsys.readouterr().out
    for line in (
        "  Dead Letters:  2",
        "  Lag:           3 events, 12 seconds",
        "  Last Error:    No connection. (2026-05-04T12:00:07.000000Z)",
        "  State:         retrying since 2026-05-04T12:00:00.000000Z, 4 attempts",
        "  Give Up After:  3d",
        "  Repo Ids:       fedora-*",
        "  Results:        all",
    ):
        assert line in shown.splitlines()
    assert "_href" not in shown


def test_json_shows_everything(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET events/", Reply(body=[LISTENER]))
    assert admin("event", "listener", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [LISTENER]


def test_no_listeners_print_nothing(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET events/", Reply(body=[]))
    assert admin("event", "listener", "list") == 0
    assert capsys.readouterr().out == ""


def test_delete_quotes_the_id(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("DELETE events/..%2Fx/", Reply())
    assert admin("event", "listener", "delete", "--listener-id", "../x") == 0
    assert wire.lines() == ["DELETE events/..%2Fx/"]


MATRIX = {
    "id": "matrix",
    "summary": "Listeners that post to a Matrix room.",
    "brought_by": "pulpit-notifier-matrix 0.1.0",
    "problem": None,
    "options": [
        {
            "name": name,
            "type": "text",
            "help": "It is what it is.",
            "required": name != "kind",
            "secret": name == "token",
            "choices": ["notice", "text"] if name == "kind" else [],
            "default": "",
            "placeholder": "",
            "metavar": "",
            "flag": "",
            "given_openly": False,
        }
        for name in ("room", "token", "kind")
    ],
}


def test_a_kind_that_only_the_server_knows_has_commands_too(
    admin: RunAdmin, wire: RestWire, capsys: Screen, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hush\n")
    (tmp_path / "token").chmod(0o600)
    wire.on("GET /pulpit/v1/notifiers", Reply(body={"notifiers": [MATRIX]}))
    wire.on("POST events/", Reply(status=201, body=LISTENER))
    command = ["event", "listener", "matrix", "create"]
    assert admin(*command, "--help") == 0
    shown = capsys.readouterr().out
    assert "--token-file PATH" in shown
    assert "--kind [notice|text]" in shown
    assert "--token " not in shown
    given = ["--event-type", "*", "--room", "!a:b", "--token-file", str(tmp_path / "token")]
    assert admin(*command, *given, "--kind", "text") == 0
    assert wire.asked[-1].body == {
        "notifier_type_id": "matrix",
        "notifier_config": {"room": "!a:b", "token": "hush", "kind": "text"},
        "event_types": ["*"],
    }
    assert admin(*command, "--event-type", "*") == 64
    assert "--room, --token-file" in capsys.readouterr().err
    assert admin("event", "listener", "kinds") == 0
    assert "pulpit-notifier-matrix 0.1.0" in capsys.readouterr().out


def test_a_kind_that_nobody_knows_is_wrong_use(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET /pulpit/v1/notifiers", Reply(body={"notifiers": [MATRIX]}))
    assert admin("event", "listener", "htp", "create") == 64
    assert "Did you mean http?" in capsys.readouterr().err


@pytest.mark.parametrize("reply", [Reply(status=404, body={"error_message": "Gone."}), Reply(body={"notifiers": [{}]})])
def test_a_server_that_does_not_say_its_kinds_is_told(
    admin: RunAdmin, wire: RestWire, capsys: Screen, reply: Reply
) -> None:
    wire.on("GET /pulpit/v1/notifiers", reply)
    assert admin("event", "listener", "matrix", "create") == 64
    assert "the server could not be asked for kinds of its own" in capsys.readouterr().err


def test_no_kind_may_have_an_option_that_all_listeners_have() -> None:
    for kind in BUILT_IN.values():
        own = {flag for option in kind.options for flag in (option.option, option.option_of_file)}
        for command in GROUPS[kind.id].commands.values():
            general = {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")} - own
            assert general <= TAKEN
