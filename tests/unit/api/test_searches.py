"""Searches by GET with the criteria in the query."""

import json
from typing import Any

import pytest

from support.api import V2, Api, basic

SEARCHES = (
    "repositories/search/",
    "repositories/zoo/search/units/",
    "distributors/search/",
    "repo_groups/search/",
    "tasks/search/",
    "users/search/",
    "content/units/iso/search/",
)


@pytest.fixture(autouse=True)
def zoo(api: Api) -> dict[str, Any]:
    distributor = {"distributor_id": "d", "distributor_type_id": "iso_distributor"}
    body = {"id": "zoo", "importer_type_id": "iso_importer", "distributors": [distributor]}
    made: dict[str, Any] = api.client.post(f"{V2}/repositories/", json=body).json()
    return made


@pytest.mark.parametrize("path", SEARCHES)
def test_a_search_by_get_finds_what_one_by_post_finds(api: Api, path: str) -> None:
    by_get = api.client.get(f"{V2}/{path}")
    assert by_get.status_code == 200
    assert by_get.json() == api.client.post(f"{V2}/{path}", json={"criteria": {}}).json()


@pytest.mark.parametrize("path", SEARCHES)
def test_a_search_by_post_has_criteria(api: Api, path: str) -> None:
    answer = api.client.post(f"{V2}/{path}", json={})
    assert (answer.status_code, answer.json()["missing_property_names"]) == (400, ["criteria"])


@pytest.mark.parametrize(
    ("query", "named"),
    [("filters={no", "filters"), ("filters=[]", "filters"), ("limit=x", "limit"), ("skip=-1", "skip")],
)
def test_a_wrong_query_is_refused_by_name(api: Api, query: str, named: str) -> None:
    answer = api.client.get(f"{V2}/users/search/?{query}")
    assert (answer.status_code, answer.json()["property_names"]) == (400, [named])


def test_filters_fields_and_counts_are_in_the_query(api: Api) -> None:
    query = {"filters": json.dumps({"login": {"$in": ["admin", "reader"]}}), "field": ["login", "roles"], "limit": "1"}
    assert api.client.get(f"{V2}/users/search/", params=query).json() == [{"login": "admin", "roles": ["super-users"]}]
    assert len(api.client.get(f"{V2}/users/search/", params={"skip": "1"}).json()) == 1


def test_a_search_for_repositories_shows_their_parts(api: Api, zoo: dict[str, Any]) -> None:
    path, filters = f"{V2}/repositories/search/", {"repo_id": "zoo"}
    [found] = api.client.get(path, params={"filters": json.dumps(filters), "details": "True"}).json()
    assert (len(found["importers"]), len(found["distributors"])) == (1, 1)
    assert [found] == api.client.post(path, json={"criteria": {"filters": filters}, "details": True}).json()
    assert found.keys() - {"importers", "distributors"} == zoo.keys()


def test_who_sees_some_repositories_alone_finds_no_others(api: Api) -> None:
    """Neither by a search, nor by a login or a pattern that is called as the search is."""
    for login, patterns in (("search", ["zoo"]), ("narrow", ["search"])):
        user = {"login": login, "password": "correct horse", "repo_ids": patterns}
        api.client.post(f"{V2}/users/", json=user)
    found = api.client.get(f"{V2}/repositories/search/", headers=basic("search")).json()
    assert [repository["id"] for repository in found] == ["zoo"]
    assert api.client.get(f"{V2}/repositories/search/", headers=basic("narrow")).json() == []
    for path in ("tasks/search/", "users/search/", "distributors/search/", "content/units/iso/search/"):
        assert api.client.get(f"{V2}/{path}", headers=basic("search")).status_code == 401
