# SPDX-License-Identifier: Apache-2.0
"""The port that content types implement: files, yum, Python and plug-ins.

A content type validates its configuration, reads an upstream into a catalogue of units, and writes the published tree.
It opens no socket and no database and moves no published tree: `pulpit.repositories` does that, the same way for all,
with the values of this module.
"""

from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from pulpit.content import progress
from pulpit.content.limits import Limits
from pulpit.errors import WorkFailed
from pulpit.store import changes, units

Config = Mapping[str, Any]
T = TypeVar("T")
StoredFile = units.StoredFile
LocalFile = Callable[[], Path]
"""Returns the path of a local copy, downloading it first if needed: call it only if the content is needed."""
Description = changes.Description
Phase = progress.Phase
FileFailure = progress.FileFailure
Progress = progress.Progress


class BadFeed(WorkFailed):
    """The upstream's metadata cannot be used: it is malformed, too large, or contains forbidden names."""


class NotThere(WorkFailed):
    """The upstream says that a URL does not exist."""


class NotForUs(WorkFailed):
    """The upstream denies access to a URL; object stores do so too for missing objects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checksum:
    """A file's expected checksum; `algorithm` as `hashlib` names it, `digest` in lower-case hexadecimal."""

    algorithm: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedFile:
    """A file of a unit on the upstream; further `urls` are mirrors of the first."""

    relative_path: str
    urls: tuple[str, ...]
    checksum: Checksum
    size: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedUnit:
    """A unit that the upstream has.

    `key` is its identity: two units with the same type and key are the same unit. Of the units of one type with the
    same `slot`, a repository holds only one, and a new one replaces the old; `None` replaces nothing. Two units of
    one catalogue must not share a slot. `detail` is data for publishing the unit that is never searched. A unit that
    is wanted `only_if_held` is skipped by a repository that does not hold it: the upstream has withdrawn it.
    """

    type_id: str
    key: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[WantedFile, ...]
    slot: str | None = None
    detail: bytes = b""
    only_if_held: bool = False
    instead: "WantedUnit | None" = None
    """Another unit of the same slot, used if the upstream no longer has a file of this one."""
    way_past: str = ""
    """A sentence that says how to sync without the unit, used if a file of it is unavailable."""
    withdrawal: "Withdrawal | None" = None
    """How the upstream withdraws the unit while still listing it; reported once by repositories that held it before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """How an upstream withdraws a unit: `yanked`, `quarantined`; `reason` is its own text, or empty."""

    how: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """An entry of an upstream that is skipped, because it is invalid or refused; the others are used.

    What a repository holds in its slot stays, whatever else the upstream dropped.
    """

    name: str
    reason: str
    slot: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Everything that an upstream has; `batches` is iterated once, in a thread, and may be lazy."""

    unit_count: int
    byte_count: int
    batches: Iterable[Sequence[WantedUnit]]
    memory: dict[str, Any]
    """State passed to the next `read` if this sync succeeds, to detect an unchanged upstream; JSON."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Units by type, for content types that report them."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Files by type of their unit, for types whose units have many."""
    left_out: Sequence[LeftOut] = ()
    """Skipped entries, for the report."""
    proves_empty: bool = False
    """Whether an empty upstream says so explicitly, by complete metadata that announces no unit.

    Otherwise a repository is not emptied without `allow_empty`.
    """
    keeps: Callable[["StoredUnit"], bool] | None = None
    """Which held units stay though they are not in the catalogue, because their entries were unreadable."""
    withdrawn: Callable[["StoredUnit"], Withdrawal | None] | None = None
    """How the upstream withdrew a held unit that is not in the catalogue; such units must be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredUnit:
    """A unit whose files are all stored."""

    id: str
    type_id: str
    key: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[StoredFile, ...]
    detail: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A downloaded metadata file, deleted when the sync ends. `url` is the final one after redirects."""

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
        """The validators by which a later request can tell whether it changed."""
        return {"sha256": self.sha256, "etag": self.etag, "last_modified": self.last_modified}


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivedDocument:
    """A document that was made for a request."""

    content: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """How a document is made of a published file, for each request: it contains URLs, or answers a question."""

    root: str
    """The part of the path whose URL the document needs."""
    source: str
    """The path of the file."""
    write: Callable[[bytes, str, bytes], DerivedDocument | None]
    """Takes the file's content, the absolute URL of the root and the request's body; `None` if there is no such one."""


