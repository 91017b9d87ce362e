"""Exports: a publication as a plain tree for web servers and rsync, or as a tar for machines without a network.

    <published paths>       the files, at their published paths
    pulpit-export.json      the description: repository, publication, base publication, checksums
    pulpit-export.files     every file of the publication: path TAB SHA-256 TAB size, including those omitted by `since`

An export is written beside its target and renamed when it is complete. What an interrupted one has written is reused by
the next, after verification.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from pulpit.content import paths
from pulpit.content.limits import MIB
from pulpit.content.port import StoredFile
from pulpit.errors import InvalidValue, WorkFailed
from pulpit.repositories import inventory
from pulpit.storage.port import Storage
from pulpit.text import shown

ABOUT: Final = "pulpit-export.json"
FILES: Final = "pulpit-export.files"
FORMAT: Final = 1
_OWN: Final = frozenset({ABOUT, FILES})
_MOST_ABOUT: Final = MIB
_MOST_FILES: Final = 1024 * MIB
_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755
_PARTIAL: Final = ".pulpit-partial"
_OLD: Final = ".pulpit-old"
RESERVED_ENDINGS: Final = (_PARTIAL, _OLD)
"""Endings of names used beside an export's target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """An export's description of itself."""

    repo_id: str
    publication: int
    relative_url: str
    """Where it was shown, below the path of its content type."""
    importer_type_id: str
    distributor_type_id: str
    created_at: str
    inventory: str
    """SHA-256 of the list of files."""
    since: int | None
    """The publication whose files are omitted because the importing server has them already."""
    base: str | None
    """SHA-256 of that publication's list of files."""

    def document(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2).encode() + b"\n"

    @classmethod
    def read(cls, content: bytes) -> "About":
        """Parse what `document` wrote.

        Raises:
            WorkFailed: it is invalid.
        """
        try:
            fields = json.loads(content)
            if fields.pop("format") != FORMAT:
                raise WorkFailed(f"{ABOUT} is of another version of Pulpit; import it with that one or a later one.")
            about = cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise WorkFailed(f"{ABOUT} is none that an export wrote.") from None
        numbers = (about.publication, *([] if about.since is None else [about.since]))
        texts = (about.repo_id, about.relative_url, about.importer_type_id, about.distributor_type_id, about.inventory)
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            raise WorkFailed(f"{ABOUT} is none that an export wrote.")
        return about


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What to export: a publication's files, without those of `base`."""

    about: About
    files: tuple[StoredFile, ...]
    base: frozenset[str] = frozenset()
    """SHA-256 of the files that are omitted."""

    def contained(self) -> Iterator[StoredFile]:
        """The files that the export contains."""
        return (file for file in self.files if file.sha256 not in self.base)


def check_paths(files: Iterable[StoredFile]) -> None:
    """Reject files that cannot be exported together.

    Raises:
        WorkFailed: a path is invalid, or reserved by exports.
    """
    found = set()
    for file in files:
        reason = paths.flaw(file.relative_path)
        if reason or file.relative_path in _OWN or file.relative_path in found or file.size < 0:
            raise WorkFailed(f"The path {shown(file.relative_path)!r} {reason or 'cannot be in an export'}.")
        found.add(file.relative_path)
    if collision := paths.beneath_another(found):
        raise WorkFailed(f"{shown(collision[1])!r} is a file and a folder.")


