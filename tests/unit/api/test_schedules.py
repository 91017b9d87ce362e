"""Schedules over REST: Pulp 2's shapes, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pulpit.api.app import create_app
from pulpit.store import tasks
from pulpit.tasks.schedules import meet_slots
from support.api import V2, Api, basic, services

NOW = datetime(2031, 5, 4, 10, 0, 0, 500_000, tzinfo=UTC)
PLUGINS = {"sync": f"{V2}/repositories/files/importers/iso_importer/schedules/sync/"}
PLUGINS["publish"] = f"{V2}/repositories/files/distributors/iso_distributor/schedules/publish/"
REPOSITORY: dict[str, Any] = {
    "id": "files",
    "importer_type_id": "iso_importer",
    "importer_config": {"feed": "http://f/"},
    "distributors": [{"distributor_id": "iso_distributor", "distributor_type_id": "iso_distributor"}],
}
WIRE: dict[str, Any] = {"schedule": "PT1H", "override_config": {}, "failure_threshold": None, "enabled": True}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with services(tmp_path) as provided:
        then = replace(provided, clock=lambda: NOW)
        with TestClient(create_app(then), raise_server_exceptions=False) as client:
            client.headers.update(basic("admin"))
            assert client.post(f"{V2}/repositories/", json=REPOSITORY).status_code == 201
            yield Api(client=client, services=then)


def create(api: Api, path: str = PLUGINS["sync"], **body: object) -> dict[str, Any]:
    answer = api.client.post(path, json={**WIRE, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == made["_href"]
    return made


def update(api: Api, made: dict[str, Any], **body: object) -> dict[str, Any]:
    answer = api.client.put(made["_href"], json=body)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def test_a_schedule_is_what_the_original_client_reads(api: Api) -> None:
    made = create(api, schedule="2032-01-01T00:00:00Z/P1D", failure_threshold=3)
    schedule_id = made["_id"]
    assert made == {
        "_id": schedule_id,
        "_href": f"{PLUGINS['sync']}{schedule_id}/",
        "schedule": "2032-01-01T00:00:00Z/P1D",
        "enabled": True,
        "failure_threshold": 3,
        "consecutive_failures": 0,
        "first_run": "2032-01-01T00:00:00Z",
        "last_run": None,
        "last_run_at": None,
        "next_run": "2032-01-01T00:00:00Z",
        "remaining_runs": None,
        "total_run_count": 0,
        "last_updated": NOW.timestamp(),
        "args": ["files"],
        "kwargs": {"overrides": {}},
        "resource": "pulp:importer:files:iso_importer",
        "task": "pulp.server.tasks.repository.sync_with_auto_publish",
    }
    assert api.client.get(PLUGINS["sync"]).json() == [made]
    assert api.client.get(made["_href"]).json() == made


@pytest.mark.parametrize("path", PLUGINS.values())
def test_from_its_creation_to_its_end(api: Api, path: str) -> None:
    made = create(api, path)
    assert made["next_run"] == "2031-05-04T10:00:00Z"
    assert update(api, made, enabled=False)["enabled"] is False
    answer = api.client.delete(made["_href"])
    assert (answer.status_code, answer.json()) == (200, None)
    assert api.client.get(path).json() == []
    assert api.client.get(made["_href"]).json()["resources"] == {"schedule_id": made["_id"]}


def test_a_publish_schedule_names_its_distributor(api: Api) -> None:
    made = create(api, PLUGINS["publish"])
    assert made["args"] == ["files", "iso_distributor"]
    assert made["resource"] == "pulp:distributor:files:iso_distributor"
    assert api.client.get(PLUGINS["sync"]).json() == []
    assert api.client.get(f"{PLUGINS['sync']}{made['_id']}/").status_code == 404


def test_it_runs_at_once_and_then_after_its_period(api: Api) -> None:
    made = create(api, schedule="R3/PT1H")
    meet_slots(api.database, lambda: NOW)
    [shown] = api.client.get(PLUGINS["sync"]).json()
    assert (shown["last_run"], shown["next_run"]) == ("2031-05-04T10:00:00Z", "2031-05-04T11:00:00Z")
    assert (shown["remaining_runs"], shown["total_run_count"]) == (2, 1)
    tags = {"tag": "pulp:repository:files"}
    [task] = api.client.get(f"{V2}/tasks/", params=tags).json()
    assert task["tags"] == ["pulp:repository:files", "pulp:action:sync"]
    assert update(api, made, schedule="PT2H")["next_run"] == "2031-05-04T12:00:00Z"


def test_an_update_changes_what_it_names(api: Api) -> None:
    made = create(api, schedule="R5/PT1H", failure_threshold=3)
    assert update(api, made) == made
    assert update(api, made, failure_threshold=None)["failure_threshold"] is None
    changed = update(api, made, schedule="2032-01-31T00:00:00Z/P1M")
    assert (changed["next_run"], changed["remaining_runs"]) == ("2032-01-31T00:00:00Z", None)
    assert update(api, made, override_config={"force_full": True})["kwargs"] == {"overrides": {"force_full": True}}


def test_a_secret_in_an_override_is_shown_as_stars_and_kept(api: Api) -> None:
    proxy = {"proxy_host": "p", "proxy_username": "me"}
    made = create(api, override_config={**proxy, "proxy_password": "secret"})
    assert made["kwargs"] == {"overrides": {**proxy, "proxy_password": "*****"}}
    update(api, made, override_config={**proxy, "proxy_password": "*****", "max_speed": 1})
    meet_slots(api.database, lambda: NOW)
    with api.database.read() as connection:
        [task] = tasks.search(connection)
    assert task.arguments["override_config"] == {**proxy, "proxy_password": "secret", "max_speed": 1}


def test_one_that_used_its_runs_up_needs_a_new_interval(api: Api) -> None:
    made = create(api, schedule="R1/PT1H")
    meet_slots(api.database, lambda: NOW)
    answer = api.client.put(made["_href"], json={"enabled": True})
    assert answer.status_code == 400
    assert "used up" in answer.json()["error_message"]
    again = update(api, made, schedule="R1/PT1H", enabled=True)
    assert (again["enabled"], again["remaining_runs"], again["next_run"]) == (True, 1, "2031-05-04T11:00:00Z")


def test_slots_that_went_by_while_it_was_disabled_are_not_made_up_for(api: Api) -> None:
    made = create(api)
    meet_slots(api.database, lambda: NOW)
    update(api, made, enabled=False)
    assert meet_slots(api.database, lambda: datetime(2031, 6, 1, tzinfo=UTC)) is None
    assert update(api, made, enabled=True)["next_run"] == "2031-05-04T11:00:00Z"


@pytest.mark.parametrize(
    ("body", "names", "code"),
    [
        ({"schedule": "often"}, ["schedule"], "PLP0015"),
        ({"schedule": "P1M"}, ["schedule"], "PLP0015"),
        ({"schedule": 3}, ["schedule"], "PLP0015"),
        ({"failure_threshold": 0}, ["failure_threshold"], "PLP0015"),
        ({"failure_threshold": "3"}, ["failure_threshold"], "PLP0015"),
        ({"enabled": "yes"}, ["enabled"], "PLP0015"),
        ({"override_config": []}, ["override_config"], "PLP0015"),
        ({"override_config": {"proxy_password": "*****"}}, ["override_config"], "PLP0015"),
        ({"colour": "red"}, ["colour"], "PLP0017"),
    ],
)
def test_what_cannot_be_is_named(api: Api, body: dict[str, object], names: list[str], code: str) -> None:
    made = create(api)
    for method, path in (("POST", PLUGINS["sync"]), ("PUT", made["_href"])):
        answer = api.client.request(method, path, json={**WIRE, **body})
        assert answer.status_code == 400, answer.text
        assert answer.json()["property_names"] == names
        assert answer.json()["error"]["code"] == code
    assert api.client.get(PLUGINS["sync"]).json() == [made]


def test_an_interval_must_be_given(api: Api) -> None:
    assert api.client.post(PLUGINS["sync"], json={}).json()["missing_property_names"] == ["schedule"]


@pytest.mark.parametrize(
    ("path", "resources"),
    [
        ("repositories/nil/importers/iso_importer/schedules/sync/", {"repository": "nil"}),
        ("repositories/files/importers/nil/schedules/sync/", {"importer_id": "nil"}),
        (
            "repositories/files/distributors/nil/schedules/publish/",
            {"repo_id": "files", "distributor_id": "nil"},
        ),
        ("repositories/files/importers/iso_importer/schedules/sync/nil/", {"schedule_id": "nil"}),
    ],
)
def test_what_is_missing_is_named(api: Api, path: str, resources: dict[str, str]) -> None:
    answer = api.client.get(f"{V2}/{path}")
    assert (answer.status_code, answer.json()["resources"]) == (404, resources)


def test_a_reader_may_look_only(api: Api) -> None:
    api.client.headers.update(basic("reader"))
    assert api.client.get(PLUGINS["sync"]).status_code == 200
    assert api.client.post(PLUGINS["sync"], json=WIRE).status_code == 401