class Upstream(Protocol):
    """The feed's server, as a content type sees it."""

    @property
    def feed(self) -> str:
        """The configured URL, ending in a slash."""

    @property
    def limits(self) -> Limits:
        """The limits for this upstream."""

    async def fetch(
        self,
        url: str,
        *,
        most: int,
        checksum: Checksum | None = None,
        known: Mapping[str, Any] | None = None,
        accept: str | None = None,
    ) -> Document | None:
        """Download at most `most` bytes; `None` if it has not changed since `known` (`etag`, `last_modified`).

        `accept` is the header of this name.

        Raises:
            NotThere: the server says that the URL does not exist.
            NotForUs: the server denies access.
            WorkFailed: it is unavailable; the text names the URL and says why.
        """

    def scratch(self) -> Path:
        """Return the path of a temporary file that does not exist yet and is deleted when the sync ends."""

    async def together(self, work: Sequence[Coroutine[None, None, None]]) -> None:
        """Run all of the work, as concurrently as downloads may be; the first failure cancels the rest.

        Raises:
            BaseException: what the work raised.
        """

    async def aside(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread."""


class Tree(Protocol):
    """A publication under construction, not yet visible. Paths are relative and are checked again."""

    def link(self, relative_path: str, file: StoredFile) -> None:
        """Map a path to a stored file, whatever path the file had before.

        Raises:
            WorkFailed: the path is taken, or lies below a file.
        """

    def link_lines(self, lines: Collection[str]) -> None:
        """Map many paths to stored files, each as `path TAB SHA-256 TAB size`; cheapest for unchanged ones.

        Raises:
            WorkFailed: as above.
        """

    def write(self, relative_path: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file.

        Raises:
            WorkFailed: as above.
        """

    def rename(self, old: str, new: str) -> StoredFile:
        """Rename a written file, and return it.

        Raises:
            WorkFailed: as above.
        """

    def checksum(self, sha256: str, algorithm: str) -> str:
        """Return another checksum of a stored file, which is read for it.

        Raises:
            WorkFailed: it is missing.
        """

    def open(self, sha256: str) -> BinaryIO:
        """Open a stored file.

        Raises:
            FileNotFoundError: it is missing.
        """

    def remembered(self) -> bytes | None:
        """Return the state kept by the current publication; `None` if everything must be rebuilt."""

    def remember(self, memory: bytes) -> None:
        """Keep state from which the next publication can be built."""

    def meanwhile(self) -> None:
        """Do other work of the publish, for a content type that would only wait for its threads."""


class Content(Protocol):
    """The content of a repository, as one snapshot."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of units of each type; a type without any may be absent."""

    def of(self, *type_ids: str) -> Iterator[StoredUnit]:
        """Yield the units of these types, type by type, read lazily."""

    def versions(self, type_id: str) -> list[str]:
        """Return `ID TAB VERSION` for each unit of a type in the order of `of`.

        The text changes whenever the unit changes.
        """

    def keys(self, *type_ids: str) -> Iterator[dict[str, Any]]:
        """Yield the keys of the units of these types, in any order."""

    def files(self, unit_ids: Sequence[str]) -> Iterator[tuple[StoredFile, ...]]:
        """Yield the files of each of some units, in this order, read lazily."""

    def details(self, unit_ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield key and detail of each of some units, in this order, read lazily."""

    def laid_out(self, type_id: str, count: int) -> None:
        """Count units that were published without iterating over `of`."""


class ContentType(Protocol):
    """A kind of repository. A subclass may omit the methods that have a body here."""

    @property
    def importer_type_id(self) -> str:
        """The importer's type and id, as in Pulp 2: `iso_importer`."""

    @property
    def distributor_type_ids(self) -> Sequence[str]:
        """The types of its distributors, the one that publishes first: `iso_distributor`.

        The others are accepted for clients that always create them; they publish nothing.
        """

    @property
    def unit_type_ids(self) -> Sequence[str]:
        """The types of its units."""

    @property
    def published_under(self) -> str:
        """The first part of its published paths: `isos`."""

    @property
    def published_form(self) -> int:
        """Raised when the same content is published in another form; publications of a lower one are not up to date."""
        return 1

    def check_importer_config(self, config: Config) -> None:
        """Reject an invalid configuration.

        Raises:
            InvalidValue: the named keys have invalid values.
        """

    def check_distributor_config(self, config: Config) -> None:
        """Reject an invalid configuration.

        Raises:
            InvalidValue: the named keys have invalid values.
        """

    def signed_by(self, config: Config) -> str | None:
        """Return the identity of the key that signs such a distributor's metadata, or `None`; a new one rebuilds all.

        Raises:
            PulpitError: the key cannot be read.
        """
        del config
        return None

    def relative_url(self, repo_id: str, config: Config) -> str:
        """Return where a distributor with this configuration publishes, below `published_under`."""

    async def read(self, upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
        """Read what the upstream has; `None` if it has not changed since `memory`.

        Raises:
            BadFeed: its metadata cannot be used.
            WorkFailed: it is unavailable.
        """

    def flaw(self, unit: WantedUnit, local: LocalFile, config: Config) -> str | LeftOut | None:
        """Say why a complete file is rejected, as the end of a sentence, or return `None`; called in threads.

        A sync fails for a sentence, and goes on without the unit for a `LeftOut`: what the configuration does not want.
        """
        del unit, local, config
        return None

    def described(self, unit: WantedUnit, files: Sequence[LocalFile], known: Mapping[str, Any] | None) -> WantedUnit:
        """Return the unit with metadata from its files, which are complete and accepted; called in threads.

        `known` is the metadata of a unit that is stored already: the content of files does not change.
        """
        del files, known
        return unit

    def surplus(self, held: Iterator[StoredUnit], config: Config) -> Collection[str]:
        """Return the ids of units that a repository should remove after a sync; `held` is read lazily."""
        del held, config
        return ()

    def uploaded(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], file: StoredFile, path: Path
    ) -> WantedUnit:
        """Return the unit for an uploaded file, which is at `path`; of its files only `relative_path` matters.

        Raises:
            InvalidValue: key and file do not match.
        """

    def written_by_hand(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], path: Path
    ) -> Sequence[WantedUnit] | None:
        """Return the units without files that an upload describes; `None` if the uploaded file itself is the unit.

        Raises:
            InvalidValue: the description is invalid.
            UnsupportedValue: it has unknown parts.
        """
        del type_id, key, metadata, path
        return None

    @property
    def merged_type_ids(self) -> Sequence[str]:
        """Return the types of units without files that an upload merges into what is held in the same slot."""
        return ()

    def merged(self, unit: WantedUnit, own: StoredUnit | None, others: Sequence[StoredUnit]) -> WantedUnit:
        """Return what takes the place of an uploaded unit of a merged type and of all these, in every repository.

        At least one unit is given: what the repository of the upload holds in the slot, or other repositories do.
        """
        del own, others
        return unit

    def check_copy_config(self, config: Config) -> None:
        """Reject unknown options of a copy into such a repository.

        Raises:
            InvalidValue: an option has an invalid value.
            UnsupportedValue: an option is unknown.
        """

    def copied_along(
        self, chosen: Sequence[StoredUnit], source: Content, target: Content, config: Config
    ) -> Collection[str]:
        """Return the ids of further units of the source to copy with the selected ones; called in a thread.

        Raises:
            WorkFailed: they cannot be determined.
        """
        del chosen, source, target, config
        return ()

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """Return the slot of a unit; see `WantedUnit`."""

    def description(self, type_id: str, key: Config, metadata: Config) -> Description:
        """Return the name of a unit for events and people; `metadata` is empty for one that no longer exists."""

    def publish(self, content: Content, tree: Tree, config: Config) -> None:
        """Write a tree; called in a thread.

        Raises:
            WorkFailed: the units conflict.
        """

    def respelled(self, path: str) -> str | None:
        """Return how a published tree spells a URL path that nothing is found at; clients are redirected there."""
        del path
        return None

    def derived(self, path: str, method: str) -> Derived | None:
        """Return how the document at a URL path is made at which no file is: for `GET`, or a `POST` with a body."""
        del path, method
        return None

    def sync_report(self, progress: Progress) -> Any:
        """Return a task's `progress_report` of a sync, without the importer's id around it."""

    def publish_report(self, progress: Progress) -> Any:
        """Return a task's `progress_report` of a publish, without the distributor's id around it."""
