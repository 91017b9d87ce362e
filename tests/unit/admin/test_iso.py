"""`pulp-admin iso repo`, `repo`, `tasks`, `orphan` and `status`: requests and output."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulpit.admin import session
from pulpit.admin.uploads import PIECE
from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

REPORT = {"result": None, "error": None, "spawned_tasks": [{"_href": "x", "task_id": "t1"}]}
CREATE = ["iso", "repo", "create", "--repo-id", "wheels"]
SYNC = ["iso", "repo", "sync", "run", "--repo-id", "wheels"]
UPLOAD = ["iso", "repo", "uploads", "upload", "--repo-id", "wheels"]
UPDATE = ["iso", "repo", "update", "--repo-id", "wheels"]


def task(state: str, task_id: str = "t1", **more: Any) -> Reply:
    return Reply(body={"task_id": task_id, "id": "1", "state": state, "tags": [], "progress_report": {}, **more})


def iso_progress(state: str) -> dict[str, Any]:
    return {"iso_importer": {"state": state, "num_isos": 2, "num_isos_finished": 2, "total_bytes": 2000}}


def nothing_runs(wire: RestWire) -> None:
    wire.on("POST tasks/search/", Reply(body=[]))


def test_create_sends_importer_and_distributor(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("POST repositories/", Reply(status=201, body={"id": "wheels"}))
    options = [
        "--feed",
        "http://f/",
        "--basicauth-user",
        "u",
        "--display-name",
        "W",
        "--remove-missing",
        "true",
        "--relative-url",
        "w",
    ]
    options += ["--basicauth-user", "u"]
    assert admin(*CREATE, *options, "--note", "team=rel", "--max-downloads", "4") == 0
    assert wire.asked[0].body == {
        "id": "wheels",
        "display_name": "W",
        "notes": {"_repo-type": "iso-repo", "team": "rel"},
        "importer_type_id": "iso_importer",
        "importer_config": {
            "feed": "http://f/",
            "basic_auth_username": "u",
            "remove_missing": True,
            "max_downloads": 4,
        },
        "distributors": [
            {
                "distributor_id": "iso_distributor",
                "distributor_type_id": "iso_distributor",
                "auto_publish": True,
                "distributor_config": {"relative_url": "w"},
            }
        ],
    }
    assert capsys.readouterr().out == "Repository wheels created.\n"


def test_update_sends_null_for_what_is_taken_away(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("PUT repositories/wheels/", Reply(body={"result": {}, "error": None, "spawned_tasks": []}))
    assert admin(*UPDATE, "--feed", "", "--max-speed", "", "--note", "team=", "--serve-http", "yes") == 0
    assert wire.asked[0].body == {
        "delta": {"notes": {"team": None}},
        "importer_config": {"feed": None, "max_speed": None},
        "distributor_configs": {"iso_distributor": {"serve_http": True}},
    }


def test_update_follows_the_tasks_of_a_202(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("PUT repositories/wheels/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task("running"), task("finished"))
    assert admin(*UPDATE, "--relative-url", "x") == 0
    assert wire.lines()[1:] == ["GET tasks/t1/"] * 2


def test_update_with_nothing_asks_nobody(admin: RunAdmin, wire: RestWire) -> None:
    assert admin(*UPDATE) == 0
    assert wire.asked == []


def test_sync_follows_the_task_and_the_publish_that_it_spawns(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(status=202, body=REPORT))
    children = [{"task_id": "t1"}, {"task_id": "t2"}]
    wire.on(
        "GET tasks/t1/",
        task("waiting"),
        task("running", progress_report=iso_progress("isos_in_progress")),
        task("finished", progress_report=iso_progress("complete"), spawned_tasks=children),
    )
    published = {"iso_distributor": {"state": "complete", "state_times": {}}}
    wire.on("GET tasks/t2/", task("finished", "t2", progress_report=published))
    assert admin(*SYNC) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Downloading the manifest... completed",
        "Downloading 2 files (2.0 kB)...",
        "Downloading 2 files (2.0 kB)... completed",
        "Task succeeded",
        "Publishing... completed",
        "Task succeeded",
    ]
    assert wire.asked[1].body == {"override_config": None}


def test_a_failed_task_fails_the_command(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(status=202, body=REPORT))
    error = {"code": "PLP0000", "description": "checksum of a.whl is wrong", "sub_errors": [{"description": "why"}] * 2}
    wire.on("GET tasks/t1/", task("error", error=error, spawned_tasks=[{"task_id": "t2"}]))
    assert admin(*SYNC) == 1
    told = capsys.readouterr().err
    assert "Task t1 failed." in told
    assert told.endswith("checksum of a.whl is wrong\n  why\n")
    assert "GET tasks/t2/" not in wire.lines()


def test_a_cancelled_task_fails_the_command(admin: RunAdmin, wire: RestWire) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task("canceled"))
    assert admin(*SYNC) == 1


def test_a_skipped_task_is_no_failure(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/publish/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task("skipped"))
    assert admin("iso", "repo", "publish", "run", "--repo-id", "wheels") == 0
    assert wire.asked[1].body == {"id": "iso_distributor", "override_config": None}
    assert capsys.readouterr().out == "Task skipped\n"


def test_in_the_background_nothing_is_followed(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(status=202, body=REPORT))
    assert admin(*SYNC, "--bg", "--force-full") == 0
    assert wire.asked[1].body == {"override_config": {"force_full": True}}
    assert "t1" in capsys.readouterr().out
    assert len(wire.asked) == 2


def test_work_that_runs_already_is_followed_and_not_begun_again(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("POST tasks/search/", Reply(body=[{"task_id": "t1", "id": "1"}]))
    wire.on("GET tasks/t1/", task("finished"))
    assert admin(*SYNC) == 0
    assert wire.lines() == ["POST tasks/search/", "GET tasks/t1/"]
    assert wire.asked[0].body["criteria"]["filters"]["tags"] == {"$all": ["pulp:repository:wheels", "pulp:action:sync"]}


def test_ctrl_c_leaves_the_task_running(
    admin: RunAdmin, wire: RestWire, capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "_until_end", interrupted)
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(status=202, body=REPORT))
    assert admin(*SYNC) == 0
    assert "the server continues (task t1)" in capsys.readouterr().err
    assert len(wire.asked) == 2


def test_a_server_that_is_started_again_is_waited_for(admin: RunAdmin, wire: RestWire) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task("running"), Reply(hang_up=True), task("finished"))
    assert admin(*SYNC) == 0
    assert wire.lines().count("GET tasks/t1/") == 3


def test_json_of_a_run_is_the_last_state_of_each_task(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task("running"), task("finished", result={"added_count": 3}))
    assert admin(*SYNC, "--json") == 0
    [last] = json.loads(capsys.readouterr().out)
    assert last["result"] == {"added_count": 3}


def test_an_answer_that_names_no_tasks_is_70(admin: RunAdmin, wire: RestWire) -> None:
    nothing_runs(wire)
    wire.on("POST repositories/wheels/actions/sync/", Reply(body={"ok": True}))
    assert admin(*SYNC) == 70


@pytest.mark.parametrize("action", ["sync", "publish"])
def test_status_says_that_nothing_runs(admin: RunAdmin, wire: RestWire, capsys: Screen, action: str) -> None:
    nothing_runs(wire)
    wire.on("GET repositories/wheels/", Reply(body={"id": "wheels", "notes": {}}))
    assert admin("iso", "repo", action, "status", "--repo-id", "wheels") == 0
    assert "under way" in capsys.readouterr().out


def test_lists_of_repositories(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    iso = {"id": "wheels", "display_name": "W", "notes": {"_repo-type": "iso-repo"}, "_ns": "repos", "x": 1}
    rpm = {"id": "zoo", "notes": {"_repo-type": "rpm-repo"}}
    wire.on("GET repositories/", Reply(body=[iso, rpm]))
    wire.on("GET repositories/?importers=True&distributors=True", Reply(body=[iso, rpm]))
    assert admin("iso", "repo", "list") == 0
    assert capsys.readouterr().out == "Display Name:  W\nId:            wheels\n\n\n"
    assert admin("repo", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [iso, rpm]
    assert admin("iso", "repo", "list", "--details") == 0
    assert "Repo-type" not in (shown := capsys.readouterr().out)
    assert "X:" in shown
    assert admin("repo", "list", "--fields", "x") == 0
    assert "X:   1" in capsys.readouterr().out


def test_delete_follows_and_says_so(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("DELETE repositories/wheels/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task("finished"))
    assert admin("iso", "repo", "delete", "--repo-id", "wheels") == 0
    assert capsys.readouterr().out == "Task succeeded\nRepository wheels deleted.\n"


def test_upload_sends_pieces_imports_and_deletes(
    admin: RunAdmin, wire: RestWire, capsys: Screen, tmp_path: Path
) -> None:
    (tmp_path / "a.iso").write_bytes(b"x" * (PIECE + 1))
    (tmp_path / "empty.iso").write_bytes(b"")
    wire.takes_uploads("wheels")
    wire.on(f"PUT content/uploads/u/{PIECE}/", Reply())
    wire.on("GET tasks/t1/", task("finished"))
    assert admin(*UPLOAD, "-f", str(tmp_path / "a.iso"), "-f", str(tmp_path / "empty.iso")) == 0
    sent = [asked.raw for asked in wire.asked if asked.method == "PUT"]
    assert sent == [b"x" * PIECE, b"x"]
    imported = next(asked.body for asked in wire.asked if "import" in asked.path)
    digest = hashlib.sha256(b"x" * (PIECE + 1)).hexdigest()
    assert imported["unit_key"] == {"name": "a.iso", "size": PIECE + 1, "checksum": digest}
    assert wire.lines().count("DELETE content/uploads/u/") == 2
    assert "Sending a.iso (1.0 MB)... completed" in capsys.readouterr().out


def test_one_failing_upload_does_not_stop_the_others(
    admin: RunAdmin, wire: RestWire, capsys: Screen, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"x")
    wire.takes_uploads("wheels")
    wire.on(
        "POST repositories/wheels/actions/import_upload/",
        Reply(status=409, body={"resource_id": "a"}),
        Reply(status=202, body=REPORT),
    )
    wire.on("GET tasks/t1/", task("finished"))
    assert admin(*UPLOAD, "-d", str(tmp_path / "d")) == 1
    told = capsys.readouterr()
    assert told.err.startswith("a: ")
    assert "Task succeeded" in told.out
    assert admin(*UPLOAD) == 64


def test_files_of_a_repository(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    unit = {"metadata": {"name": "a.whl", "size": 5, "checksum": "ab", "_id": "x"}}
    wire.on("POST repositories/wheels/search/units/", Reply(body=[unit]))
    assert admin("iso", "repo", "isos", "--repo-id", "wheels", "--limit", "3", "--skip", "0") == 0
    assert wire.asked[0].body == {"criteria": {"type_ids": ["iso"], "filters": {"unit": {}}, "limit": 3}}
    assert capsys.readouterr().out.startswith("Checksum:  ab\nName:      a.whl\nSize:      5\n")


def test_history(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    entry = {"repo_id": "r", "result": "failed", "error_message": "no feed", "summary": {"a": 1}, "_id": "x"}
    wire.on("GET repositories/r/history/sync/?limit=5", Reply(body=[entry]))
    assert admin("repo", "history", "sync", "--repo-id", "r") == 0
    assert "no feed" in (shown := capsys.readouterr().out)
    assert "Summary" not in shown
    path = "repositories/r/history/publish/iso_distributor/?details=x"
    wire.on("GET repositories/r/history/publish/iso_distributor/?limit=2&sort=ascending", Reply(body=[]))
    wire.on("GET repositories/r/distributors/", Reply(body=[{"id": "iso_distributor"}]))
    assert admin("repo", "history", "publish", "--repo-id", "r", "--limit", "2", "--sort", "ascending") == 0
    assert path not in wire.lines()


def test_tasks_list_asks_as_pulp2_did_and_shows_words(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    tags = ["pulp:repository:zoo", "pulp:action:sync", "odd"]
    found = [{"task_id": "t", "id": "1", "state": "error", "tags": tags, "start_time": None}]
    wire.on("POST tasks/search/", Reply(body=found))
    assert admin("tasks", "list") == 0
    filters = {"state": {"$in": ["running", "waiting"]}, "group_id": None}
    assert wire.asked[0].body["criteria"]["filters"] == filters
    shown = capsys.readouterr().out
    assert "Operations:   sync" in shown
    assert "Resources:    zoo (repository)" in shown
    assert "State:        Failed" in shown
    assert admin("tasks", "list", "--state", "successful,failed") == 0
    assert wire.asked[1].body["criteria"]["filters"]["state"] == {"$in": ["finished", "error"]}
    assert admin("tasks", "list", "--all") == 0
    assert "filters" not in wire.asked[2].body["criteria"]


def test_one_task(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET tasks/t1/", task("finished", result={"n": 1}))
    wire.on("DELETE tasks/t1/", Reply())
    assert admin("tasks", "details", "--task-id", "t1") == 0
    assert "N:" in capsys.readouterr().out
    assert admin("repo", "tasks", "cancel", "--task-id", "t1") == 0


def test_purge_and_orphans(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("DELETE tasks/?state=finished&state=error", Reply(status=204, raw=b""))
    assert admin("tasks", "purge", "--state", "successful,failed") == 0
    wire.on("GET content/orphans/", Reply(body={"iso": {"count": 2}, "rpm": {"count": 1}}))
    capsys.readouterr()
    assert admin("orphan", "list") == 0
    assert capsys.readouterr().out == "Iso:    2\nRpm:    1\nTotal:  3\n\n\n"
    wire.on("DELETE content/orphans/iso/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task("finished"))
    assert admin("orphan", "remove", "--type", "iso") == 0


def test_tasks_of_a_repository(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET tasks/?tag=pulp%3Arepository%3Ar", Reply(body=[]))
    assert admin("repo", "tasks", "list", "--repo-id", "r") == 0
    assert "no such tasks" in capsys.readouterr().out


def test_status_shows_hidden_keys_too(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET status/", Reply(body={"api_version": "2", "known_workers": [{"_id": "w"}]}))
    assert admin("status") == 0
    assert "  Id:  w" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(admin: RunAdmin, capsys: Screen, shell: str) -> None:
    assert admin("completion", shell) == 0
    assert "_PULP_ADMIN_COMPLETE" in capsys.readouterr().out


def test_event_types_are_completed(admin: RunAdmin, capsys: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PULP_ADMIN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "pulp-admin event listener amqp create --event-type repo.s")
    monkeypatch.setenv("COMP_CWORD", "6")
    with pytest.raises(SystemExit):
        admin()
    assert capsys.readouterr().out.split() == ["plain,repo.sync.finish", "plain,repo.sync.start"]


def completed(admin: RunAdmin, capsys: Screen, monkeypatch: pytest.MonkeyPatch, words: str) -> list[str]:
    monkeypatch.setenv("_PULP_ADMIN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        admin()
    return capsys.readouterr().out.split()


def test_repositories_are_completed_by_asking_the_server(
    admin: RunAdmin, wire: RestWire, capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "pulp-admin iso repo sync run --repo-id z"
    wire.on("GET repositories/", Reply(body=[{"id": "zoo"}, {"id": "farm"}, {"id": "zebra"}]))
    assert completed(admin, capsys, monkeypatch, words) == ["plain,zoo", "plain,zebra"]
    wire.on("GET repositories/", Reply(status=500, body=None))
    assert completed(admin, capsys, monkeypatch, words) == []
    monkeypatch.setenv("PULPIT_URL", "http://127.0.0.1:1")
    assert completed(admin, capsys, monkeypatch, words) == []


def test_the_distributor_of_a_history_is_the_one_that_publishes_by_itself(
    admin: RunAdmin, wire: RestWire, capsys: Screen
) -> None:
    exports = {"id": "export_distributor", "auto_publish": False}
    wire.on("GET repositories/r/distributors/", Reply(body=[exports, {"id": "yum_distributor", "auto_publish": True}]))
    wire.on("GET repositories/r/history/publish/yum_distributor/?limit=5", Reply(body=[]))
    assert admin("repo", "history", "publish", "--repo-id", "r") == 0
    wire.on("GET repositories/r/distributors/", Reply(body=[exports, {"id": "other"}]))
    assert admin("repo", "history", "publish", "--repo-id", "r") == 64
    assert "the repository has export_distributor, other" in capsys.readouterr().err
