"""The packages of a published repository and their three lists, derived from those of the current publication."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby, islice
from typing import Any, Final

from pulpit.content.port import Content, Tree
from pulpit.content.rpm import packages, repomd
from pulpit.content.rpm.blocks import Layout, ListWriter, Opened, PackedList, cut, opened
from pulpit.content.rpm.lists import HEADS, TAILS
from pulpit.content.rpm.packages import Entries
from pulpit.content.rpm.repomd import Written
from pulpit.errors import WorkFailed

XML: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_FORMAT: Final = "1"
"""Increment when the format of a package's entry changes, so that older lists are not reused."""

_PLAIN: Final = 2
"""Slashes in the path of a package that has no folder of its own."""


class PackageLists:
    """The packages of some types, as they are published.

    Args:
        content: the repository's content.
        tree: the tree to write to.
        type_ids: which packages.
        kind: the checksum type of lists.
        packages_kind: the checksum type of packages; `None` keeps the upstream's.
        also: called with the entries of every package, in order; then nothing is reused.

    Raises:
        WorkFailed: the content does not match its counts.
    """

    def __init__(
        self,
        content: Content,
        tree: Tree,
        type_ids: Sequence[str],
        *,
        kind: str,
        packages_kind: str | None,
        also: Callable[[Entries], None] | None,
    ) -> None:
        self._content: Final = content
        self._tree: Final = tree
        self._kind: Final = kind
        self._packages_kind: Final = packages_kind
        self._also: Final = also
        self._recipe: Final = [_FORMAT, packages_kind or "", zlib.ZLIB_RUNTIME_VERSION]
        found = {type_id: content.versions(type_id) for type_id in type_ids}
        self._types: Final = [type_id for type_id, keys in found.items() for _ in keys]
        self._keys: Final = [key for keys in found.values() for key in keys]
        self._ids: Final = [key.partition("\t")[0] for key in self._keys]
        self._lines: Final[list[str]] = []
        self._lists: Final[dict[str, tuple[Written, PackedList]]] = {}
        if len(self._keys) != sum(content.counts.get(type_id, 0) for type_id in type_ids):
            raise WorkFailed("The repository changed while it was published; publish it again.")

    def lay_out(self) -> list[Written]:
        """Write them and return their lists.

        Raises:
            WorkFailed: they cannot be published.
        """
        memory = self._tree.remembered() if self._also is None else None
        earlier = Layout.read(memory) if memory else Layout.nothing()
        packed = opened(self._tree, earlier.lists) if earlier.recipe == self._recipe else None
        if packed is None:
            earlier, packed = Layout.nothing(), {}
        self._lines.extend(self._located(dict(zip(earlier.keys, earlier.lines, strict=True))))
        with ExitStack() as stack:
            writers = {name: stack.enter_context(self._list(name)) for name in HEADS}
            for name, head in HEADS.items():
                writers[name].fresh(f'{XML}{head} packages="{len(self._keys)}">\n', proven=True)
            self._write(writers, earlier, packed)
            self._tree.link_lines(self._lines)  # while the threads of the lists write
            self._tree.meanwhile()
            for name, tail in TAILS.items():
                writers[name].fresh(tail, proven=True, last=True)
        lists = {name: packed_list for name, (_, packed_list) in self._lists.items()}
        layout = Layout(recipe=self._recipe, keys=self._keys, lines=self._lines, lists=lists)
        self._tree.remember(layout.document())
        return [written for written, _ in self._lists.values()]

    def sha256s(self) -> dict[str, str]:
        """Return the SHA-256 of the published packages, by file name."""
        return {path.rpartition("/")[2]: sha256 for path, sha256, _ in (line.split("\t") for line in self._lines)}

    def _located(self, known: Mapping[str, str]) -> Iterator[str]:
        """Yield each package's line in the inventory.

        Its path is `Packages/b/bear-4.1-1.noarch.rpm`; a second package of one file name gets a folder of its own.
        """
        new = self._content.files([key.partition("\t")[0] for key in self._keys if key not in known])
        taken = set[str]()
        for unit_id, line in zip(self._ids, map(known.get, self._keys), strict=True):
            if line is None:
                (file,) = next(new)
                name, rest = file.relative_path, f"{file.sha256}\t{file.size}"
            else:
                path, _, rest = line.partition("\t")
                if path not in taken and path.count("/") == _PLAIN:
                    taken.add(path)
                    yield line
                    continue
                name = path.rpartition("/")[2]
            folder = f"Packages/{name.lstrip('.')[:1].lower()}"  # a name may begin with a dot, but a folder is not one
            location = f"{folder}/{name}"
            if location in taken:
                location = f"{folder}/{unit_id}/{name}"
            taken.add(location)
            yield f"{location}\t{rest}"

    def _write(self, writers: Mapping[str, ListWriter], earlier: Layout, packed: Mapping[str, Opened]) -> None:
        """Write the blocks of all packages."""
        known = {
            (begin, end): earlier.block(self._keys[begin:end], self._lines[begin:end]) for begin, end in cut(self._keys)
        }
        fresh = [one for (begin, end), number in known.items() if number is None for one in self._ids[begin:end]]
        details = self._content.details(fresh)
        for is_fresh, run in groupby(known.items(), lambda block: block[1] is None):
            if not is_fresh:
                ends, numbers = zip(*run, strict=True)
                for name, writer in writers.items():
                    writer.again(packed[name], numbers)
                self._count(ends[0][0], ends[-1][1])
                continue
            for (begin, end), _ in run:
                self._write_block(begin, end, details, list(writers.values()))
                self._count(begin, end)

    def _write_block(
        self, begin: int, end: int, details: Iterator[tuple[dict[str, Any], bytes]], writers: Sequence[ListWriter]
    ) -> None:
        placed = [
            self._placed(line, key, detail)
            for line, (key, detail) in zip(self._lines[begin:end], islice(details, end - begin), strict=True)
        ]
        texts = zip(*((entries.primary, entries.filelists, entries.other) for entries in placed), strict=True)
        for writer, of_packages in zip(writers, texts, strict=True):
            writer.fresh("".join(of_packages))
        if self._also:
            for entries in placed:
                self._also(entries)

    def _placed(self, line: str, key: Mapping[str, Any], detail: bytes) -> Entries:
        """Return the entries of a package with its location, and with another checksum if configured."""
        location, sha256, _ = line.split("\t")
        kind, other = self._packages_kind, None
        if kind is not None and repomd.ALGORITHMS[kind] != key["checksumtype"]:
            algorithm = repomd.ALGORITHMS[kind]
            digest = sha256 if algorithm == "sha256" else self._tree.checksum(sha256, algorithm)
            other = key["checksum"], kind, digest
        return packages.placed(packages.entries(detail), location, other)

    def _count(self, begin: int, end: int) -> None:
        for type_id, count in Counter(self._types[begin:end]).items():
            self._content.laid_out(type_id, count)

    @contextmanager
    def _list(self, kind: str) -> Iterator[ListWriter]:
        """Yield the writer of a list, which is named by its checksum at the end."""
        draft, algorithm = f"repodata/{kind}.xml.gz", repomd.ALGORITHMS[self._kind]
        with self._tree.write(draft) as file:
            writer = ListWriter(f"{kind}.xml", file, algorithm)
            with writer.opened():
                yield writer
        path = f"repodata/{writer.digest}-{kind}.xml.gz"
        sha256 = self._tree.rename(draft, path).sha256
        written = Written(
            type=kind,
            path=path,
            algorithm=self._kind,
            digest=writer.digest,
            size=writer.size,
            open_digest=writer.open_digest,
            open_size=writer.open_size,
        )
        self._lists[kind] = written, PackedList(sha256=sha256, sizes=writer.sizes)
