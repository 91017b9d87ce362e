"""Exports that the server writes: only below the export folder, never through a symbolic link, and complete."""

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from pulpit.errors import InvalidValue, MissingResource, PulpitError, WorkFailed
from pulpit.repositories.exporting import ExportOrder, export, export_as_pulp_2
from pulpit.repositories.exports import verified_folder
from pulpit.repositories.staging import Stopped
from support.mirror import Mirror, mirror
from support.upstream import Upstream, line, running


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    """A repository with one publication of two files, and a folder for exports."""
    (tmp_path / "exports").mkdir(mode=0o755)
    (tmp_path / "data").mkdir()
    with mirror(tmp_path / "data") as made, running() as feed:
        offer(feed, ant=b"1", bear=b"2")
        made.create("zoo", feed.url, relative_url="some/zoo")
        made.sync("zoo")
        made.publish("zoo")
        yield Mirror(replace(made.context, export_dir=tmp_path / "exports"))


def offer(feed: Upstream, **files: bytes) -> None:
    for name, content in files.items():
        feed.put(name, content)
    feed.manifest(*(line(name, content) for name, content in files.items()))


def ordered(here: Mirror, to: str, number: int = 1, since: int | None = None) -> dict[str, object]:
    order = ExportOrder(repo_id="zoo", number=number, to=to, since=since)
    return export(here.context, order, Event())


def test_a_tree_and_a_tar_are_written_below_the_folder(here: Mirror, tmp_path: Path) -> None:
    said = ordered(here, "site/zoo")
    assert said == {
        "path": str(tmp_path / "exports/site/zoo"),
        "publication": 1,
        "since": None,
        "files": 3,
        "bytes": said["bytes"],
        "is_new": True,
    }
    assert (tmp_path / "exports/site/zoo/bear").read_bytes() == b"2"
    assert verified_folder(tmp_path / "exports/site/zoo").about.relative_url == "some/zoo"
    assert ordered(here, "site/zoo")["is_new"] is False
    assert len(str(ordered(here, "zoo.tar", since=1)["sha256"])) == 64
    with tarfile.open(tmp_path / "exports/zoo.tar") as tar:
        assert tar.getnames() == ["pulpit-export.json", "pulpit-export.files"]
    assert sorted(path.name for path in (tmp_path / "exports").rglob("*pulpit-*")) == [
        "pulpit-export.files",
        "pulpit-export.json",
    ]


@pytest.mark.parametrize(
    "to", ["../out", "a/../../out", "/etc/out", "", "a//b", ".", "x\x00y", "x.pulpit-partial", "a.pulpit-old/b", "a\nb"]
)
def test_paths_that_lead_elsewhere_are_refused(here: Mirror, tmp_path: Path, to: str) -> None:
    with pytest.raises(InvalidValue):
        ordered(here, to)
    assert list((tmp_path / "exports").iterdir()) == []


def test_nothing_is_written_through_a_link(here: Mirror, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "exports/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "exports/link.tar").symlink_to(tmp_path / "elsewhere/file")
    for to in ("link", "link/zoo", "link.tar"):
        with pytest.raises(WorkFailed, match="link"):
            ordered(here, to)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_is_written_where_others_write(here: Mirror, tmp_path: Path) -> None:
    (tmp_path / "exports/open").mkdir()
    (tmp_path / "exports/open").chmod(0o777)
    with pytest.raises(WorkFailed, match="Others may write"):
        ordered(here, "open/zoo")
    (tmp_path / "exports").chmod(0o1777)
    with pytest.raises(WorkFailed, match="Others may write"):
        ordered(here, "zoo")


def test_what_has_the_place_stays(here: Mirror, tmp_path: Path) -> None:
    ordered(here, "zoo")
    (tmp_path / "exports/mine").mkdir()
    (tmp_path / "exports/mine/file").write_text("mine")
    for to, reason in (("zoo/inside", "is itself an export"), ("mine", "is not empty and no export")):
        with pytest.raises(PulpitError, match=reason):
            ordered(here, to)
    assert (tmp_path / "exports/mine/file").read_text() == "mine"
    assert verified_folder(tmp_path / "exports/zoo").about.publication == 1


def test_what_is_not_there_or_not_allowed_is_said(here: Mirror, tmp_path: Path) -> None:
    with pytest.raises(MissingResource):
        ordered(here, "zoo", number=7)
    with pytest.raises(WorkFailed, match="has not set"):
        ordered(Mirror(replace(here.context, export_dir=None)), "zoo")
    with pytest.raises(WorkFailed, match="cannot be written to"):
        ordered(Mirror(replace(here.context, export_dir=tmp_path / "nowhere")), "zoo")


def test_an_export_stops_when_it_is_told_to(here: Mirror, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        export(here.context, ExportOrder(repo_id="zoo", number=1, to="zoo"), stop)
    assert not (tmp_path / "exports/zoo").exists()
    ordered(here, "zoo")  # what was begun is gone on with
    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["zoo"]


def test_the_way_of_pulp_2_takes_an_absolute_folder_and_adds_the_relative_url(here: Mirror, tmp_path: Path) -> None:
    for wanted in (str(tmp_path / "exports"), f"{tmp_path}/exports/", "sub", f"{tmp_path}/exports/sub"):
        said = export_as_pulp_2(here.context, "zoo", {"export_dir": wanted}, "other/zoo", Event())
        assert str(said["path"]).endswith("/other/zoo")
    assert (tmp_path / "exports/other/zoo/ant").exists()
    assert (tmp_path / "exports/sub/other/zoo/ant").exists()
    for config, reason in (
        ({"export_dir": str(tmp_path)}, "is not below"),
        ({"export_dir": f"{tmp_path}/exports/../out"}, "leads out"),
        ({}, "Name a folder"),
        ({"export_dir": "sub", "iso_prefix": "zoo"}, "iso_prefix: neither ISO images"),
        ({"export_dir": "sub", "start_date": "2026-01-01"}, "start_date: neither"),
        ({"export_dir": "sub", "checksum_type": "md5"}, "checksum_type: .* has sha256. Set md5"),
    ):
        with pytest.raises(PulpitError, match=reason):
            export_as_pulp_2(here.context, "zoo", config, "zoo", Event())