def write_folder(
    export: Export, storage: Storage, folder: Path, *, link: bool, each: Callable[[], None] = lambda: None
) -> bool:
    """Write a plain tree, by hard links if `link` is set and the file system allows them; false if it exists already.

    `each` is called before each file, and may raise.

    Raises:
        InvalidValue: the target is something else.
        WorkFailed: a file is missing from the storage.
        OSError: the disk failed.
    """
    if folder.exists() and not is_export(folder) and any(folder.iterdir()):
        raise InvalidValue("DIR", f"{folder} is not empty and no export; name another folder.")
    check_paths(export.files)
    with suppress(WorkFailed):
        if verified_folder(folder).about == export.about:
            return False
    partial, old = folder.with_name(folder.name + _PARTIAL), folder.with_name(folder.name + _OLD)
    partial.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    wanted = {file.relative_path: file for file in export.contained()}
    _sweep(partial, wanted)
    for path, file in wanted.items():
        each()
        target = partial / path
        target.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        if not target.exists():
            _place(storage, file, target, link=link)
    (partial / FILES).write_bytes(inventory.document(export.files))
    (partial / ABOUT).write_bytes(export.about.document())
    os.sync()
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return True


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export."""
    return (folder / ABOUT).is_file() and (folder / FILES).is_file()


def write_tar(export: Export, storage: Storage, path: Path, *, each: Callable[[], None] = lambda: None) -> str:
    """Write a tar, and return its SHA-256; `each` is called before each file, and may raise.

    Raises:
        InvalidValue: the target is something else.
        WorkFailed: a file is missing from the storage, or damaged.
        OSError: the disk failed.
    """
    if path.is_dir():
        raise InvalidValue("--tar", f"{path} is a folder.")
    check_paths(export.files)
    partial = path.with_name(path.name + _PARTIAL)
    with partial.open("w+b") as target:
        with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in ((ABOUT, export.about.document()), (FILES, inventory.document(export.files))):
                tar.addfile(_member(name, len(content)), io.BytesIO(content))
            for file in export.contained():
                each()
                with _opened(storage, file) as source:
                    proven = _Proven(source, file)
                    tar.addfile(_member(file.relative_path, file.size), proven)
                    proven.end()
        target.flush()
        os.fsync(target.fileno())
        target.seek(0)
        digest = hashlib.file_digest(target, "sha256").hexdigest()
    partial.rename(path)
    return digest


def verified_folder(folder: Path) -> Export:
    """Verify every byte of the export in a folder and return it; other files in the folder are ignored.

    Raises:
        WorkFailed: it is not an export, or incomplete.
    """
    if not is_export(folder):
        raise WorkFailed(f"{folder} is no export: {ABOUT} or {FILES} is missing.")
    with (folder / ABOUT).open("rb") as about, (folder / FILES).open("rb") as lines:
        export = _export_of(about.read(_MOST_ABOUT), lines.read(_MOST_FILES))
    held = []
    for file in export.files:
        path = folder / file.relative_path
        if path.is_symlink() or not path.is_file() or any(parent.is_symlink() for parent in _parents(folder, file)):
            if export.about.since is not None and not os.path.lexists(path):
                held.append(file.sha256)
                continue
            raise WorkFailed(f"{shown(file.relative_path)!r} is missing, or no plain file.")
        if not _is_right(path, file):
            raise WorkFailed(f"{shown(file.relative_path)!r} is damaged: its size or checksum is another.")
    return Export(about=export.about, files=export.files, base=frozenset(held))


def unpack(tar_path: Path, folder: Path, say: Callable[[str], None] = lambda _: None) -> Export:
    """Unpack a tar into a new, empty folder, verify every byte, and return the export.

    Raises:
        WorkFailed: it is not an export, incomplete, or contains anything else; none of it may be used.
    """
    try:
        with tarfile.open(tar_path, mode="r:") as tar:
            members = iter(tar)
            export = _export_of(_own(tar, members, ABOUT, _MOST_ABOUT), _own(tar, members, FILES, _MOST_FILES))
            wanted = {file.relative_path: file for file in export.files}
            for member in members:
                file = wanted.pop(member.name, None)
                if file is None or not member.isreg() or member.issparse() or member.size != file.size:
                    raise WorkFailed(f"The tar holds {shown(member.name)!r}, which does not belong there so.")
                target = folder / file.relative_path
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _unpack_one(tar, member, file, target)
                say(file.relative_path)
    except (tarfile.TarError, EOFError, UnicodeError, OverflowError, ValueError) as error:
        raise WorkFailed(f"{tar_path} is no tar of an export, or was cut off ({error}).") from None
    if wanted and export.about.since is None:
        raise WorkFailed(f"{tar_path} is not whole: {shown(next(iter(wanted)))!r} is missing.")
    held = frozenset(file.sha256 for file in wanted.values())
    return Export(about=export.about, files=export.files, base=held)


def _export_of(about: bytes, lines: bytes) -> Export:
    document = About.read(about)
    if hashlib.sha256(lines).hexdigest() != document.inventory:
        raise WorkFailed(f"{FILES} is damaged: its checksum is another.")
    try:
        files = tuple(inventory.read(io.BytesIO(lines)))
    except ValueError:
        raise WorkFailed(f"{FILES} is none that an export wrote.") from None
    check_paths(files)
    return Export(about=document, files=files)


def _own(tar: tarfile.TarFile, members: Iterator[tarfile.TarInfo], name: str, most: int) -> bytes:
    """Read the next member, which must be one of the export's own."""
    member = next(members, None)
    if member is None or member.name != name or not member.isreg() or not 0 <= member.size <= most:
        raise WorkFailed(f"The tar is no export: {name} is not where it must be.")
    source = tar.extractfile(member)
    content = source.read(most) if source else b""
    if len(content) != member.size:
        raise WorkFailed(f"The tar was cut off in {name}.")
    return content


