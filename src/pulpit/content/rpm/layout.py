"""A published yum repository: links to the packages, and newly written metadata."""

import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, BinaryIO, Final
from xml.parsers import expat

from pulpit.content.limits import KIB
from pulpit.content.port import Config, Content, StoredUnit, Tree
from pulpit.content.rpm import comps, modules, packages, repomd, treeinfo, updateinfo
from pulpit.content.rpm.blocks import not_well_formed
from pulpit.content.rpm.elements import text_of
from pulpit.content.rpm.package_lists import XML, PackageLists
from pulpit.content.rpm.repomd import FILE, Written
from pulpit.content.rpm.signing import Signer
from pulpit.content.rpm.sqlite_lists import SqliteLists, pack, sqlite_lists

KEY_FILE: Final = "RPM-GPG-KEY"
_LEVEL: Final = 6
_WORTH_PACKING: Final = 128 * KIB


def lay_out(content: Content, tree: Tree, config: Config, signer: Signer | None, moment: int) -> None:
    """Write the whole repository; `moment` (seconds) becomes its revision."""
    _Publishing(content, tree, config, signer).everything(moment)


class _Publishing:
    def __init__(self, content: Content, tree: Tree, config: Config, signer: Signer | None) -> None:
        self._content: Final = content
        self._tree: Final = tree
        self._kind: Final = config.get("checksum_type") or "sha256"
        self._packages_kind: Final[str | None] = config.get("checksum_type")
        self._skipped: Final = repomd.skipped_types(config.get("skip"))
        self._key: Final[str | None] = config.get("gpgkey")
        self._signer: Final = signer
        self._signing_key: Final[str | None] = config.get("gpg_key_id")
        self._with_sqlite: Final = bool(config.get("generate_sqlite"))
        self._written: Final[list[Written]] = []
        self._errata_kind: Final[str | None] = config.get("updateinfo_checksum_type")
        self._files: Final[dict[str, str]] = {}
        """SHA-256 of packages by file name, if there are errata, which name packages."""

    def everything(self, moment: int) -> None:
        if treeinfo.DISTRIBUTION not in self._skipped:
            for unit in self._content.of(treeinfo.DISTRIBUTION):
                for file in unit.files:
                    self._tree.link(file.relative_path, file)
                name, text = treeinfo.published(unit)
                with self._tree.write(name) as target:
                    target.write(text.encode())
        self._packages()
        ends = f"{XML}<updates>\n", "</updates>\n"
        self._list("updateinfo", "updateinfo.xml", [updateinfo.ERRATUM], ends, self._erratum)
        self._list("modules", "modules.yaml", modules.TYPES, ("", ""), lambda unit: modules.canonical(text_of(unit)))
        self._list("group", "comps.xml", comps.TYPES, (comps.HEAD, "</comps>\n"))
        if FILE not in self._skipped:
            for unit in self._content.of(FILE):
                self._file(unit)
        if self._key:
            with self._tree.write(KEY_FILE) as target:
                target.write(self._key.encode())
        files = {repomd.NAME: repomd.document(moment, self._written).encode()}
        if self._signer:
            signed = self._signer.sign(files[repomd.NAME], repomd.NAME.rpartition("/")[2], self._signing_key)
            files |= {f"{repomd.NAME}.asc": signed.signature, f"{repomd.NAME}.key": signed.public_keys}
        for path, data in files.items():
            with self._tree.write(path) as target:
                target.write(data)

    def _packages(self) -> None:
        with ExitStack() as stack:
            databases = stack.enter_context(sqlite_lists()) if self._with_sqlite else None
            lists = PackageLists(
                self._content,
                self._tree,
                [type_id for type_id in packages.TYPES if type_id not in self._skipped],
                kind=self._kind,
                packages_kind=self._packages_kind,
                also=databases.add if databases else None,
            )
            self._written.extend(lists.lay_out())
            if databases:
                self._databases(databases)
        if self._content.counts.get(updateinfo.ERRATUM):
            self._files.update(lists.sha256s())

    def _databases(self, databases: SqliteLists) -> None:
        for xml in tuple(self._written):
            path = databases.finish(xml.type, xml.digest)
            draft, algorithm = f"repodata/{xml.type}.sqlite.bz2", repomd.ALGORITHMS[self._kind]
            with self._tree.write(draft) as file:
                packed = _Counted(file, algorithm)
                pack(path, packed)
            with path.open("rb") as plain:
                open_digest = hashlib.file_digest(plain, algorithm).hexdigest()
            self._finished(f"{xml.type}_db", draft, packed, open_digest, path.stat().st_size)

    def _erratum(self, unit: StoredUnit) -> str:
        """Return an erratum with the packages that the repository holds, and checksums of the configured type."""
        text = updateinfo.narrowed(unit, self._holds, self._holds_module)
        if text is None or not self._errata_kind:
            return f"{text}\n" if text else ""
        algorithm = repomd.ALGORITHMS[self._errata_kind]

        def digest(name: str) -> str | None:
            """Return a package's checksum, or `None` if it is not in the repository."""
            sha256 = self._files.get(name)
            if sha256 is None or algorithm == "sha256":
                return sha256
            return self._tree.checksum(sha256, algorithm)

        return f"{updateinfo.with_sums(text, self._errata_kind, digest)}\n"

    def _holds(self, package: Mapping[str, Any]) -> bool:
        key = {**package, "epoch": package["epoch"] or "0"}
        return package["filename"] in self._files or packages.slot(key) in self._held_packages

    def _holds_module(self, module: Mapping[str, Any]) -> bool:
        return tuple(module.get(part) for part in modules.KEY) in self._held_modules

    @cached_property
    def _held_packages(self) -> frozenset[str]:
        """Name, version and so on of all packages, read if an erratum has files of other names."""
        return frozenset(packages.slot(key) for key in self._content.keys(*packages.TYPES))

    @cached_property
    def _held_modules(self) -> frozenset[tuple[str | None, ...]]:
        keys = self._content.keys(modules.MODULE)
        return frozenset(tuple(key.get(part) for part in modules.KEY) for key in keys)

    def _list(
        self,
        kind: str,
        name: str,
        type_ids: Iterable[str],
        ends: tuple[str, str],
        piece: Callable[[StoredUnit], str] = lambda unit: f"{text_of(unit)}\n",
    ) -> None:
        """Write a list of elements, unless all types are skipped; as in Pulp 2, one without elements is there, too."""
        type_ids = [type_id for type_id in type_ids if type_id not in self._skipped]
        if not type_ids:
            return
        with self._new_list(kind, name) as write:
            write(ends[0])
            for unit in self._content.of(*type_ids):
                write(piece(unit))
            write(ends[1])

    def _file(self, unit: StoredUnit) -> None:
        """Copy a list that Pulpit does not generate."""
        (file,) = unit.files
        path = f"repodata/{file.sha256}-{file.relative_path}"
        self._tree.link(path, file)
        algorithm = repomd.ALGORITHMS[self._kind]
        digest = file.sha256 if algorithm == "sha256" else self._tree.checksum(file.sha256, algorithm)
        kind = unit.key["data_type"]
        self._written.append(Written(type=kind, path=path, algorithm=self._kind, digest=digest, size=file.size))

    @contextmanager
    def _new_list(self, kind: str, name: str) -> Iterator[Callable[[str], None]]:
        """Yield a function that writes text to a compressed list, which is named by its checksum at the end."""
        draft = f"repodata/{name}.gz"
        algorithm = repomd.ALGORITHMS[self._kind]
        with self._tree.write(draft) as file:
            packed = _Counted(file, algorithm)
            with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=packed, mtime=0) as packing:
                plain = _Counted(packing, algorithm, proof=None if name.endswith(".yaml") else _Proof(name))
                yield plain.text
                plain.end()
        self._finished(kind, draft, packed, plain.digest(), plain.size)

    def _finished(self, kind: str, draft: str, packed: "_Counted", open_digest: str, open_size: int) -> None:
        """Name a list by its checksum, and add it to `repomd.xml`."""
        digest = packed.digest()
        path = f"repodata/{digest}-{draft.rpartition('/')[2]}"
        self._tree.rename(draft, path)
        self._written.append(
            Written(
                type=kind,
                path=path,
                algorithm=self._kind,
                digest=digest,
                size=packed.size,
                open_digest=open_digest,
                open_size=open_size,
            )
        )


class _Counted:
    """Counts and hashes the bytes that pass through; text is buffered until `flush`."""

    def __init__(self, target: BinaryIO | gzip.GzipFile, algorithm: str, proof: "_Proof | None" = None) -> None:
        self._target: Final = target
        self._proof: Final = proof
        self._hash: Final = hashlib.new(algorithm)
        self._waiting: Final[list[str]] = []
        self._length = 0
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._target.write(data)
        if self._proof:
            self._proof.read(data)
        return len(data)

    def text(self, text: str) -> None:
        self._waiting.append(text)
        self._length += len(text)
        if self._length >= _WORTH_PACKING:
            self.flush()

    def flush(self) -> None:
        """Pass on the buffered text."""
        if self._waiting:
            self.write("".join(self._waiting).encode())
            self._waiting.clear()
            self._length = 0

    def end(self) -> None:
        self.flush()
        if self._proof:
            self._proof.read(b"", last=True)

    def digest(self) -> str:
        return self._hash.hexdigest()


class _Proof:
    """Parses a list while it is written, so that clients never get one that is not well-formed."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._parser: Final = expat.ParserCreate()

    def read(self, data: bytes, *, last: bool = False) -> None:
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise not_well_formed(self._name, error) from None
