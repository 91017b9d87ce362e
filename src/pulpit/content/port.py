# SPDX-License-Identifier: Apache-2.0
"""What a content type is: the port behind which files, yum, Python and plug-ins stand.

A content type says how its configuration must look, reads an upstream into a catalogue of units, and lays out what is
published. It opens no socket and no database and moves no published tree: `pulpit.repositories` does that, the same way
for all, with the values of this module.
"""

from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from pulpit.clock import Clock
from pulpit.content.limits import Limits
from pulpit.errors import WorkFailed
from pulpit.ids import object_id
from pulpit.store import changes, units

Config = Mapping[str, Any]
T = TypeVar("T")
StoredFile = units.StoredFile
LocalFile = Callable[[], Path]
"""Returns where a file can be read here, fetching it first if it lies elsewhere: call it only if bytes are needed."""
Description = changes.Description


class BadFeed(WorkFailed):
    """The upstream's list cannot be used: it is malformed, too large, or names what must not be named."""


class NotThere(WorkFailed):
    """The upstream says that there is nothing at a URL."""


class NotForUs(WorkFailed):
    """The upstream lets us not have what is at a URL; object stores say so too of what is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checksum:
    """What a file's bytes must hash to; `algorithm` as `hashlib` knows it, `digest` in lower-case hexadecimal."""

    algorithm: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedFile:
    """A file of a unit at the upstream; further `urls` are mirrors of the first."""

    relative_path: str
    urls: tuple[str, ...]
    checksum: Checksum
    size: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedUnit:
    """A unit that the upstream has.

    `key` is what makes it itself: two units of one type and key are one. Of the units of one type with one `slot`, a
    repository holds a single one, and a new one takes the place of the old; `None` competes with nothing. Two units of
    one catalogue must not have one slot. `detail` is what the content type needs to publish the unit and nobody
    searches. One that is wanted `only_if_held` is passed over by a repository that does not hold it: the upstream has
    withdrawn it.
    """

    type_id: str
    key: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[WantedFile, ...]
    slot: str | None = None
    detail: bytes = b""
    only_if_held: bool = False
    instead: "WantedUnit | None" = None
    """Another unit of the same slot, for when the upstream has a file of this one no more."""
    way_past: str = ""
    """A sentence that tells how to do without the unit, for when a file of it cannot be had."""
    withdrawal: "Withdrawal | None" = None
    """How the upstream takes the unit back while it still lists it; whoever held it before is told so, once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """How an upstream takes back what it has given: `yanked`, `quarantined`; `reason` is its own word, or empty."""

    how: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """An entry of an upstream's list that cannot be used and is not taken; the rest is.

    What a repository holds in its slot stays, whatever else the upstream dropped.
    """

    name: str
    reason: str
    slot: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """All that an upstream has; `batches` is read once, in a thread, and may be made as it is read."""

    unit_count: int
    byte_count: int
    batches: Iterable[Sequence[WantedUnit]]
    memory: dict[str, Any]
    """What `read` is handed next time if this sync succeeds, so that it can tell an unchanged upstream; JSON."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Units by type, for content types that report them so."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Files by type of their unit, for types of which one unit has many."""
    left_out: Sequence[LeftOut] = ()
    """What is named in the report because it could not be taken."""
    proves_empty: bool = False
    """Whether an upstream that has nothing says so itself: by a list that is whole and announces none.

    Otherwise a repository that holds something is not emptied without `allow_empty`.
    """
    keeps: Callable[["StoredUnit"], bool] | None = None
    """Which held units stay although the catalogue has them not: the upstream's word on them could not be read."""
    withdrawn: Callable[["StoredUnit"], Withdrawal | None] | None = None
    """Of which units, held and not in the catalogue, the upstream says that it takes them back; they are to be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredUnit:
    """A unit with all its files kept."""

    id: str
    type_id: str
    key: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[StoredFile, ...]
    detail: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A fetched list; the file is gone when the sync ends. `url` is where redirects led to."""

    path: Path
    url: str
    sha256: str
    size: int
    etag: str | None
    last_modified: str | None
    media_type: str = ""
    """Without parameters, in lower case."""

    @property
    def memory(self) -> dict[str, Any]:
        """What tells next time whether it is still the same."""
        return {"sha256": self.sha256, "etag": self.etag, "last_modified": self.last_modified}


