"""A content type of another distribution: found by its entry point, and as capable as a built-in one."""

import asyncio
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.repositories.context import TaskContext
from pulpit.repositories.publish import publish
from pulpit.repositories.sync import sync
from pulpit.server.content_types import content_types
from pulpit.storage.folder import FolderStorage
from pulpit.store import repositories
from support import database, published
from support import upstream as serving
from support.type_checking import check_types

PLUG_IN = Path(__file__).parents[1] / "support" / "plugin"
NOTE = b"a note\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example, laid out as an installation does: its package, and the metadata that names its entry point."""
    folder = tmp_path / "site"
    information = folder / "pulpit_notes-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: pulpit-notes\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[pulpit.content_types]\nnotes = pulpit_notes:Notes\n")
    (folder / "pulpit_notes").symlink_to(PLUG_IN / "src" / "pulpit_notes")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("pulpit_notes", None)


@pytest.mark.usefixtures("installed")
def test_it_syncs_and_publishes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with serving.running() as upstream, database.fresh(data) as (opened, _):
        upstream.put("a.txt", NOTE)
        upstream.put("notes.txt", f"{hashlib.sha256(NOTE).hexdigest()} a.txt\n".encode())
        context = TaskContext(
            database=opened,
            storage=FolderStorage(data / "content"),
            data_dir=data,
            content_types=content_types(),
        )
        now = context.clock()
        with opened.write() as tx:
            repositories.add(tx, "pad", display_name=None, description=None, notes={}, now=now)
            repositories.add_importer(tx, "pad", "notes_importer", {"feed": upstream.url}, now=now)
            kind = "notes_distributor"
            repositories.add_distributor(tx, "pad", kind, kind, {}, auto_publish=True, now=now)

        synced = asyncio.run(sync(context, "pad", None, lambda _: None))
        outcome = asyncio.run(publish(context, "pad", "notes_distributor", None, lambda _: None))
        assert published.show(context, outcome).result == "success"
        assert published.contents(context, "notes/pad")["a.txt"] == NOTE

    assert (synced.result, synced.error_message, synced.added_count) == ("success", None, 1)


def test_one_that_is_broken_keeps_nothing_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    information = tmp_path / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[pulpit.content_types]\nbroken = nowhere:Nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "iso_importer" in content_types()
    assert [record.action for record in caplog.records] == ["plug_in_broken"]  # type: ignore[attr-defined]


def test_its_project_says_what_the_test_lays_out() -> None:
    project = (PLUG_IN / "pyproject.toml").read_text()

    assert '[project.entry-points."pulpit.content_types"]\nnotes = "pulpit_notes:Notes"\n' in project


def test_it_keeps_the_port(tmp_path: Path) -> None:
    code = (
        "from pulpit.content.port import ContentType\nfrom pulpit_notes import Notes\n\nnotes: ContentType = Notes()\n"
    )
    check_types(tmp_path, code, PLUG_IN)
