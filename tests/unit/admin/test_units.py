"""Selecting, copying and removing units: requests and output."""

from collections.abc import Callable
from typing import Any

import pytest

from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

REPORT = {"result": None, "error": None, "spawned_tasks": [{"_href": "x", "task_id": "t1"}]}
COPY = ["rpm", "repo", "copy", "rpm", "-f", "zoo", "-t", "barn"]
REMOVE = ["iso", "repo", "remove", "iso", "--repo-id", "zoo"]
UNITS = [{"type_id": "rpm", "unit_key": {}}] * 2


def task(result: Any) -> Reply:
    shown = {"task_id": "t1", "state": "finished", "tags": [], "progress_report": {}, "result": result}
    return Reply(body=shown)


@pytest.mark.parametrize(
    ("options", "filters"),
    [
        ([], {"unit": {}}),
        (["--str-eq", "name=bear"], {"unit": {"name": "bear"}}),
        (["--int-eq", "size=3"], {"unit": {"size": 3}}),
        (["--in", "arch=noarch,x86_64"], {"unit": {"arch": {"$in": ["noarch", "x86_64"]}}}),
        (["--match", "name=^b=?"], {"unit": {"name": {"$regex": "^b=?"}}}),
        (["--not", "name=^b"], {"unit": {"name": {"$not": "^b"}}}),
        (["--gt", "size=3"], {"unit": {"size": {"$gt": 3}}}),
        (["--lte", "version=4.1"], {"unit": {"version": {"$lte": "4.1"}}}),
        (
            ["--str-eq", "arch=noarch", "--match", "name=a", "--match", "name=b"],
            {"unit": {"$and": [{"arch": "noarch"}, {"name": {"$regex": "a"}}, {"name": {"$regex": "b"}}]}},
        ),
        (
            ["--after", "2031-01-01T00:00:00"],
            {"unit": {}, "association": {"created": {"$gte": "2031-01-01T00:00:00"}}},
        ),
        (
            ["--after", "2031", "--before", "2032"],
            {"unit": {}, "association": {"$and": [{"created": {"$gte": "2031"}}, {"created": {"$lte": "2032"}}]}},
        ),
        (["--filters", '{"name": "bear"}'], {"unit": {"name": "bear"}}),
    ],
)
def test_the_options_become_the_filters_of_the_original(
    admin: RunAdmin, wire: RestWire, options: list[str], filters: dict[str, Any]
) -> None:
    wire.on("POST repositories/barn/actions/associate/", Reply(status=202, body=REPORT))
    assert admin(*COPY, *options, "--bg") == 0
    criteria = {"type_ids": ["rpm"], "filters": filters}
    assert wire.asked[0].body == {"source_repo_id": "zoo", "criteria": criteria, "override_config": {}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--str-eq", "name"], "--str-eq must look like key=value"),
        (["--in", "=a"], "--in must look like key=value"),
        (["--int-eq", "size=big"], "needs a whole number"),
        (["--filters", "{"], "--filters is no JSON"),
    ],
)
def test_what_is_no_condition_is_refused_before_the_server_is_asked(
    admin: RunAdmin, wire: RestWire, capsys: Screen, options: list[str], words: str
) -> None:
    assert admin(*COPY, *options) == 65
    assert words in capsys.readouterr().err
    assert wire.asked == []


def test_a_copy_tells_how_many(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("POST repositories/barn/actions/associate/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task({"units_successful": UNITS}))
    assert admin(*COPY) == 0
    assert capsys.readouterr().out == "Task succeeded\n2 units copied.\n"


@pytest.mark.parametrize(
    ("option", "sent"),
    [
        ([], {}),
        (["-r"], {"recursive": True}),
        (["--recursive-conservative"], {"recursive_conservative": True}),
    ],
)
def test_d2_a_copy_can_take_along_what_belongs_to_the_chosen(
    admin: RunAdmin, wire: RestWire, option: list[str], sent: dict[str, bool]
) -> None:
    wire.on("POST repositories/barn/actions/associate/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task({"units_successful": UNITS}))
    assert admin(*COPY, *option) == 0
    assert wire.asked[0].body is not None
    assert wire.asked[0].body["override_config"] == sent


def test_a_removal_must_be_meant(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    assert admin(*REMOVE) == 64
    assert admin(*REMOVE, "--all", "--str-eq", "name=a") == 64
    assert wire.asked == []
    wire.on("POST repositories/zoo/actions/unassociate/", Reply(status=202, body=REPORT))
    wire.on("GET tasks/t1/", task({"units_successful": UNITS[:1]}))
    assert admin(*REMOVE, "--str-eq", "name=a") == 0
    assert wire.asked[0].body == {"criteria": {"type_ids": ["iso"], "filters": {"unit": {"name": "a"}}}}
    assert "1 unit removed." in capsys.readouterr().out
    assert admin(*REMOVE, "--all") == 0


def test_lists_of_content_take_the_same_options(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("POST repositories/zoo/search/units/", Reply(body=[{"metadata": {"name": "a.iso", "size": 3}}]))
    words = ["iso", "repo", "isos", "--repo-id", "zoo", "--name", "a.iso", "--gt", "size=1", "--limit", "2", "--table"]
    assert admin(*words) == 0
    filters = {"unit": {"$and": [{"name": "a.iso"}, {"size": {"$gt": 1}}]}}
    assert wire.asked[0].body == {"criteria": {"type_ids": ["iso"], "filters": filters, "limit": 2}}
    assert capsys.readouterr().out == "Name   Size\na.iso  3\n"
