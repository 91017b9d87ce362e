"""Groups of repositories, as Pulp 2's clients use them."""

from collections.abc import Callable
from typing import Any

import pytest

from pulpit.store import repositories
from support.api import V2, Api

GROUPS = f"{V2}/repo_groups/"


@pytest.fixture
def group(api: Api) -> Api:
    for repo_id in ("zoo", "farm", "sea"):
        api.client.post(f"{V2}/repositories/", json={"id": repo_id})
    made = api.client.post(GROUPS, json={"id": "all", "notes": {"a": "1"}, "repo_ids": ["sea"]})
    assert made.status_code == 201
    return api


def test_d8_a_group_is_made_listed_found_changed_and_deleted(group: Api) -> None:
    client = group.client
    [document] = client.get(GROUPS).json()
    assert document["id"] == document["display_name"] == "all"
    assert (document["notes"], document["repo_ids"], document["_ns"]) == ({"a": "1"}, ["sea"], "repo_groups")
    assert client.get(document["_href"]).json() == document
    search = {"criteria": {"filters": {"notes.a": "1"}, "fields": ["notes"]}}
    [found] = client.post(f"{GROUPS}search/", json=search).json()
    assert found["id"] == "all"
    changes = {"display_name": "All", "description": None, "notes": {"a": None, "b": "2"}}
    changed = client.put(f"{GROUPS}all/", json=changes).json()
    assert (changed["display_name"], changed["notes"]) == ("All", {"b": "2"})
    assert client.delete(f"{GROUPS}all/").json() is None
    missing = client.get(f"{GROUPS}all/")
    assert (missing.status_code, missing.json()["resources"]) == (404, {"repo_group": "all"})


def test_d8_repositories_join_and_leave_by_criteria(group: Api) -> None:
    def act(action: str, filters: dict[str, Any]) -> list[str]:
        answer = group.client.post(f"{GROUPS}all/actions/{action}/", json={"criteria": {"filters": filters}})
        assert answer.status_code == 200, answer.text
        repo_ids: list[str] = answer.json()
        return repo_ids

    assert act("associate", {"id": {"$in": ["zoo", "nobody"]}}) == ["sea", "zoo"]
    assert act("associate", {"id": {"$in": ["zoo"]}}) == ["sea", "zoo"]
    assert act("associate", {"id": {"$regex": "^f"}}) == ["farm", "sea", "zoo"]
    assert act("unassociate", {"id": "sea"}) == ["farm", "zoo"]
    with group.database.write() as tx:
        repositories.remove(tx, "zoo")
    assert group.client.get(f"{GROUPS}all/").json()["repo_ids"] == ["farm"]


@pytest.mark.parametrize(
    ("body", "status", "key"),
    [
        ({}, 400, "missing_property_names"),
        ({"id": "a b"}, 400, "property_names"),
        ({"id": "x", "colour": "red"}, 400, "property_names"),
        ({"id": "all"}, 409, "resource_id"),
        ({"id": "x", "repo_ids": ["nobody"]}, 404, "resources"),
        ({"id": "x", "distributors": [{"distributor_type_id": "group_export_distributor"}]}, 400, "property_names"),
    ],
)
def test_d8_what_makes_no_group_is_refused_with_a_sentence(
    group: Api, body: dict[str, Any], status: int, key: str
) -> None:
    answer = group.client.post(GROUPS, json=body)
    assert (answer.status_code, key in answer.json()) == (status, True)
    assert answer.json()["error"]["description"]
    assert len(group.client.get(GROUPS).json()) == 1


def test_d8_a_group_has_no_distributors(group: Api) -> None:
    client = group.client
    assert client.get(f"{GROUPS}all/distributors/").json() == []
    refused = client.post(f"{GROUPS}all/distributors/", json={"distributor_type_id": "group_export_distributor"})
    assert refused.status_code == 400
    assert "publish each repository" in refused.json()["error"]["description"]
    calls: list[Callable[[], Any]] = [
        lambda: client.get(f"{GROUPS}all/distributors/x/"),
        lambda: client.put(f"{GROUPS}all/distributors/x/", json={"distributor_config": {}}),
        lambda: client.delete(f"{GROUPS}all/distributors/x/"),
        lambda: client.post(f"{GROUPS}all/actions/publish/", json={"id": "x"}),
    ]
    for call in calls:
        assert call().json()["resources"] == {"repo_group": "all", "distributor_id": "x"}


@pytest.mark.parametrize("path", ["/pulp/api/v2/consumers/", "/pulp/api/v2/nothing", "/pulpit/v1/x", "/x"])
def test_d8_an_unknown_address_is_told_in_pulps_form(api: Api, path: str) -> None:
    answer = api.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["resources"] == {"path": path}
    assert path in answer.json()["error"]["description"]


def test_d8_a_method_that_is_not_there_is_told_in_pulps_form(api: Api) -> None:
    answer = api.client.request("DELETE", f"{V2}/repositories/")
    assert (answer.status_code, answer.json()["http_status"]) == (405, 405)
    assert answer.json()["error"]["description"]
    assert "POST" in answer.headers["Allow"]


PERMISSIONS = f"{V2}/permissions/actions/"
SUPER_USERS = {"role_id": "super-users", "resource": "/", "operations": ["READ"]}
EVERYTHING = ["CREATE", "READ", "UPDATE", "DELETE", "EXECUTE"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{V2}/roles/", {"role_id": "mine"}, 400),
        ("POST", f"{V2}/roles/", {"role_id": "super-users"}, 409),
        ("POST", f"{V2}/roles/", {}, 400),
        ("PUT", f"{V2}/roles/super-users/", {"delta": {}}, 400),
        ("DELETE", f"{V2}/roles/super-users/", {}, 400),
        ("DELETE", f"{V2}/roles/mine/", {}, 404),
        ("POST", f"{PERMISSIONS}grant_to_user/", {"login": "admin", "resource": "/", "operations": EVERYTHING}, 200),
        ("POST", f"{PERMISSIONS}grant_to_user/", {"login": "reader", "resource": "/", "operations": ["READ"]}, 200),
        ("POST", f"{PERMISSIONS}grant_to_user/", {"login": "reader", "resource": "/", "operations": ["DELETE"]}, 400),
        ("POST", f"{PERMISSIONS}grant_to_user/", {"login": "no", "resource": "/", "operations": ["READ"]}, 404),
        ("POST", f"{PERMISSIONS}revoke_from_user/", {"login": "reader", "resource": "/", "operations": ["READ"]}, 400),
        ("POST", f"{PERMISSIONS}revoke_from_user/", {"login": "reader", "resource": "/", "operations": []}, 200),
        ("POST", f"{PERMISSIONS}grant_to_role/", SUPER_USERS, 200),
        ("POST", f"{PERMISSIONS}grant_to_role/", {"role_id": "mine", "resource": "/", "operations": ["READ"]}, 404),
        ("POST", f"{PERMISSIONS}revoke_from_role/", SUPER_USERS, 400),
    ],
)  # fmt: skip
def test_d8_roles_and_permissions_are_fixed_and_say_so(
    api: Api, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    answer = api.client.request(method, path, json=body)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["description"]
