"""Exports: complete or absent, and an import accepts exactly the listed files."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulpit.content.port import StoredFile
from pulpit.errors import InvalidValue, WorkFailed
from pulpit.repositories import inventory
from pulpit.repositories.exports import (
    ABOUT,
    FILES,
    About,
    Export,
    is_export,
    unpack,
    verified_folder,
    write_folder,
    write_tar,
)
from pulpit.storage.folder import FolderStorage

CONTENTS = {"a/bear": b"bear", "a/camel": b"camel" * 1000, "list": b"bear camel"}


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    storage = FolderStorage(tmp_path / "content")
    storage.prepare()
    for content in CONTENTS.values():
        storage.put_bytes(content, hashlib.sha256(content).hexdigest())
    return storage


def export_of(contents: dict[str, bytes] = CONTENTS, base: frozenset[str] = frozenset()) -> Export:
    files = tuple(
        StoredFile(relative_path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for path, content in sorted(contents.items())
    )
    about = About(
        repo_id="zoo",
        publication=2,
        relative_url="zoo",
        importer_type_id="iso_importer",
        distributor_type_id="iso_distributor",
        created_at="2026-11-28T00:00:00Z",
        inventory=hashlib.sha256(inventory.document(files)).hexdigest(),
        since=1 if base else None,
        base="0" * 64 if base else None,
    )
    return Export(about=about, files=files, base=base)


def contents_of(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: content for path, content in found.items() if path not in {ABOUT, FILES}}


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_is_a_plain_tree_that_everybody_can_read(storage: FolderStorage, tmp_path: Path, link: bool) -> None:
    folder = tmp_path / "export"

    assert write_folder(export_of(), storage, folder, link=link)

    assert contents_of(folder) == CONTENTS
    bear = (folder / "a/bear").stat()
    assert (bear.st_nlink > 1, bear.st_mode & 0o777) == (link, 0o644)
    assert verified_folder(folder).about == export_of().about
    assert not write_folder(export_of(), storage, folder, link=link)  # it is there already
    assert [path.name for path in tmp_path.iterdir() if "pulpit" in path.name] == []


def test_another_publication_takes_its_place(storage: FolderStorage, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    write_folder(export_of(), storage, folder, link=True)

    write_folder(export_of({"list": b"bear camel"}), storage, folder, link=True)

    assert contents_of(folder) == {"list": b"bear camel"}


def test_only_what_is_new_is_written(storage: FolderStorage, tmp_path: Path) -> None:
    base = frozenset({hashlib.sha256(b"bear").hexdigest()})
    write_folder(export_of(base=base), storage, tmp_path / "export", link=True)
    write_tar(export_of(base=base), storage, tmp_path / "export.tar")
    (tmp_path / "unpacked").mkdir()

    for found in (verified_folder(tmp_path / "export"), unpack(tmp_path / "export.tar", tmp_path / "unpacked")):
        assert found.base == base
        assert len(found.files) == len(CONTENTS)
    assert "a/bear" not in contents_of(tmp_path / "export")


def test_an_interrupted_export_is_gone_on_with_and_trusts_nothing(storage: FolderStorage, tmp_path: Path) -> None:
    partial = tmp_path / "export.pulpit-partial"
    (partial / "a").mkdir(parents=True)
    (partial / "a/bear").write_bytes(b"bear")
    kept = (partial / "a/bear").stat().st_ino
    (partial / "a/camel").write_bytes(b"came")
    (partial / "left").write_bytes(b"over")
    (partial / "list").symlink_to("/etc/passwd")

    write_folder(export_of(), storage, tmp_path / "export", link=True)

    assert contents_of(tmp_path / "export") == CONTENTS
    assert (tmp_path / "export/a/bear").stat().st_ino == kept


def test_a_folder_of_somebody_else_is_left_alone(storage: FolderStorage, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/mine").touch()

    with pytest.raises(InvalidValue, match="not empty and no export"):
        write_folder(export_of(), storage, tmp_path / "export", link=True)

    assert [path.name for path in (tmp_path / "export").iterdir()] == ["mine"]


def test_without_a_file_there_is_no_export(storage: FolderStorage, tmp_path: Path) -> None:
    storage.remove([hashlib.sha256(b"bear").hexdigest()])

    for write in (
        lambda: write_folder(export_of(), storage, tmp_path / "export", link=True),
        lambda: write_tar(export_of(), storage, tmp_path / "export.tar"),
    ):
        with pytest.raises(WorkFailed, match="gone from the storage"):
            write()

    assert not (tmp_path / "export").exists()
    assert not (tmp_path / "export.tar").exists()


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a//b", ABOUT, "a\nb", "a/bear/inside"])
def test_paths_that_cannot_be_are_no_export(storage: FolderStorage, tmp_path: Path, path: str) -> None:
    with pytest.raises(WorkFailed):
        write_folder(export_of({**CONTENTS, path: b"bear"}), storage, tmp_path / "export", link=True)

    assert not (tmp_path / "export").exists()


def damaged(folder: Path, change: Callable[[Path], Any]) -> None:
    change(folder)
    with pytest.raises(WorkFailed):
        verified_folder(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a/bear").write_bytes(b"bare"),
        lambda folder: (folder / "a/bear").unlink(),
        lambda folder: (folder / ABOUT).write_text("{}"),
        lambda folder: (folder / ABOUT).write_text("[" * 100_000),
        lambda folder: (folder / FILES).write_text(""),
        lambda folder: (folder / FILES).unlink(),
        lambda folder: ((folder / "a/bear").unlink(), (folder / "a/bear").symlink_to("/etc/passwd")),
        lambda folder: ((folder / "a").rename(folder.parent / "b"), (folder / "a").symlink_to(folder.parent / "b")),
    ],
)
def test_a_folder_that_is_not_what_it_was_is_refused(
    storage: FolderStorage, tmp_path: Path, change: Callable[[Path], Any]
) -> None:
    write_folder(export_of(), storage, tmp_path / "export", link=False)

    damaged(tmp_path / "export", change)


def member(name: str, content: bytes = b"", **columns: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for column, value in columns.items():
        setattr(info, column, value)
    return info, content


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def right(contents: dict[str, bytes] = CONTENTS) -> list[tuple[tarfile.TarInfo, bytes]]:
    export = export_of(contents)
    own = [member(ABOUT, export.about.document()), member(FILES, inventory.document(export.files))]
    return own + [member(path, contents[path]) for path in contents]


def about_with(**changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(ABOUT, json.dumps(json.loads(export_of().about.document()) | changes).encode())


LINK: dict[str, Any] = {"type": tarfile.SYMTYPE, "linkname": "/etc"}
HARD_LINK: dict[str, Any] = {"type": tarfile.LNKTYPE, "linkname": ABOUT}


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([], id="nothing"),
        pytest.param(right()[1:], id="no word of itself"),
        pytest.param(right()[:1], id="no list"),
        pytest.param(right()[:-1], id="a file is missing"),
        pytest.param([*right(), member("more", b"more")], id="a file too many"),
        pytest.param([*right(), right()[-1]], id="a file twice"),
        pytest.param([*right()[:2], member("../up", b"up"), *right()[2:]], id="out of the folder"),
        pytest.param([*right()[:2], member("/up", b"up"), *right()[2:]], id="absolute"),
        pytest.param([*right()[:2], member("a", **LINK), *right()[2:]], id="a link for a folder"),
        pytest.param([*right()[:2], member("a/bear", **LINK), *right()[3:]], id="a link for a file"),
        pytest.param([*right()[:2], member("a/bear", **HARD_LINK), *right()[3:]], id="hard link"),
        pytest.param([*right()[:2], member("a/bear", type=tarfile.FIFOTYPE), *right()[3:]], id="a pipe"),
        pytest.param([*right()[:2], member("a/bear", b"bare"), *right()[3:]], id="other bytes"),
        pytest.param([*right()[:2], member("a/bear", b"bear" * 1000), *right()[3:]], id="more bytes"),
        pytest.param([about_with(inventory="0" * 64), *right()[1:]], id="another list"),
        pytest.param([about_with(format=2), *right()[1:]], id="another version"),
        pytest.param([about_with(more=1), *right()[1:]], id="more said"),
        pytest.param([about_with(publication="2"), *right()[1:]], id="a number that is none"),
        pytest.param([about_with(repo_id=None), *right()[1:]], id="no repository"),
        pytest.param(right({**CONTENTS, "../up": b"up"}), id="a list that leads out"),
        pytest.param(right({**CONTENTS, "a": b"a"}), id="a file that is a folder"),
    ],
)
def test_tars_of_strangers_are_refused(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    folder = tmp_path / "inner/unpacked"
    folder.mkdir(parents=True)

    with pytest.raises(WorkFailed):
        unpack(tar_of(tmp_path / "a.tar", *members), folder)

    assert list(tmp_path.rglob("up")) == []
    assert [path for path in folder.rglob("*") if path.is_symlink()] == []


def test_a_tar_that_was_cut_off_anywhere_is_refused(storage: FolderStorage, tmp_path: Path) -> None:
    write_tar(export_of(), storage, tmp_path / "a.tar")
    whole = (tmp_path / "a.tar").read_bytes()
    assert unpack(tmp_path / "a.tar", _new(tmp_path / "whole")).files == export_of().files

    for size in (0, 100, 600, 1100, 2000, 3000, 4500, 9000):
        (tmp_path / "b.tar").write_bytes(whole[:size])
        with pytest.raises(WorkFailed):
            unpack(tmp_path / "b.tar", _new(tmp_path / str(size)))
    assert not is_export(tmp_path)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
