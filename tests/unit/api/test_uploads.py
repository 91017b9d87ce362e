"""Uploads with the requests of the original client."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.errors import ConflictingOperation, RequestTooLarge
from pulpit.repositories.pending_uploads import UploadLimits, Uploads
from pulpit.store import tasks
from support.api import V2, Api

UPLOADS = f"{V2}/content/uploads/"
REPOSITORIES = f"{V2}/repositories/"


@pytest.fixture
def upload(api: Api) -> dict[str, Any]:
    answer = api.client.post(UPLOADS, content=b"")
    assert answer.status_code == 201
    begun: dict[str, Any] = answer.json()
    assert set(begun) == {"upload_id", "_href"}
    return begun


@pytest.fixture
def files(api: Api) -> str:
    api.client.post(REPOSITORIES, json={"id": "files", "importer_type_id": "iso_importer"})
    return f"{REPOSITORIES}files/"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def ordered(upload: dict[str, Any]) -> dict[str, Any]:
    return {
        "upload_id": upload["upload_id"],
        "unit_type_id": "iso",
        "unit_key": {"name": "a.iso", "size": 6, "checksum": "0" * 64},
        "unit_metadata": {},
        "override_config": {},
    }


def test_pieces_go_where_their_offset_says(api: Api, upload: dict[str, Any]) -> None:
    for offset, piece in ((0, b"abc"), (3, b"def"), (2, b"C")):
        answer = api.client.put(f"{upload['_href']}{offset}/", content=piece)
        assert (answer.status_code, answer.json()) == (200, None)
    stored = api.services.data_dir / "uploads" / upload["upload_id"]
    assert stored.read_bytes() == b"abCdef"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert api.client.get(upload["_href"]).json()["size"] == 6
    assert api.client.get(UPLOADS).json() == {"upload_ids": [upload["upload_id"]]}


@pytest.mark.parametrize("offset", ["1", "-1", "x", "1.0", "9" * 40, "٣"])
def test_an_offset_that_would_leave_a_hole_is_refused(api: Api, upload: dict[str, Any], offset: str) -> None:
    answer = api.client.put(f"{upload['_href']}{offset}/", content=b"abc")
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["offset"])


@pytest.mark.parametrize("upload_id", ["nil", "queued", "..", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_upload_is_missing(api: Api, files: str, upload_id: str) -> None:
    answers = [api.client.request(method, f"{UPLOADS}{upload_id}/") for method in ("GET", "DELETE")]
    answers.append(api.client.put(f"{UPLOADS}{upload_id}/0/", content=b""))
    answers.append(api.client.post(f"{files}actions/import_upload/", json=ordered({"upload_id": upload_id})))
    if upload_id == "..":
        answers = answers[-1:]
    for answer in answers:
        assert (answer.status_code, answer.json()["resources"]) == (404, {"upload_request": upload_id})


def test_an_import_is_queued_and_keeps_its_bytes_when_the_upload_is_deleted(
    api: Api, upload: dict[str, Any], files: str
) -> None:
    api.client.put(f"{upload['_href']}0/", content=b"abcdef")
    answer = api.client.post(f"{files}actions/import_upload/", json=ordered(upload))
    assert answer.status_code == 202
    assert api.client.put(f"{upload['_href']}0/", content=b"x").status_code == 409
    assert api.client.delete(upload["_href"]).json() is None
    with api.database.read() as connection:
        task = tasks.get(connection, answer.json()["spawned_tasks"][0]["task_id"])
    assert task.tags == ["pulp:repository:files", "pulp:action:import_upload"]
    assert (api.services.data_dir / task.arguments["path"]).read_bytes() == b"abcdef"
    assert task.arguments["unit_key"]["name"] == "a.iso"


@pytest.mark.parametrize(("scope", "everywhere"), [("publish:files", False), ("publish", True)])
def test_only_who_may_change_all_repositories_changes_others_by_an_import(
    api: Api, upload: dict[str, Any], files: str, scope: str, everywhere: bool
) -> None:
    token = api.client.post("/pulpit/v1/tokens", json={"name": "ci", "scopes": [scope]}).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    answer = api.client.post(f"{files}actions/import_upload/", json=ordered(upload), headers=bearer)
    assert answer.status_code == 202, answer.json()
    with api.database.read() as connection:
        task = tasks.get(connection, answer.json()["spawned_tasks"][0]["task_id"])
    assert task.arguments["everywhere"] is everywhere


def test_an_import_that_cannot_be_queued_leaves_nothing(api: Api, upload: dict[str, Any], files: str) -> None:
    api.client.post(REPOSITORIES, json={"id": "bare"})
    answer = api.client.post(f"{REPOSITORIES}bare/actions/import_upload/", json=ordered(upload))
    assert (answer.status_code, answer.json()["resources"]) == (404, {"importer_id": "importer"})
    answer = api.client.post(f"{files}actions/import_upload/", json=ordered(upload) | {"unit_type_id": "nil"})
    assert (answer.status_code, answer.json()["property_names"]) == (400, ["unit_type_id"])
    answer = api.client.post(f"{REPOSITORIES}nil/actions/import_upload/", json=ordered(upload))
    assert answer.json()["resources"] == {"repository": "nil"}
    assert list((api.services.data_dir / "uploads" / "queued").iterdir()) == []


def test_limits_of_size_and_count_and_age(tmp_path: Path) -> None:
    limits = UploadLimits(piece=4, whole=6, count=2, kept_for=timedelta(days=1))
    uploads = Uploads(tmp_path, system_clock, limits)
    first, _ = uploads.begin(), uploads.begin()
    with pytest.raises(ConflictingOperation):
        uploads.begin()
    old = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(tmp_path / "uploads" / first, (old, old))
    assert uploads.begin() in uploads.ids()
    assert first not in uploads.ids()


def test_a_piece_and_an_upload_have_a_limit(api: Api, upload: dict[str, Any], tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, system_clock, UploadLimits(piece=4, whole=6))
    upload_id = upload["upload_id"]
    assert api.client.get(UPLOADS).json()["upload_ids"] == [upload_id]
    with pytest.raises(RequestTooLarge):
        asyncio.run(uploads.write(upload_id, 0, pieces(b"abc", b"de")))
    asyncio.run(uploads.write(upload_id, 3, pieces(b"def")))
    with pytest.raises(RequestTooLarge):
        asyncio.run(uploads.write(upload_id, 6, pieces(b"g")))
    assert uploads.size(upload_id) == 6
