"""Uploads, copies and removals through the real server and its workers."""

import base64
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import published
from support.server import API, Server, pulpit


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("server") / "data", "[messaging]\nurl =\n") as running:
        yield running


def done(server: Server, answer: dict[str, Any]) -> dict[str, Any]:
    return server.ended(answer["spawned_tasks"][0]["task_id"])


def upload(server: Server, content: bytes) -> str:
    upload_id: str = server.call("POST", f"{API}/content/uploads/")["upload_id"]
    token = base64.b64encode(f"admin:{server.password}".encode()).decode()
    url = f"{server.url}{API}/content/uploads/{upload_id}/0/"
    headers = {"Authorization": f"Basic {token}"}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method="PUT"), timeout=60):
        return upload_id


def import_file(server: Server, repo_id: str, key: dict[str, Any]) -> dict[str, Any]:
    order = {"upload_id": upload(server, b"abc"), "unit_type_id": "iso", "unit_key": key, "unit_metadata": {}}
    return done(server, server.call("POST", f"{API}/repositories/{repo_id}/actions/import_upload/", order))


def units(server: Server, repo_id: str) -> list[str]:
    found = server.call("POST", f"{API}/repositories/{repo_id}/search/units/", {"criteria": {}})
    return [unit["metadata"]["name"] for unit in found]


SHA_256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
KEY = {"name": "a.iso", "checksum": SHA_256_OF_ABC, "size": 3}


def test_a_unit_comes_by_upload_goes_on_by_copy_and_ends_as_an_orphan(server: Server) -> None:
    for repo_id in ("first", "second"):
        server.create_iso(repo_id, "http://127.0.0.1:1/")
    assert import_file(server, "first", KEY)["result"] == {"success_flag": True, "summary": "", "details": {}}
    assert list((server.data_dir / "uploads" / "queued").iterdir()) == []
    order = {"source_repo_id": "first", "criteria": {}}
    copied = done(server, server.call("POST", f"{API}/repositories/second/actions/associate/", order))
    assert copied["result"]["units_successful"] == [{"type_id": "iso", "unit_key": KEY}]
    assert units(server, "second") == ["a.iso"]
    for repo_id in ("first", "second"):
        removed = server.call("POST", f"{API}/repositories/{repo_id}/actions/unassociate/", {"criteria": {}})
        assert len(done(server, removed)["result"]["units_successful"]) == 1
        assert units(server, repo_id) == []
    assert done(server, server.call("DELETE", f"{API}/content/orphans/"))["result"] == {"iso": 1}
    query = "?event_type=repo.content.update"
    told = [event["payload"] for event in server.call("GET", f"/pulpit/v1/events{query}")["events"]]
    steps = [(said["repo_id"], said["action"], said["changes"]["units"][0]["change"]) for said in told]
    assert steps == [
        ("first", "upload", "added"),
        ("second", "copy", "added"),
        ("first", "remove", "removed"),
        ("second", "remove", "removed"),
    ]
    assert {said["changes"]["units"][0]["name"] for said in told} == {"a.iso"}


def test_an_import_that_is_refused_says_why_and_leaves_no_file(server: Server) -> None:
    server.create_iso("third", "http://127.0.0.1:1/")
    report = import_file(server, "third", {**KEY, "checksum": "0" * 64})
    assert report["state"] == "error"
    assert "checksum" in report["error"]["description"]
    assert list((server.data_dir / "uploads" / "queued").iterdir()) == []


def paths(data_dir: Path) -> list[str]:
    with published.beside(data_dir) as context:
        return published.paths(context)


def test_a_distributor_goes_with_what_it_published(server: Server) -> None:
    server.create_iso("fourth", "http://127.0.0.1:1/")
    import_file(server, "fourth", KEY)
    publish = server.call("POST", f"{API}/repositories/fourth/actions/publish/", {"id": "iso_distributor"})
    assert done(server, publish)["state"] == "finished"
    assert paths(server.data_dir) == ["isos/fourth"]
    gone = server.call("DELETE", f"{API}/repositories/fourth/distributors/iso_distributor/")
    assert done(server, gone)["state"] == "finished"
    assert paths(server.data_dir) == []
    assert server.call("GET", f"{API}/repositories/fourth/distributors/") == []
