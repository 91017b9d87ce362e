"""Status, and the OpenAPI document."""

import hashlib
from typing import Any

import pytest

from pulpit.content.port import StoredFile
from pulpit.repositories import inventory
from pulpit.storage.port import Storage
from pulpit.store import publications, repositories
from support.api import V2, Api


def test_status_has_the_shape_of_pulp_2(api: Api) -> None:
    document = api.client.get(f"{V2}/status/").json()
    assert document["api_version"] == "2"
    assert document["versions"]["platform_version"].startswith("2.")
    assert document["database_connection"] == {"connected": True}
    assert document["messaging_connection"] == {"connected": True}
    assert document["known_workers"] == [
        {"_id": "worker-0@here", "_ns": "workers", "last_heartbeat": "2031-05-04T10:00:00Z"}
    ]


@pytest.fixture
def operations(api: Api) -> list[tuple[str, dict[str, Any]]]:
    document = api.client.get(f"{V2}/openapi.json").json()
    return [(path, one) for path, methods in document["paths"].items() for one in methods.values()]


def test_every_operation_has_a_readable_id_of_its_own_and_a_sentence(
    operations: list[tuple[str, dict[str, Any]]],
) -> None:
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids) > 40
    assert all(one.islower() and not one.startswith("pulp") for one in ids)
    assert all(operation["description"] for _, operation in operations)


def test_the_description_knows_pulps_errors_and_not_fastapis(operations: list[tuple[str, dict[str, Any]]]) -> None:
    for path, operation in operations:
        assert "422" not in operation["responses"], path
        if not path.endswith("/status/"):
            assert "401" in operation["responses"], path
            assert operation["security"], path


def test_what_listeners_of_each_kind_can_be_told_is_described(api: Api) -> None:
    schemas = api.client.get(f"{V2}/openapi.json").json()["components"]["schemas"]
    kinds = api.client.get("/pulpit/v1/notifiers").json()["notifiers"]
    named = [branch.get("$ref") for branch in schemas["NewListener"]["properties"]["notifier_config"]["anyOf"]]
    for kind in kinds:
        assert f"#/components/schemas/NotifierConfig-{kind['id']}" in named
        properties = schemas[f"NotifierConfig-{kind['id']}"]["properties"]
        assert [*properties] == [option["name"] for option in kind["options"]]
        secrets = {name for name, schema in properties.items() if schema.get("writeOnly")}
        assert secrets == {option["name"] for option in kind["options"] if option["secret"]}


def test_there_is_no_page_that_needs_a_foreign_network(api: Api) -> None:
    assert api.client.get("/docs").status_code == 404
    assert api.client.get("/redoc").status_code == 404


def kept(storage: Storage, content: bytes, path: str = "") -> StoredFile:
    sha256 = hashlib.sha256(content).hexdigest()
    storage.put_bytes(content, sha256)
    return StoredFile(relative_path=path, sha256=sha256, size=len(content))


def test_published_files_are_served_beside_the_api_without_a_login(api: Api) -> None:
    now, storage = api.services.clock(), api.services.publications.storage
    storage.prepare()
    files = [kept(storage, b"abc", "a.iso")]
    listing = kept(storage, inventory.document(files))
    with api.services.database.write() as tx:
        repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=now)
        kind = "iso_distributor"
        one = repositories.add_distributor(tx, "zoo", kind, kind, {}, auto_publish=True, now=now)
        publication = publications.add(
            tx,
            "zoo",
            [*files, listing],
            now=now,
            distributor_id=one.id,
            distributor_object_id=one.object_id,
            inventory=listing.sha256,
            content=listing.sha256,
            file_count=1,
            byte_count=3,
            unit_counts={},
            made_of=None,
            last_event=0,
        )
        publications.show(tx, "isos/zoo", publication, now=now)
    del api.client.headers["Authorization"]
    assert api.client.get("/pulp/isos/zoo/a.iso").content == b"abc"
    assert api.client.get("/pulp/isos/zoo/a.iso", headers={"Range": "bytes=1-"}).content == b"bc"
    assert api.client.get("/pulp/isos/nil").status_code == 404
