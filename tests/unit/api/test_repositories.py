"""Repositories with their importers and distributors, in the bodies that the original client sends."""

from typing import Any

import pytest

from support.api import V2, Api

REPOSITORIES = f"{V2}/repositories/"
RPM: dict[str, Any] = {
    "id": "zoo",
    "display_name": None,
    "description": None,
    "notes": {"_repo-type": "rpm-repo"},
    "importer_type_id": "yum_importer",
    "importer_config": {"feed": "http://f/pub/zoo/", "proxy_password": "hush"},
    "distributors": [
        {
            "distributor_id": "yum_distributor",
            "distributor_type_id": "yum_distributor",
            "auto_publish": True,
            "distributor_config": {"http": False, "https": True, "relative_url": "/pub/zoo/"},
        },
        {
            "distributor_id": "export_distributor",
            "distributor_type_id": "export_distributor",
            "auto_publish": False,
            "distributor_config": {"http": False, "https": True, "relative_url": "pub/zoo/"},
        },
    ],
}


@pytest.fixture
def zoo(api: Api) -> dict[str, Any]:
    answer = api.client.post(REPOSITORIES, json=RPM)
    assert answer.status_code == 201
    document: dict[str, Any] = answer.json()
    return document


def test_create_answers_the_repository(api: Api, zoo: dict[str, Any]) -> None:
    assert zoo["_href"] == f"{REPOSITORIES}zoo/"
    assert zoo["display_name"] == "zoo"
    assert zoo["notes"] == {"_repo-type": "rpm-repo"}
    assert zoo["content_unit_counts"] == {}
    assert "importers" not in zoo
    assert api.client.get(REPOSITORIES).json() == [zoo]


def test_importers_and_distributors_are_shown_when_asked_for(api: Api, zoo: dict[str, Any]) -> None:
    asked = api.client.get(zoo["_href"], params={"importers": "True", "distributors": "True"}).json()
    counts = {"total_repository_units": 0, "locally_stored_units": 0}
    assert asked | counts == api.client.get(zoo["_href"], params={"details": "true"}).json()
    [importer] = asked["importers"]
    assert (importer["id"], importer["importer_type_id"], importer["repo_id"]) == (
        "yum_importer",
        "yum_importer",
        "zoo",
    )
    assert importer["config"] == {"feed": "http://f/pub/zoo/", "proxy_password": "*****"}
    assert importer["last_override_config"] == {}
    assert [one["id"] for one in asked["distributors"]] == ["export_distributor", "yum_distributor"]
    assert asked["distributors"][1]["auto_publish"] is True


def test_credentials_in_a_feed_go_to_the_keys_of_their_own(api: Api, zoo: dict[str, Any]) -> None:
    importer = f"{zoo['_href']}importers/yum_importer/"
    for login, shown in (
        ("keeper%40zoo:a%2Fb@", {"basic_auth_username": "keeper@zoo", "basic_auth_password": "*****"}),
        ("guest@", {"basic_auth_username": "guest"}),
    ):
        feed = f"http://{login}f:8080/pub/zoo/"
        assert api.client.put(importer, json={"importer_config": {"feed": feed}}).status_code == 202
        config = api.client.get(importer).json()["config"]
        assert config == {"feed": "http://f:8080/pub/zoo/", "proxy_password": "*****", **shown}


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_missing_last_slash_is_redirected_as_in_pulp_2(api: Api, zoo: dict[str, Any], method: str) -> None:
    answer = api.client.request(method, zoo["_href"].rstrip("/"), params={"details": "true"}, follow_redirects=False)
    assert answer.status_code == 301
    assert answer.headers["location"].endswith(f"{zoo['_href']}?details=true")
    assert api.client.request(method, f"{V2}/nothing/here", follow_redirects=False).status_code == 404


def test_a_leading_slash_of_a_relative_url_is_taken_away(api: Api, zoo: dict[str, Any]) -> None:
    config = api.client.get(f"{zoo['_href']}distributors/yum_distributor/").json()["config"]
    assert config["relative_url"] == "pub/zoo/"


