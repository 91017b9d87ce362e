"""Outbox rows as events: complete ones, incomplete ones, and unexpected ones."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit import catalogue
from pulpit.pulp3.translation import FINISH, START, WAITING, NewEvent, Row, Translator, counts_of

TASK = "01a22444-63f5-735d-ab60-663505103ef2"
REPOSITORY = {"id": "01a22444-631c-7d5a-83ec-c682bba408dd", "name": "zoo", "type": "deb.apt", "domain": "default"}
NOW = datetime(2026, 11, 28, 22, 26, tzinfo=UTC)


def row(state: str, name: str = "pulp_deb.app.tasks.synchronizing.synchronize", **data: Any) -> Row:
    task = {
        "pulp_id": TASK,
        "name": name,
        "state": state,
        "logging_cid": "aaf5d1f58356499c8e4151c45e6c265b",
        "pulp_created": "2026-11-28T22:26:31.5593+00:00",
        "started_at": "2026-11-28T22:26:31.949521+00:00",
        "finished_at": None if state == "running" else "2026-11-28T22:26:33.947052+00:00",
        "error": {"description": "no"} if state == "failed" else None,
    }
    phase = {"running": START, "waiting": WAITING}.get(state, FINISH)
    whole = {"task": task, "repository": REPOSITORY, **data}
    return Row(id=1, subject="task", object=TASK, phase=phase, task=TASK, at=NOW, data=whole, made_up=False)


def judged(events: list[NewEvent]) -> list[str]:
    """The types of some events, all of which keep the contract."""
    for event in events:
        body = {"event_type": event.event_type, "payload": event.payload, "call_report": event.call_report}
        jsonschema.validate(json.loads(json.dumps(body)), catalogue.schema(event.event_type))
    return [event.event_type for event in events]


def test_a_finish_also_says_what_its_start_would_have_said_under_the_same_id() -> None:
    start = Translator().translate(row("running"), None, {}).start
    finish = Translator().translate(row("completed"), None, {})
    assert judged([*finish.start, *finish.finish]) == ["repo.sync.start", "repo.sync.finish"]
    assert [event.event_id for event in start] == [event.event_id for event in finish.start]
    assert finish.start[0].event_id != finish.finish[0].event_id


def test_what_is_known_of_no_plug_in_has_no_invented_address() -> None:
    words = Translator().translate(row("completed"), None, {}).finish[0].payload["pulp3"]
    assert words["repository"] == {"pulp_href": None, "prn": None, "name": "zoo", "type": "deb.apt"}
    known = row("completed", repository={**REPOSITORY, "type": "file.file"})
    words = Translator(root="/x/", has_domains=True).translate(known, None, {}).finish[0].payload["pulp3"]
    assert words["repository"]["pulp_href"] == f"/x/default/api/v3/repositories/file/file/{REPOSITORY['id']}/"


@pytest.mark.parametrize(
    ("pulp", "domain", "expected"),
    [("", "default", "zoo"), ("", None, "zoo"), ("", "team", "team/zoo"), ("prod", "team", "prod:team/zoo")],
)
def test_a_repository_is_named_by_pulp_domain_and_name(pulp: str, domain: str | None, expected: str) -> None:
    assert Translator(pulp=pulp).repo_id({**REPOSITORY, "domain": domain}) == expected


def test_a_very_long_name_stays_one_of_its_own() -> None:
    name = Translator().repo_id({**REPOSITORY, "name": "z" * 1000})
    assert len(name) == 255
    assert name.endswith(str(REPOSITORY["id"]))


def test_every_task_is_told_only_where_that_is_wanted() -> None:
    other = row("completed", "pulpcore.app.tasks.orphan.orphan_cleanup", repository=None)
    told = Translator().translate(other, None, {})
    assert (told.start, told.finish) == ([], [])
    told = Translator(every_task=True).translate(other, None, {})
    assert judged([*told.start, *told.finish]) == ["tasks.running", "tasks.finished"]
    waiting = Translator(every_task=True).translate(row("waiting"), None, {})
    assert judged(list(waiting.waiting)) == ["tasks.waiting"]


@pytest.mark.parametrize(
    ("correlation", "trace"),
    [
        ("aaf5d1f58356499c8e4151c45e6c265b", "aaf5d1f58356499c8e4151c45e6c265b"),
        ("AAF5D1F5-8356-499C-8E41-51C45E6C265B", "aaf5d1f58356499c8e4151c45e6c265b"),
        ("0" * 32, None),
        ("my build 7", None),
        ("", TASK.replace("-", "")),
    ],
)
def test_the_trace_is_pulps_correlation_id_or_stands_for_it(correlation: str, trace: str | None) -> None:
    given_row = row("running")
    given_row.data["task"]["logging_cid"] = correlation
    found = Translator().translate(given_row, None, {}).start[0].traceparent.split("-")
    assert [len(part) for part in found] == [2, 32, 16, 2]
    assert found[1] == trace or (trace is None and found[1] != "0" * 32)


def test_a_repository_that_is_gone_at_the_end_is_known_from_the_start() -> None:
    gone = row("failed", repository=None, created=None, progress=None)
    assert Translator().translate(gone, row("running").data, {}).finish[0].repo_id == "zoo"
    told = Translator().translate(gone, None, {})
    assert judged([*told.start, *told.finish]) == ["repo.sync.start", "repo.sync.finish"]


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
REPORTS = st.lists(st.fixed_dictionaries({}, optional={"message": PLAIN, "code": PLAIN, "done": PLAIN}), max_size=3)


@given(error=st.none() | st.dictionaries(st.text(max_size=12), PLAIN), progress=st.none() | REPORTS, cid=PLAIN)
def test_odd_errors_progress_and_ids_are_told_all_the_same(error: Any, progress: Any, cid: Any) -> None:
    odd = row("failed", progress=progress)
    odd.data["task"] |= {"error": error, "logging_cid": cid if isinstance(cid, str) else None}
    assert judged([*Translator().translate(odd, None, {}).finish]) == ["repo.sync.finish"]


def test_counts_are_read_as_versions_2_and_3_of_the_outbox_write_them() -> None:
    sorted_before = {"counts": {"A": {"file.file": 2, "rpm.package": 1}, "P": {"file.file": 5}}}
    raw = {"counts": [["P", "file.file", 5], ["A", "file.file", 2], ["A", "rpm.package", 1]]}
    expected = {"A": {"file.file": 2, "rpm.package": 1}, "R": {}, "P": {"file.file": 5}}
    assert counts_of(sorted_before) == counts_of(raw) == expected
    assert counts_of({"counts": None}) == counts_of(None) == {"A": {}, "R": {}, "P": {}}


def test_a_publication_inside_a_sync_has_times_of_its_own() -> None:
    version = {"id": TASK, "number": 3, "complete": True, "repository": REPOSITORY, "counts": {"P": {"deb.package": 2}}}
    data = {"app": "deb", "model": "aptpublication", "type": "deb.apt-publication", "version": version}
    inner = replace(row("completed"), subject="publication", object="01a22444-68d6-7855-be1c-c0b9dd7e95f6")
    inner.data.update(data, state="completed", repository=None)
    begun = {**inner.data, "begun_at": "2026-11-28T22:26:32+00:00"}
    payload = Translator().translate(inner, begun, {}).finish[0].payload
    assert (payload["started"], payload["completed"]) == ("2026-11-28T22:26:32Z", "2026-11-28T22:26:00Z")
    assert payload["pulp3"]["publication"]["prn"] == "prn:deb.aptpublication:01a22444-68d6-7855-be1c-c0b9dd7e95f6"
    assert payload["pulp3"]["version"]["number"] == 3