def _unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, file: StoredFile, target: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise WorkFailed(f"The tar holds no bytes of {shown(file.relative_path)!r}.")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(target, flags, 0o600), "wb") as written:
        proven = _Proven(source, file)
        shutil.copyfileobj(proven, written, MIB)
        proven.end()


def _parents(folder: Path, file: StoredFile) -> Iterator[Path]:
    parent = (folder / file.relative_path).parent
    while parent != folder:
        yield parent
        parent = parent.parent


def _is_right(path: Path, file: StoredFile) -> bool:
    with path.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        return size == file.size and hashlib.file_digest(source, "sha256").hexdigest() == file.sha256


def _sweep(partial: Path, wanted: dict[str, StoredFile]) -> None:
    """Delete from an interrupted export what is not verified."""
    for root, folders, names in os.walk(partial):
        for name in (*names, *(name for name in folders if Path(root, name).is_symlink())):
            path = Path(root, name)
            file = wanted.get(str(path.relative_to(partial)))
            if file is None or path.is_symlink() or not _is_right(path, file):
                path.unlink()


def _place(storage: Storage, file: StoredFile, target: Path, *, link: bool) -> None:
    if link:
        with suppress(OSError):
            source = storage.local(file.sha256)
            if source.stat().st_size == file.size:
                os.link(source, target)
                target.chmod(_MODE)  # of the storage's file too, whose folder no other user may enter
                return
    fresh = target.with_name(f".{file.sha256}{_PARTIAL}")
    with _opened(storage, file) as source_file, fresh.open("wb") as written:
        proven = _Proven(source_file, file)
        shutil.copyfileobj(proven, written, MIB)
        proven.end()
    fresh.chmod(_MODE)
    fresh.rename(target)


def _opened(storage: Storage, file: StoredFile) -> BinaryIO:
    try:
        return storage.open(file.sha256)
    except FileNotFoundError:
        raise WorkFailed(f"{shown(file.relative_path)!r} is gone from the storage; see pulpit check.") from None


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, _MODE
    return member


class _Proven(io.RawIOBase):
    """Reads a file to its end and verifies it."""

    def __init__(self, source: Any, file: StoredFile) -> None:
        super().__init__()
        self._source: Final = source
        self._file: Final = file
        self._hash: Final = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._source.read(size)
        self._hash.update(piece)
        self._size += len(piece)
        return piece

    def end(self) -> None:
        """Reject a file with another size or checksum.

        Raises:
            WorkFailed: it differs.
        """
        if self._size != self._file.size or self._hash.hexdigest() != self._file.sha256:
            raise WorkFailed(f"{shown(self._file.relative_path)!r} is damaged: its size or checksum is another.")
