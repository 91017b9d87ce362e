"""Details of responses on which the original Pulp 2 client depends, one test for each.

The client fails, often with a traceback, on documents that look harmless; each test covers one of them.
Traps 7 to 10 and 14 are about the content of reports and units: `support/original_client.py` looks for them in real
syncs.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pulpit.store import tasks
from pulpit.store.tasks import NewTask
from support.api import V2, Api, basic, running

ISO: dict[str, Any] = {
    "id": "files",
    "display_name": None,
    "description": None,
    "notes": {"_repo-type": "iso-repo"},
    "importer_type_id": "iso_importer",
    "importer_config": {"feed": "http://f/"},
    "distributors": [
        {
            "distributor_id": "iso_distributor",
            "distributor_type_id": "iso_distributor",
            "auto_publish": True,
            "distributor_config": {"serve_http": False, "serve_https": True, "relative_url": "/files"},
        }
    ],
}
REPOSITORY = f"{V2}/repositories/files/"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running(tmp_path) as started:
        assert started.client.post(f"{V2}/repositories/", json=ISO).status_code == 201
        yield started


def spawned(api: Api, method: str, path: str, body: object = None) -> list[dict[str, str]]:
    answer = api.client.request(method, path, json=body)
    assert answer.status_code == 202, answer.text
    report = answer.json()
    assert set(report) == {"result", "error", "spawned_tasks"}
    references: list[dict[str, str]] = report["spawned_tasks"]
    return references


ACTIONS = [
    ("POST", f"{REPOSITORY}actions/sync/", {"override_config": None}),
    ("POST", f"{REPOSITORY}actions/sync/", {"override_config": {"force_full": True}}),
    ("POST", f"{REPOSITORY}actions/publish/", {"id": "iso_distributor", "override_config": None}),
    ("POST", f"{REPOSITORY}actions/unassociate/", {"criteria": {"type_ids": ["iso"], "filters": {"unit": {}}}}),
    ("PUT", REPOSITORY, {"delta": {}, "distributor_configs": {"iso_distributor": {"serve_http": True}}}),
    ("DELETE", REPOSITORY, None),
    ("DELETE", f"{V2}/content/orphans/", None),
    ("DELETE", f"{V2}/content/orphans/iso/", None),
]


@pytest.mark.parametrize("path", ["history//sync/?limit=5", "history//publish/iso_distributor/?limit=5"])
def test_trap_2_the_client_doubles_a_slash_in_history(api: Api, path: str) -> None:
    assert api.client.get(REPOSITORY + path).json() == []


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS)
def test_traps_3_and_4_an_action_answers_202_and_its_task_repeats_its_id(
    api: Api, method: str, path: str, body: object
) -> None:
    [reference] = spawned(api, method, path, body)
    assert set(reference) == {"_href", "task_id"}
    for asked in (reference["_href"], f"{V2}/tasks/{reference['task_id']}/"):
        assert api.client.get(asked).json()["task_id"] == reference["task_id"]


def test_trap_5_found_tasks_have_an_id_that_sorts_by_time_whatever_fields_says(api: Api) -> None:
    for _ in range(20):
        spawned(api, *ACTIONS[0])
    criteria = {"fields": ["tags", "task_id", "state"], "filters": {}}
    found = api.client.post(f"{V2}/tasks/search/", json={"criteria": criteria}).json()
    ids = [task["id"] for task in found]
    assert len(set(ids)) == 20
    assert ids == sorted(ids)


def test_trap_6_a_null_group_matches_tasks_that_have_none(api: Api) -> None:
    spawned(api, *ACTIONS[0])
    filters = {"state": {"$in": ["running", "waiting"]}, "group_id": None}
    found = api.client.post(f"{V2}/tasks/search/", json={"criteria": {"filters": filters}}).json()
    assert len(found) == 1


def test_the_look_up_that_decides_between_attaching_and_starting(api: Api) -> None:
    def running_now(action: str) -> int:
        filters = {
            "state": {"$nin": ["finished", "error", "canceled", "skipped"]},
            "tags": {"$all": ["pulp:repository:files", f"pulp:action:{action}"]},
        }
        return len(api.client.post(f"{V2}/tasks/search/", json={"criteria": {"filters": filters}}).json())

    assert (running_now("sync"), running_now("publish")) == (0, 0)
    [sync] = spawned(api, *ACTIONS[0])
    assert (running_now("sync"), running_now("publish")) == (1, 0)
    api.client.delete(sync["_href"])
    assert (running_now("sync"), running_now("publish")) == (0, 0)


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("GET", "repositories/nil/", "repository"),
        ("DELETE", "repositories/nil/", "repository"),
        ("GET", "tasks/nil/", "resource_id"),
        ("DELETE", "events/nil/", "event_listener"),
        ("GET", "repositories/files/importers/nil/", "importer_id"),
        ("GET", "repositories/files/distributors/nil/", "distributor_id"),
        ("DELETE", "content/uploads/nil/", "upload_request"),
        ("GET", "content/orphans/nil/", "content_type_id"),
    ],
)
def test_trap_11_a_404_is_an_object_that_names_what_is_missing(api: Api, method: str, path: str, key: str) -> None:
    answer = api.client.request(method, f"{V2}/{path}")
    assert answer.status_code == 404
    assert answer.json()["resources"][key] == "nil"


@pytest.mark.parametrize("header", [{"Authorization": ""}, {"Authorization": "Basic x"}, basic("admin", "wrong")])
def test_trap_12_a_401_is_an_object_with_a_code(api: Api, header: dict[str, str]) -> None:
    answer = api.client.get(f"{V2}/repositories/", headers=header)
    assert answer.status_code == 401
    assert isinstance(answer.json()["auth_error_code"], str)


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS)
def test_trap_15_every_tag_has_two_colons(api: Api, method: str, path: str, body: object) -> None:
    for reference in spawned(api, method, path, body):
        tags = api.client.get(reference["_href"]).json()["tags"]
        assert tags
        assert all(tag.count(":") >= 2 for tag in tags)


def test_trap_16_doubly_encoded_text_is_kept_as_it_came(api: Api) -> None:
    text = "Ã¼"
    api.client.put(REPOSITORY, json={"delta": {"description": text}})
    assert api.client.get(REPOSITORY).json()["description"] == text


def test_trap_17_iso_update_always_queues_a_distributor_task(api: Api) -> None:
    body = {
        "delta": {"display_name": "New", "notes": {"_repo-type": "iso-repo"}},
        "importer_config": {},
        "distributor_configs": {"iso_distributor": {"serve_http": False, "serve_https": True}},
    }
    [reference] = spawned(api, "PUT", REPOSITORY, body)
    tags = api.client.get(reference["_href"]).json()["tags"]
    assert "pulp:repository_distributor:iso_distributor" in tags
    assert "pulp:action:update_distributor" in tags
    assert api.client.get(REPOSITORY).json()["display_name"] == "New"


def test_trap_18_an_explicit_null_for_the_display_name_becomes_the_id(api: Api) -> None:
    assert api.client.get(REPOSITORY).json()["display_name"] == "files"


def test_trap_19_a_relative_url_loses_its_leading_slash(api: Api) -> None:
    details = api.client.get(REPOSITORY, params={"importers": "True", "distributors": "True"}).json()
    assert details["distributors"][0]["config"]["relative_url"] == "files"


def test_trap_20_deleting_the_upload_leaves_the_queued_import_its_bytes(api: Api) -> None:
    upload = api.client.post(f"{V2}/content/uploads/", content=b"").json()
    api.client.put(f"{upload['_href']}0/", content=b"abcdef", headers={"Content-Type": "application/json"})
    key = {"name": "a.iso", "size": 6, "checksum": "0" * 64}
    body = {"upload_id": upload["upload_id"], "unit_type_id": "iso", "unit_key": key, "unit_metadata": {}}
    [reference] = spawned(api, "POST", f"{REPOSITORY}actions/import_upload/", body | {"override_config": {}})
    assert api.client.delete(upload["_href"]).status_code == 200
    with api.database.read() as connection:
        path = tasks.get(connection, reference["task_id"]).arguments["path"]
    assert (api.services.data_dir / path).read_bytes() == b"abcdef"


def test_lists_are_uniform_and_never_null(api: Api) -> None:
    api.client.post(f"{V2}/repositories/", json={"id": "bare"})
    listed = api.client.get(f"{V2}/repositories/", params={"importers": "True", "distributors": "True"}).json()
    assert len({tuple(document) for document in listed}) == 1
    assert all(isinstance(document["notes"], dict) for document in listed)
    assert api.client.get(f"{V2}/events/").json() == []


def test_a_task_shows_every_key_that_the_client_reads(api: Api) -> None:
    with api.database.write() as tx:
        task = tasks.add(tx, NewTask(task_type="x", arguments={}, tags=["a:b:c"]), now=datetime(2031, 5, 4, tzinfo=UTC))
    report = api.client.get(f"{V2}/tasks/{task.id}/").json()
    wanted = "task_id tags state start_time finish_time progress_report result exception traceback error worker_name"
    assert {*wanted.split(), "spawned_tasks", "id", "queue"} <= set(report)
    assert report["progress_report"] == {}
    assert "queue" not in api.client.get(f"{V2}/tasks/").json()[0]