class Upstream(Protocol):
    """The feed's server, as a content type may use it."""

    @property
    def feed(self) -> str:
        """The configured URL, ending in a slash."""

    @property
    def limits(self) -> Limits:
        """What the upstream may cost."""

    async def fetch(
        self,
        url: str,
        *,
        most: int,
        checksum: Checksum | None = None,
        known: Mapping[str, Any] | None = None,
        accept: str | None = None,
    ) -> Document | None:
        """Fetch a list of at most `most` bytes; `None` if it is still the one of `known` (`etag`, `last_modified`).

        `accept` is the header of this name.

        Raises:
            NotThere: the server says that there is nothing at the URL.
            NotForUs: the server says that we must not have it.
            WorkFailed: it cannot be had; the text names the URL and says why.
        """

    def scratch(self) -> Path:
        """A path for a file that is gone when the sync ends; nothing is there yet."""

    async def together(self, work: Sequence[Coroutine[None, None, None]]) -> None:
        """Do all of the work, as much at once as there may be downloads; the first failure ends the rest.

        Raises:
            BaseException: what the work raised.
        """

    async def aside(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread."""


class Tree(Protocol):
    """A publication that is being made, out of everybody's sight. Paths are relative and checked again."""

    def link(self, relative_path: str, file: StoredFile) -> None:
        """Place a kept file, whatever path it is known by.

        Raises:
            WorkFailed: the path is taken, or lies beneath a file.
        """

    def link_lines(self, lines: Collection[str]) -> None:
        """Place many kept files, each as `path TAB SHA-256 TAB size`; those of the last publication cost least.

        Raises:
            WorkFailed: as above.
        """

    def write(self, relative_path: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file.

        Raises:
            WorkFailed: as above.
        """

    def rename(self, old: str, new: str) -> StoredFile:
        """Give a written file another name, and return it.

        Raises:
            WorkFailed: as above.
        """

    def checksum(self, sha256: str, algorithm: str) -> str:
        """Another checksum of a kept file, which is read for it.

        Raises:
            WorkFailed: it is gone.
        """

    def open(self, sha256: str) -> BinaryIO:
        """Open a kept file.

        Raises:
            FileNotFoundError: it is gone.
        """

    def remembered(self) -> bytes | None:
        """What the publication remembers that readers find at the place now; `None` if all is to be made anew."""

    def remember(self, memory: bytes) -> None:
        """Keep what the next publication may be made out of."""


class Content(Protocol):
    """What a repository holds, as one snapshot."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many units of each type; a type without any may be absent."""

    def of(self, *type_ids: str) -> Iterator[StoredUnit]:
        """The units of these types, type by type, read as they are taken."""

    def versions(self, type_id: str) -> list[str]:
        """`ID TAB VERSION` of each unit of a type in the order of `of`: another text once the unit has changed."""

    def files(self, unit_ids: Sequence[str]) -> Iterator[tuple[StoredFile, ...]]:
        """The files of each of some units, in this order, read as they are taken."""

    def details(self, unit_ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Key and detail of each of some units, in this order, read as they are taken."""

    def laid_out(self, type_id: str, count: int) -> None:
        """Count units that were laid out without being taken from `of`."""


class Phase(StrEnum):
    """How far a sync or publish is; each goes on to one below it, the last four are ends."""

    NOT_STARTED = "not_started"
    METADATA = "metadata"
    CONTENT = "content"
    METADATA_FAILED = "metadata_failed"
    CONTENT_FAILED = "content_failed"
    CANCELLED = "cancelled"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFailure:
    """A file that could not be had, and why in one sentence."""

    name: str
    url: str
    error: str


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far the work is, in words that fit every content type; each makes its own report of it."""

    clock: Clock
    id: str = field(default_factory=object_id)
    """Made up; for reports whose parts must have names that nothing else has."""
    phase: Phase = Phase.NOT_STARTED
    phase_times: dict[Phase, datetime] = field(default_factory=dict)
    error_message: str | None = None
    units_total: int = 0
    units_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    """Units by type, where the content type counts them so."""
    done: dict[str, int] = field(default_factory=dict)
    files_total: dict[str, int] = field(default_factory=dict)
    """Files by type of their unit, where the content type counts them so."""
    files_done: dict[str, int] = field(default_factory=dict)
    failures: list[FileFailure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.enter(self.phase)

    def enter(self, phase: Phase) -> None:
        """Go on to a phase."""
        self.phase = phase
        self.phase_times[phase] = self.clock()

    def unit_done(self, type_id: str) -> None:
        """Count a unit."""
        self.units_came(type_id, 1)

    def units_came(self, type_id: str, count: int) -> None:
        """Count units of a type."""
        self.units_done += count
        self.done[type_id] = self.done.get(type_id, 0) + count

    def files_came(self, type_id: str, count: int) -> None:
        """Count files of a unit of that type, if they are counted."""
        if type_id in self.files_total:
            self.files_done[type_id] = self.files_done.get(type_id, 0) + count


class ContentType(Protocol):
    """A kind of repository. A class that inherits from this leaves out what has a body here and does not concern it."""

    @property
    def importer_type_id(self) -> str:
        """The importer's type and id, as in Pulp 2: `iso_importer`."""

    @property
    def distributor_type_ids(self) -> Sequence[str]:
        """The types of its distributors, the one that publishes first: `iso_distributor`.

        Those behind it are taken along for clients that always create them; they publish nothing.
        """

    @property
    def unit_type_ids(self) -> Sequence[str]:
        """The types of its units."""

    @property
    def published_under(self) -> str:
        """The first part of its published paths: `isos`."""

    def check_importer_config(self, config: Config) -> None:
        """Refuse a configuration that cannot work.

        Raises:
            InvalidValue: the named keys must be given other values.
        """

    def check_distributor_config(self, config: Config) -> None:
        """Refuse a configuration that cannot work.

        Raises:
            InvalidValue: the named keys must be given other values.
        """

    def signed_by(self, config: Config) -> str | None:
        """What tells with which key the lists of such a distributor are signed, or `None`: another one makes them anew.

        Raises:
            PulpitError: the key cannot be read.
        """
        del config
        return None

    def relative_url(self, repo_id: str, config: Config) -> str:
        """Where a distributor of this configuration publishes, beneath `published_under`."""

    async def read(self, upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
        """Read what the upstream has; `None` if it is what `memory` says.

        Raises:
            BadFeed: the list cannot be used.
            WorkFailed: it cannot be had.
        """

    def flaw(self, unit: WantedUnit, local: LocalFile, config: Config) -> str | None:
        """Why a file that came whole is still not taken, as the end of a sentence, or `None`; called in threads."""
        del unit, local, config
        return None

    def described(self, unit: WantedUnit, files: Sequence[LocalFile], known: Mapping[str, Any] | None) -> WantedUnit:
        """The unit with what only its files tell, which came whole and are taken; called in threads.

        `known` is the metadata of a unit that is kept already: what is in files does not change.
        """
        del files, known
        return unit

    def surplus(self, held: Iterator[StoredUnit], config: Config) -> Collection[str]:
        """The ids of units that a repository should let go after a sync; `held` is read only if it is taken."""
        del held, config
        return ()

    def uploaded(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], file: StoredFile, path: Path
    ) -> WantedUnit:
        """The unit that an uploaded file becomes, which can be read at `path`; of files only `relative_path` counts.

        Raises:
            InvalidValue: key and file do not fit each other.
        """

    def written_by_hand(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], path: Path
    ) -> Sequence[WantedUnit] | None:
        """The units that an upload describes and that have no files; `None` if the uploaded file is itself the unit.

        Raises:
            InvalidValue: the description cannot be used.
            UnsupportedValue: it has parts that nobody knows.
        """
        del type_id, key, metadata, path
        return None

    def check_copy_config(self, config: Config) -> None:
        """Refuse options of a copy into such a repository that are not known.

        Raises:
            InvalidValue: an option must have another value.
            UnsupportedValue: nobody knows it.
        """

    def copied_along(
        self, chosen: Sequence[StoredUnit], source: Content, target: Content, config: Config
    ) -> Collection[str]:
        """The ids of further units of the source that a copy of those chosen takes along; called in a thread.

        Raises:
            WorkFailed: that cannot be found out.
        """
        del chosen, source, target, config
        return ()

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """The slot of a unit; see `WantedUnit`."""

    def description(self, type_id: str, key: Config, metadata: Config) -> Description:
        """What events and people call a unit; `metadata` is empty of one that is not there any more."""

    def publish(self, content: Content, tree: Tree, config: Config) -> None:
        """Lay out a tree; called in a thread.

        Raises:
            WorkFailed: the units do not fit into one tree.
        """

    def sync_report(self, progress: Progress) -> Any:
        """A task's `progress_report` of a sync, without the importer's id around it."""

    def publish_report(self, progress: Progress) -> Any:
        """A task's `progress_report` of a publish, without the distributor's id around it."""
