"""Users: created, changed, deleted; there is always an administrator."""

from typing import Any

import pytest

from support.api import V2, Api, basic

USERS = f"{V2}/users/"
JANE: dict[str, Any] = {"login": "jane", "password": "s3cret:", "name": "Jane"}


def test_a_user_can_log_in_and_nobody_sees_the_password(api: Api) -> None:
    made = api.client.post(USERS, json=JANE)
    assert (made.status_code, made.json()["role"], made.json()["roles"]) == (201, "reader", [])
    assert "s3cret" not in made.text + api.client.get(USERS).text
    assert "password" not in made.text + api.client.get(USERS).text
    assert api.client.get(made.json()["_href"], headers=basic("jane", "s3cret:")).json() == made.json()


def test_a_changed_password_ends_the_old_one_at_once(api: Api) -> None:
    href = api.client.post(USERS, json=JANE).json()["_href"]
    assert api.client.get(USERS, headers=basic("jane", "s3cret:")).status_code == 200
    answer = api.client.put(href, json={"delta": {"password": "new", "roles": ["super-users"]}})
    assert (answer.status_code, answer.json()["role"]) == (200, "admin")
    assert api.client.get(USERS, headers=basic("jane", "s3cret:")).status_code == 401
    assert api.client.put(href, headers=basic("jane", "new"), json={"delta": {"name": "J"}}).json()["name"] == "J"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"login": "a:b"}, "login"),
        ({"login": ""}, "login"),
        ({"login": 7}, "login"),
        ({"password": ""}, "password"),
        ({"password": "x" * 1025}, "password"),
        ({"role": "root"}, "role"),
    ],
)
def test_what_cannot_be_a_user_is_refused(api: Api, change: dict[str, Any], named: str) -> None:
    answer = api.client.post(USERS, json=JANE | change)
    assert (answer.status_code, answer.json()["property_names"]) == (400, [named])


def test_without_a_password_nobody_logs_in_until_one_is_set(api: Api) -> None:
    made = api.client.post(USERS, json={"login": "jane"})
    assert (made.status_code, made.json()["name"]) == (201, "jane")
    for password in ("", "jane", "null", "None"):
        assert api.client.get(USERS, headers=basic("jane", password)).status_code == 401
    api.client.put(made.json()["_href"], json={"delta": {"password": "s3cret:"}})
    assert api.client.get(USERS, headers=basic("jane", "s3cret:")).status_code == 200


def test_an_absent_login_is_missing_and_a_taken_one_a_conflict(api: Api) -> None:
    assert api.client.post(USERS, json={"password": "x"}).json()["missing_property_names"] == ["login"]
    assert api.client.post(USERS, json=JANE | {"login": "reader"}).json()["resource_id"] == "reader"


def test_the_last_administrator_stays(api: Api) -> None:
    for answer in (
        api.client.delete(f"{USERS}admin/"),
        api.client.put(f"{USERS}admin/", json={"delta": {"role": "reader"}}),
    ):
        assert (answer.status_code, answer.json()["property_names"]) == (400, ["login"])
    assert api.client.get(f"{USERS}admin/").json()["role"] == "admin"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_user_is_missing(api: Api, method: str) -> None:
    for body in ({"delta": {"name": "x"}}, {}):
        answer = api.client.request(method, f"{USERS}nil/", json=body)
        assert (answer.status_code, answer.json()["resources"]) == (404, {"user": "nil"})


def test_users_are_found_by_criteria(api: Api) -> None:
    api.client.post(USERS, json=JANE)
    criteria = {"filters": {"login": {"$regex": "^j"}}, "fields": ["name"]}
    [found] = api.client.post(f"{USERS}search/", json={"criteria": criteria}).json()
    assert found == {"name": "Jane"}


def test_a_reader_changes_the_own_password_and_nothing_that_gives_rights(api: Api) -> None:
    href = api.client.post(USERS, json=JANE).json()["_href"]
    jane = basic("jane", "s3cret:")
    answer = api.client.put(href, headers=jane, json={"delta": {"role": "admin"}})
    assert (answer.status_code, answer.json()["auth_error_code"]) == (401, "permission_denied")
    assert api.client.put(f"{USERS}admin/", headers=jane, json={"delta": {"password": "x"}}).status_code == 401
    assert api.client.delete(href, headers=jane).status_code == 401
    assert api.client.put(href, headers=jane, json={"delta": {"password": "new"}}).status_code == 200
    assert api.client.get(href, headers=basic("jane", "new")).status_code == 200


def test_the_role_of_administrators_is_given_and_taken(api: Api) -> None:
    members = f"{V2}/roles/super-users/users/"
    api.client.post(USERS, json=JANE)
    assert api.client.post(members, json={"login": "jane"}).json() is None
    assert api.client.get(f"{V2}/roles/super-users/").json()["users"] == ["admin", "jane"]
    assert api.client.delete(f"{members}jane/").status_code == 200
    assert api.client.get(members).json() == ["admin"]
    answer = api.client.delete(f"{members}admin/")
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["login"])
    assert api.client.get(members).json() == ["admin"]


@pytest.mark.parametrize(
    ("method", "path", "resources"),
    [
        ("GET", "roles/nil/", {"role": "nil"}),
        ("POST", "roles/nil/users/", {"role": "nil"}),
        ("POST", "roles/super-users/users/", {"user": "nil"}),
        ("DELETE", "roles/super-users/users/nil/", {"user": "nil"}),
    ],
)
def test_a_role_or_a_user_that_is_not_there_is_named(
    api: Api, method: str, path: str, resources: dict[str, str]
) -> None:
    answer = api.client.request(method, f"{V2}/{path}", json={"login": "nil"})
    assert (answer.status_code, answer.json()["resources"]) == (404, resources)


def test_permissions_say_what_everybody_may_do(api: Api) -> None:
    [shown] = api.client.get(f"{V2}/permissions/", params={"resource": "/v2/tasks/"}).json()
    assert shown["resource"] == "/v2/tasks/"
    assert shown["users"] == {"admin": ["CREATE", "READ", "UPDATE", "DELETE", "EXECUTE"], "reader": ["READ"]}