def test_a_place_that_another_distributor_publishes_to_is_refused(api: Api, zoo: dict[str, Any]) -> None:
    distributor = {"distributor_type_id": "yum_distributor", "distributor_config": {"relative_url": "pub/zoo/inside"}}
    answer = api.client.post(REPOSITORIES, json={"id": "other", "distributors": [distributor]})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["relative_url"])
    answer = api.client.put(
        zoo["_href"], json={"distributor_configs": {"yum_distributor": {"relative_url": "pub/zoo"}}}
    )
    assert answer.status_code == 202


def test_a_taken_id_is_a_conflict_that_names_it(api: Api, zoo: dict[str, Any]) -> None:
    answer = api.client.post(REPOSITORIES, json={"id": zoo["id"]})
    assert (answer.status_code, answer.json()["resource_id"]) == (409, "zoo")


@pytest.mark.parametrize("repo_id", ["", ".hidden", "..", "a/b", "a b", "a@b", "ü", "x" * 256, "a\n"])
def test_an_id_that_cannot_be_a_folder_is_refused(api: Api, repo_id: str) -> None:
    answer = api.client.post(REPOSITORIES, json={"id": repo_id})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["id"])


def test_an_absent_id_is_missing(api: Api) -> None:
    answer = api.client.post(REPOSITORIES, json={})
    assert (answer.status_code, answer.json()["missing_property_names"]) == (400, ["id"])


def test_a_wrong_importer_leaves_no_repository_behind(api: Api) -> None:
    answer = api.client.post(REPOSITORIES, json=RPM | {"importer_config": {"feed": "ftp:"}})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["feed"])
    assert api.client.get(REPOSITORIES).json() == []


def test_update_changes_repository_and_importer_at_once(api: Api, zoo: dict[str, Any]) -> None:
    body = {
        "delta": {"display_name": "Zoo", "notes": {"_repo-type": None, "a": "b"}},
        "importer_config": {"feed": "http://new/", "proxy_password": "*****"},
        "distributor_configs": {},
    }
    answer = api.client.put(zoo["_href"], json=body)
    assert answer.status_code == 200
    assert answer.json()["spawned_tasks"] == []
    shown = api.client.get(zoo["_href"], params={"importers": "True"}).json()
    assert (shown["display_name"], shown["notes"]) == ("Zoo", {"a": "b"})
    assert shown["importers"][0]["config"] == {"feed": "http://new/", "proxy_password": "*****"}


def test_update_of_a_distributor_is_a_task_with_the_tags_that_the_client_reads(api: Api, zoo: dict[str, Any]) -> None:
    body = {"delta": {}, "importer_config": {}, "distributor_configs": {"yum_distributor": {"http": True}}}
    answer = api.client.put(zoo["_href"], json=body)
    assert answer.status_code == 202
    [spawned] = answer.json()["spawned_tasks"]
    tags = api.client.get(spawned["_href"]).json()["tags"]
    assert {"pulp:action:update_distributor", "pulp:repository_distributor:yum_distributor"} <= set(tags)


def test_delete_is_a_task(api: Api, zoo: dict[str, Any]) -> None:
    answer = api.client.delete(zoo["_href"])
    assert answer.status_code == 202
    [spawned] = answer.json()["spawned_tasks"]
    assert set(spawned) == {"_href", "task_id"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "nil/"),
        ("PUT", "nil/"),
        ("DELETE", "nil/"),
        ("POST", "nil/actions/sync/"),
        ("GET", "nil/importers/"),
        ("GET", "nil/distributors/"),
        ("GET", "nil/history//sync/"),
    ],
)
def test_an_unknown_repository_is_missing(api: Api, method: str, path: str) -> None:
    answer = api.client.request(method, REPOSITORIES + path)
    assert (answer.status_code, answer.json()["resources"]) == (404, {"repository": "nil"})
    assert answer.json()["error"]["code"] == "PLP0009"


