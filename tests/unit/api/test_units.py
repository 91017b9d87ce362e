"""Units of repositories and orphans, in the bodies that the original client sends."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pulpit.store import holdings, repositories, tasks
from pulpit.store.units import NewUnit, StoredFile
from support.api import V2, Api
from support.database import NOBODY

CREATED = datetime(2031, 5, 4, 10, tzinfo=UTC)
ORPHANS = f"{V2}/content/orphans/"


def new(name: str, size: int, type_id: str = "rpm") -> NewUnit:
    file = StoredFile(relative_path=name, sha256=f"{size:064x}", size=size)
    key = {"name": name, "checksum": file.sha256}
    return NewUnit(type_id=type_id, key=key, metadata={"size": size}, files=(file,), slot=None)


@pytest.fixture
def zoo(api: Api) -> str:
    api.client.post(f"{V2}/repositories/", json={"id": "zoo"})
    with api.database.write() as tx:
        holdings.lock_artifacts(tx)
        batch = [new("bear", 3), new("ant", 1), new("cat", 2), new("readme", 4, "iso")]
        holdings.save(tx, "zoo", batch, now=CREATED, recorder=NOBODY)
    return f"{V2}/repositories/zoo/"


def found(api: Api, zoo: str, **criteria: Any) -> Any:
    answer = api.client.post(f"{zoo}search/units/", json={"criteria": criteria})
    assert answer.status_code == 200
    return answer.json()


def names(documents: list[dict[str, Any]]) -> list[str]:
    return [document["metadata"]["name"] for document in documents]


def test_units_of_a_type_with_their_association(api: Api, zoo: str) -> None:
    [document] = found(api, zoo, type_ids=["rpm"], filters={"unit": {"name": "bear"}})
    unit_id = document["unit_id"]
    assert document == {
        "_id": {"$oid": unit_id},
        "repo_id": "zoo",
        "unit_id": unit_id,
        "unit_type_id": "rpm",
        "created": "2031-05-04T10:00:00Z",
        "updated": "2031-05-04T10:00:00Z",
        "metadata": {
            "_id": unit_id,
            "_content_type_id": "rpm",
            "name": "bear",
            "checksum": f"{3:064x}",
            "size": 3,
        },
    }


def test_filters_of_the_association_compare_times_as_text(api: Api, zoo: str) -> None:
    for operator, bound, count in (("$gte", "2031-01-01T00:00:00", 4), ("$lte", "2031-01-01T00:00:00+00:00", 0)):
        filters = {"unit": {}, "association": {"created": {operator: bound}}}
        assert len(found(api, zoo, type_ids=["rpm", "iso"], filters=filters)) == count
    both = {"$and": [{"created": {"$gte": "2031"}}, {"created": {"$lte": "2032"}}]}
    assert len(found(api, zoo, filters={"unit": {}, "association": both})) == 4


def test_sort_limit_skip_and_fields(api: Api, zoo: str) -> None:
    documents = found(
        api,
        zoo,
        type_ids=["rpm"],
        filters={"unit": {}},
        sort={"unit": [["name", "descending"]]},
        limit=1,
        skip=1,
        fields={"unit": ["name"], "association": ["created"]},
    )
    assert names(documents) == ["bear"]
    assert set(documents[0]["metadata"]) == {"name", "_id", "_content_type_id"}
    assert "updated" not in documents[0]


def test_sorted_by_the_association_first_where_that_is_asked(api: Api, zoo: str) -> None:
    sort = {"association": [["unit_type_id", "ascending"]], "unit": [["size", "descending"]]}
    assert names(found(api, zoo, filters={"unit": {}}, sort=sort)) == ["readme", "bear", "cat", "ant"]


@pytest.mark.parametrize(
    ("criteria", "named"),
    [
        ({"filter": {}}, "filter"),
        ({"filters": {"name": "bear"}}, "filters"),
        ({"filters": {"unit": []}}, "filters"),
        ({"fields": ["name"]}, "fields"),
        ({"type_ids": 7}, "type_ids"),
        ({"limit": "x"}, "limit"),
        ([], "criteria"),
    ],
)
def test_bad_criteria_are_named(api: Api, zoo: str, criteria: object, named: str) -> None:
    answer = api.client.post(f"{zoo}search/units/", json={"criteria": criteria})
    assert (answer.status_code, answer.json()["property_names"]) == (400, [named])


def test_an_unknown_repository_has_no_units(api: Api) -> None:
    answer = api.client.post(f"{V2}/repositories/nil/search/units/", json={"criteria": {"filters": {"unit": {}}}})
    assert (answer.status_code, answer.json()["resources"]) == (404, {"repository": "nil"})


def test_copy_and_remove_queue_the_units_that_were_chosen(api: Api, zoo: str) -> None:
    api.client.post(
        f"{V2}/repositories/", json={"id": "copy", "importer_type_id": "yum_importer", "importer_config": {}}
    )
    criteria = {"type_ids": ["rpm"], "filters": {"unit": {"name": {"$in": ["ant", "cat"]}}}}
    chosen = [one["unit_id"] for one in found(api, zoo, **criteria)]
    orders = (
        (f"{V2}/repositories/copy/actions/associate/", {"source_repo_id": "zoo", "criteria": criteria}),
        (f"{zoo}actions/unassociate/", {"criteria": criteria}),
    )
    for path, body in orders:
        answer = api.client.post(path, json=body)
        assert answer.status_code == 202
        with api.database.read() as connection:
            task = tasks.get(connection, answer.json()["spawned_tasks"][0]["task_id"])
        assert task.arguments["unit_ids"] == chosen


def test_orphans_are_counted_for_every_type_and_listed(api: Api, zoo: str) -> None:
    assert api.client.get(ORPHANS).json()["rpm"] == {"count": 0, "_href": f"{ORPHANS}rpm/"}
    with api.database.write() as tx:
        repositories.remove(tx, "zoo")
    assert {name: one["count"] for name, one in api.client.get(ORPHANS).json().items()} == {
        "erratum": 0,
        "iso": 1,
        "rpm": 3,
    }
    assert zoo
    [orphan] = api.client.get(f"{ORPHANS}iso/").json()
    assert (orphan["name"], orphan["_content_type_id"]) == ("readme", "iso")
    assert api.client.get(orphan["_href"]).json() == orphan
    for path, arguments in (
        ("", (None, None)),
        ("iso/", ("iso", None)),
        (f"iso/{orphan['_id']}/", ("iso", [orphan["_id"]])),
    ):
        answer = api.client.delete(ORPHANS + path)
        assert answer.status_code == 202
        with api.database.read() as connection:
            task = tasks.get(connection, answer.json()["spawned_tasks"][0]["task_id"])
        assert (task.arguments["type_id"], task.arguments["unit_id"]) == arguments
        assert task.tags == ["pulp:content_unit:orphans"]


def test_chosen_orphans_are_removed_by_a_task_for_each_type(api: Api) -> None:
    path = f"{V2}/content/actions/delete_orphans/"
    chosen = [("rpm", "1"), ("iso", "2"), ("rpm", "3")]
    body = [{"content_type_id": type_id, "unit_id": unit_id} for type_id, unit_id in chosen]
    answer = api.client.post(path, json=body)
    assert answer.status_code == 202
    with api.database.read() as connection:
        queued = [tasks.get(connection, one["task_id"]).arguments for one in answer.json()["spawned_tasks"]]
    assert queued == [{"type_id": "rpm", "unit_id": ["1", "3"]}, {"type_id": "iso", "unit_id": ["2"]}]
    assert api.client.post(path, json=[]).json()["spawned_tasks"] == []
    for wrong, status, named in (
        ({"content_type_id": "rpm"}, 400, None),
        ([{"content_type_id": "rpm"}], 400, ["unit_id"]),
        ([{"content_type_id": "nil", "unit_id": "1"}], 404, None),
    ):
        refused = api.client.post(path, json=wrong)
        assert (refused.status_code, refused.json().get("missing_property_names")) == (status, named)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_orphans_of_an_unknown_type_or_id_are_missing(api: Api, method: str) -> None:
    answer = api.client.request(method, f"{ORPHANS}nil/")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"content_type_id": "nil"})
    answer = api.client.request(method, f"{ORPHANS}rpm/nil/")
    assert answer.json()["resources"] == {"content_type_id": "rpm", "content_unit_id": "nil"}


def test_units_of_a_type_wherever_they_are(api: Api, zoo: str) -> None:
    api.client.post(f"{V2}/repositories/", json={"id": "farm"})
    everything = api.client.get(f"{V2}/content/units/rpm/").json()
    assert sorted(unit["name"] for unit in everything) == ["ant", "bear", "cat"]
    assert {tuple(unit["repository_memberships"]) for unit in everything} == {("zoo",)}
    assert api.client.get(everything[0]["_href"]).json() == everything[0] | {"children": {}}
    assert zoo


def test_units_of_a_type_are_found_by_criteria(api: Api, zoo: str) -> None:
    with api.database.write() as tx:
        repositories.remove(tx, "zoo")
    criteria = {"filters": {"name": {"$in": ["bear", "ant"]}}, "sort": [["name", "descending"]], "fields": ["name"]}
    body = {"criteria": criteria, "include_repos": True}
    found = api.client.post(f"{V2}/content/units/rpm/search/", json=body).json()
    assert [(unit["name"], unit["repository_memberships"]) for unit in found] == [("bear", []), ("ant", [])]
    assert set(found[0]) == {"name", "_id", "_content_type_id", "_href", "repository_memberships"}
    plain = api.client.post(f"{V2}/content/units/rpm/search/", json={"criteria": criteria}).json()
    assert "repository_memberships" not in plain[0]
    assert zoo


@pytest.mark.parametrize("path", ["content/units/nil/", "plugins/types/nil/", "content/types/nil/"])
def test_a_type_that_nobody_installed_is_named(api: Api, path: str) -> None:
    answer = api.client.get(f"{V2}/{path}")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"content_type_id": "nil"})


def test_a_unit_that_is_not_there_is_named(api: Api) -> None:
    answer = api.client.get(f"{V2}/content/units/rpm/nil/")
    assert answer.json()["resources"] == {"content_type_id": "rpm", "content_unit_id": "nil"}


def test_types_of_units_are_listed_with_where_they_are_described(api: Api) -> None:
    [_, iso, _] = api.client.get(f"{V2}/content/types/").json()
    assert iso == {"content_type": "iso", "_href": f"{V2}/content/types/iso/"}
    assert api.client.get(iso["_href"]).json()["id"] == "iso"


def test_a_copy_names_a_source_that_is_not_there(api: Api, zoo: str) -> None:
    answer = api.client.post(f"{zoo}actions/associate/", json={"source_repo_id": "nil"})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["source_repo_id"])


def test_what_is_installed_is_listed_with_its_types_of_units(api: Api) -> None:
    assert [one["id"] for one in api.client.get(f"{V2}/plugins/types/").json()] == ["erratum", "iso", "rpm"]
    [iso, yum] = api.client.get(f"{V2}/plugins/importers/").json()
    assert (iso["id"], iso["types"]) == ("iso_importer", ["iso"])
    assert api.client.get(yum["_href"]).json() == yum
    distributors = api.client.get(f"{V2}/plugins/distributors/").json()
    assert [one["id"] for one in distributors] == ["export_distributor", "iso_distributor", "yum_distributor"]
    assert api.client.get(f"{V2}/plugins/distributors/iso_importer/").status_code == 404
    assert api.client.get(f"{V2}/plugins/importers/iso_distributor/").status_code == 404


def test_what_users_note_about_a_unit_is_found_and_shown(api: Api, zoo: str) -> None:
    [bear] = found(api, zoo, type_ids=["rpm"], filters={"unit": {"name": "bear"}})
    noted = f"{V2}/content/units/rpm/{bear['unit_id']}/pulp_user_metadata/"
    assert api.client.get(noted).json() == {}
    assert api.client.put(noted, json={"cdn_path": "/a/bear.rpm"}).json() is None
    assert api.client.get(noted).json() == {"cdn_path": "/a/bear.rpm"}
    by_note = {"unit": {"pulp_user_metadata.cdn_path": "/a/bear.rpm"}}
    [again] = found(api, zoo, type_ids=["rpm"], filters=by_note)
    assert again["metadata"]["pulp_user_metadata"] == {"cdn_path": "/a/bear.rpm"}
    api.client.put(noted, json={})
    assert found(api, zoo, filters=by_note) == []
    missing = api.client.put(f"{V2}/content/units/rpm/nil/pulp_user_metadata/", json={"a": 1})
    assert (missing.status_code, missing.json()["resources"]["content_unit_id"]) == (404, "nil")
