"""`sync schedules` and `publish schedules`: requests and output."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

SYNC = "repositories/zoo/importers/yum_importer/schedules/sync/"
RPM = ["rpm", "repo", "sync", "schedules"]


def schedule(schedule_id: str = "65f0", **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"_id": schedule_id, "schedule": "PT1H", "enabled": True, "failure_threshold": None}
    shown |= {"consecutive_failures": 0, "first_run": "2031-01-01T00:00:00Z", "last_run": None}
    return shown | {"next_run": "2031-01-02T00:00:00Z", "remaining_runs": None, "total_run_count": 0} | more


def test_create_sends_what_the_original_sent(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on(f"POST {SYNC}", Reply(status=201, body=schedule()))
    assert admin(*RPM, "create", "--repo-id", "zoo", "-s", "PT1H") == 0
    assert wire.asked[0].body == {
        "schedule": "PT1H",
        "override_config": {},
        "failure_threshold": None,
        "enabled": True,
    }
    assert capsys.readouterr().out == "Schedule 65f0 created; it runs at 2031-01-02T00:00:00Z.\n"


@pytest.mark.parametrize(("interval", "words"), [("P1M", "needs a start"), ("often", "must look like")])
def test_a_wrong_interval_is_refused_before_the_server_is_asked(
    admin: RunAdmin, wire: RestWire, capsys: Screen, interval: str, words: str
) -> None:
    assert admin(*RPM, "create", "--repo-id", "zoo", "-s", interval) == 65
    assert words in capsys.readouterr().err
    assert wire.asked == []


def test_list_shows_words_for_what_is_not_there(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on(f"GET {SYNC}", Reply(body=[schedule()]))
    assert admin(*RPM, "list", "--repo-id", "zoo") == 0
    shown = capsys.readouterr().out
    assert "Last Run:              Never\n" in shown
    assert "Remaining Runs:        N/A\n" in shown
    assert "First Run" not in shown
    assert admin(*RPM, "list", "--repo-id", "zoo", "--details") == 0
    assert "First Run:             2031-01-01T00:00:00Z\n" in capsys.readouterr().out
    wire.on(f"GET {SYNC}", Reply(body=[]))
    assert admin(*RPM, "list", "--repo-id", "zoo") == 0
    assert capsys.readouterr().out == "There are no schedules.\n"


def test_update_sends_what_was_given_and_nothing_else(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    one = ["--repo-id", "zoo", "--schedule-id", "65f0"]
    wire.on(f"PUT {SYNC}65f0/", Reply(body=schedule()))
    assert admin(*RPM, "update", *one, "--enabled", "false", "-f", "3") == 0
    assert wire.asked[0].body == {"enabled": False, "failure_threshold": 3}
    assert admin(*RPM, "update", *one) == 0
    assert len(wire.asked) == 1
    assert "Nothing to change" in capsys.readouterr().err


def test_delete(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on(f"DELETE {SYNC}65f0/", Reply())
    assert admin(*RPM, "delete", "--repo-id", "zoo", "--schedule-id", "65f0") == 0
    assert capsys.readouterr().out == "Schedule 65f0 deleted.\n"


def test_next_is_the_earliest_of_those_that_run(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    disabled = schedule("1", next_run="2030-01-01T00:00:00Z", enabled=False)
    wire.on(f"GET {SYNC}", Reply(body=[schedule("2", next_run="2032-01-01T00:00:00Z"), disabled, schedule("3")]))
    assert admin(*RPM, "next", "--repo-id", "zoo", "-q") == 0
    assert capsys.readouterr().out == "2031-01-02T00:00:00Z\n"
    assert admin(*RPM, "next", "--repo-id", "zoo") == 0
    assert capsys.readouterr().out == "The next sync of zoo is due at 2031-01-02T00:00:00Z (schedule PT1H).\n"
    assert admin("--json", *RPM, "next", "--repo-id", "zoo") == 0
    assert json.loads(capsys.readouterr().out)["_id"] == "3"
    wire.on(f"GET {SYNC}", Reply(body=[disabled]))
    assert admin(*RPM, "next", "--repo-id", "zoo", "-q") == 0
    assert "No sync of zoo is scheduled" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["iso", "repo", "sync"], "importers/iso_importer/schedules/sync/"),
        (["iso", "repo", "publish"], "distributors/iso_distributor/schedules/publish/"),
        (["rpm", "repo", "publish"], "distributors/yum_distributor/schedules/publish/"),
    ],
)
def test_every_type_has_them(admin: RunAdmin, wire: RestWire, words: list[str], path: str) -> None:
    wire.on(f"GET repositories/zoo/{path}", Reply(body=[]))
    assert admin("--json", *words, "schedules", "list", "--repo-id", "zoo") == 0
