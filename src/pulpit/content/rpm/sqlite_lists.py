"""The package lists as SQLite databases, which old versions of yum read faster than XML."""

import bz2
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from pulpit.content.limits import MIB
from pulpit.content.rpm.lists import createrepo
from pulpit.content.rpm.packages import Entries
from pulpit.errors import WorkFailed
from pulpit.text import shown


class Target(Protocol):
    """A writable target."""

    def write(self, data: bytes, /) -> Any:
        """Write all of them."""


class SqliteLists:
    """Three databases that are filled package by package."""

    def __init__(self, folder: Path, opened: Mapping[str, Any]) -> None:
        self._folder: Final = folder
        self._opened: Final = opened

    def add(self, entries: Entries) -> None:
        """Add a package with its published entries."""
        cr, found = createrepo(), list[Any]()
        cr.xml_parse_primary_snippet(entries.primary, pkgcb=found.append, do_files=0)
        (package,) = found

        def same(*_: object) -> Any:
            return package

        cr.xml_parse_filelists_snippet(entries.filelists, newpkgcb=same)
        cr.xml_parse_other_snippet(entries.other, newpkgcb=same)
        for database in self._opened.values():
            database.add_pkg(package)

    def finish(self, kind: str, list_digest: str) -> Path:
        """Finish one of them with the checksum of the corresponding XML list; return its path."""
        self._opened[kind].dbinfo_update(list_digest)
        self._opened[kind].close()
        return self._folder / f"{kind}.sqlite"


@contextmanager
def sqlite_lists() -> Iterator[SqliteLists]:
    """Yield new temporary databases.

    Raises:
        WorkFailed: they cannot be written.
    """
    cr = createrepo()
    with tempfile.TemporaryDirectory(prefix="pulpit-sqlite-") as name:
        folder = Path(name)
        try:
            kinds = {"primary": cr.PrimarySqlite, "filelists": cr.FilelistsSqlite, "other": cr.OtherSqlite}
            yield SqliteLists(folder, {kind: make(str(folder / f"{kind}.sqlite")) for kind, make in kinds.items()})
        except cr.CreaterepoCError as error:
            raise WorkFailed(f"The SQLite lists could not be written: {shown(str(error))}.") from None


def pack(source: Path, target: Target) -> None:
    """Compress a database by bzip2, as yum expects it."""
    packer = bz2.BZ2Compressor()
    with source.open("rb") as plain:
        while piece := plain.read(MIB):
            target.write(packer.compress(piece))
    target.write(packer.flush())