def test_sync_and_publish_answer_202_with_tasks_that_can_be_asked_about(api: Api, zoo: dict[str, Any]) -> None:
    orders = (("sync", {"override_config": None}), ("publish", {"id": "yum_distributor", "override_config": None}))
    for action, body in orders:
        answer = api.client.post(f"{zoo['_href']}actions/{action}/", json=body)
        assert answer.status_code == 202
        [spawned] = answer.json()["spawned_tasks"]
        report = api.client.get(spawned["_href"]).json()
        assert report["task_id"] == spawned["task_id"]
        assert report["tags"] == ["pulp:repository:zoo", f"pulp:action:{action}"]
        assert report["state"] == "waiting"


def test_publish_by_an_unknown_distributor_names_both_ids(api: Api, zoo: dict[str, Any]) -> None:
    answer = api.client.post(f"{zoo['_href']}actions/publish/", json={"id": "nil"})
    assert (answer.status_code, answer.json()["resources"]) == (404, {"repo_id": "zoo", "distributor_id": "nil"})


def test_search_with_the_body_of_the_original_client(api: Api, zoo: dict[str, Any]) -> None:
    api.client.post(REPOSITORIES, json={"id": "files", "notes": {"_repo-type": "iso-repo"}})
    criteria = {
        "filters": {"$and": [{"notes._repo-type": "rpm-repo"}, {"id": {"$regex": "^z"}}]},
        "sort": None,
        "limit": None,
        "skip": None,
        "fields": ["display_name"],
    }
    found = api.client.post(f"{REPOSITORIES}search/", json={"criteria": criteria})
    assert found.json() == [{key: zoo[key] for key in ("display_name", "id", "_id", "_href")}]


def test_unknown_criteria_are_unsupported(api: Api) -> None:
    answer = api.client.post(f"{REPOSITORIES}search/", json={"criteria": {"filter": {}}})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["filter"])


def test_a_masked_secret_cannot_be_searched_for(api: Api, zoo: dict[str, Any]) -> None:
    assert zoo["id"] == "zoo"
    body = {"criteria": {"filters": {"importers.config.proxy_password": {"$regex": "^h"}}}, "importers": True}
    assert api.client.post(f"{REPOSITORIES}search/", json=body).json() == []


def test_importers_of_a_repository(api: Api, zoo: dict[str, Any]) -> None:
    importers = f"{zoo['_href']}importers/"
    answer = api.client.put(f"{importers}yum_importer/", json={"importer_config": {"feed": None}})
    assert (answer.status_code, answer.json()["spawned_tasks"]) == (202, [])
    assert api.client.get(f"{importers}yum_importer/").json()["config"] == {"proxy_password": "*****"}
    assert api.client.delete(f"{importers}yum_importer/").status_code == 202
    assert api.client.get(importers).json() == []
    assert api.client.get(f"{importers}yum_importer/").json()["resources"] == {"importer_id": "yum_importer"}
    answer = api.client.post(importers, json={"importer_type_id": "nil"})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["importer_type_id"])


def test_distributors_of_a_repository(api: Api, zoo: dict[str, Any]) -> None:
    distributors = f"{zoo['_href']}distributors/"
    made = api.client.post(distributors, json={"distributor_type_id": "iso_distributor"})
    assert (made.status_code, made.json()["auto_publish"]) == (201, False)
    assert api.client.get(made.json()["_href"]).json() == made.json()
    answer = api.client.put(made.json()["_href"], json={"distributor_config": {}, "delta": {"auto_publish": True}})
    assert answer.status_code == 202
    assert api.client.get(made.json()["_href"]).json()["auto_publish"] is True
    assert api.client.delete(made.json()["_href"]).status_code == 202
    again = {"distributor_type_id": "iso_distributor", "distributor_id": made.json()["id"]}
    assert api.client.post(distributors, json=again).json()["resource_id"] == made.json()["id"]
