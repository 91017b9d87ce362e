"""`override_config`: each key takes effect or is rejected by name."""

from typing import Any

import pytest

from pulpit.store import tasks
from support.api import V2, Api

ISO = f"{V2}/repositories/files/"


@pytest.fixture
def files(api: Api) -> Api:
    distributor = {"distributor_type_id": "iso_distributor", "distributor_id": "iso_distributor"}
    config = {"feed": "http://h/files/", "proxy_host": "p", "proxy_username": "me", "proxy_password": "pw"}
    body = {"id": "files", "importer_type_id": "iso_importer", "importer_config": config}
    assert api.client.post(f"{V2}/repositories/", json=body | {"distributors": [distributor]}).status_code == 201
    return api


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"nobody_knows": 1}, ["nobody_knows"]),
        ({"remove_missing": "yes"}, ["remove_missing"]),
        ({"max_downloads": 0}, ["max_downloads"]),
        ({"basic_auth_password": "*****"}, ["override_config"]),
    ],
)
def test_an_override_that_would_be_passed_over_is_refused(
    files: Api, override: dict[str, Any], named: list[str]
) -> None:
    for action, body in (("sync", {}), ("publish", {"id": "iso_distributor"})):
        answer = files.client.post(f"{ISO}actions/{action}/", json={**body, "override_config": override})
        assert answer.status_code == 400, action
        assert answer.json()["property_names" if "property_names" in answer.json() else "error"]
    answer = files.client.post(f"{ISO}actions/sync/", json={"override_config": override})
    assert answer.json()["property_names"] == named
    path = f"{ISO}importers/iso_importer/schedules/sync/"
    answer = files.client.post(path, json={"schedule": "PT6H", "override_config": override})
    assert (answer.status_code, answer.json()["property_names"]) == (400, named)


def test_stars_in_an_override_leave_the_secret_as_it_is(files: Api) -> None:
    override = {"force_full": True, "proxy_password": "*****"}
    answer = files.client.post(f"{ISO}actions/sync/", json={"override_config": override})
    assert answer.status_code == 202
    [task] = answer.json()["spawned_tasks"]
    with files.database.read() as connection:
        assert tasks.get(connection, task["task_id"]).arguments["override_config"] == {"force_full": True}


def test_the_old_name_of_an_option_is_understood(files: Api) -> None:
    answer = files.client.post(f"{ISO}actions/sync/", json={"override_config": {"num_threads": 4, "validate": True}})
    [task] = answer.json()["spawned_tasks"]
    with files.database.read() as connection:
        override = tasks.get(connection, task["task_id"]).arguments["override_config"]
    assert override == {"max_downloads": 4, "validate": True}


@pytest.mark.parametrize("override", [None, {}, {"force_full": True}, {"feed": None, "force_full": False}])
def test_what_works_is_queued(files: Api, override: dict[str, Any] | None) -> None:
    assert files.client.post(f"{ISO}actions/sync/", json={"override_config": override}).status_code == 202


def test_who_may_read_is_no_matter_of_one_publish(files: Api) -> None:
    body = {"id": "iso_distributor", "override_config": {"basic_auth_username": "a", "basic_auth_password": "b"}}
    answer = files.client.post(f"{ISO}actions/publish/", json=body)
    assert answer.json()["property_names"] == ["basic_auth_password", "basic_auth_username"]


def test_an_upload_takes_no_options(files: Api) -> None:
    upload_id = files.client.post(f"{V2}/content/uploads/").json()["upload_id"]
    body = {"upload_id": upload_id, "unit_type_id": "iso", "override_config": {"fast": True}}
    answer = files.client.post(f"{ISO}actions/import_upload/", json=body)
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["fast"])


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/events/", {"notifier_type_id": "http", "event_types": ["a." + "b" * 199]}, "longer than 200"),
        ("/events/", {"notifier_type_id": "http", "event_types": ["*." + "b" * 199]}, "longer than 200"),
        ("/events/", {"notifier_type_id": "http", "event_types": ["*"] * 1001}, "1001 of them; 1000"),
        ("/events/", {"notifier_type_id": "amqp", "event_types": ["*"], "repo_ids": ["a"] * 101}, "101 of them; 100"),
        ("/events/", {"notifier_type_id": "amqp", "event_types": ["*"], "results": ["a" * 21]}, "more than 20"),
        ("/repositories/", {"id": "a" * 256}, "256 characters; 255"),
        ("/users/", {"login": "a" * 256, "password": "x"}, "256 characters; 255"),
        ("/users/", {"login": "a", "password": "x" * 1025}, "more than 1024"),
        ("/repositories/search/", {"criteria": {"filters": {"id": {"$regex": "a" * 1001}}}}, "more than 1000"),
    ],
)
def test_b16_a_limit_is_told_as_a_limit(api: Api, path: str, body: dict[str, Any], said: str) -> None:
    answer = api.client.post(f"{V2}{path}", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["description"]
