"""The storage port: files named by their SHA-256, visible only when they are complete.

Every method blocks, so call it in a thread, except `put_bytes` and `put` where the adapter says that they return at
once. A file counts once the database records it; a file that it does not know (its download was not committed before
a crash) is `verified` before it is used.
"""

from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A stored file; `age` in seconds, from the storage's clock to this machine's."""

    sha256: str
    size: int
    age: float


class Storage(Protocol):
    """The place where files are stored."""

    @property
    def is_shared(self) -> bool:
        """Whether servers on other machines see the same files."""

    def begin(self) -> None:
        """Initialise the place, if needed; call it only while no file in it is recorded.

        Raises:
            OSError: it cannot be used.
            StorageUnavailable: it does not respond.
        """

    def prepare(self) -> None:
        """Prepare for storing files.

        Raises:
            OSError: it cannot be used.
            StorageUnavailable: it does not respond, or was never initialised, such as an empty mount point.
        """

    def identity(self) -> str:
        """Return the identity of a shared place, the same for every server; empty for a folder of one server.

        Raises:
            StorageUnavailable: it does not respond, or was never initialised.
        """

    def has(self, sha256: str, size: int) -> bool:
        """Whether a file is stored with this size."""

    def present(self, files: Collection[tuple[str, int]]) -> set[str]:
        """Return the SHA-256 of those files (SHA-256, size) that are stored with their sizes."""

    def size(self, sha256: str) -> int | None:
        """Return the size of a file, `None` if it is not stored."""

    def may_hold(self, sha256: str) -> bool:
        """Whether interrupted work may have left an unrecorded file here; asks this machine only."""

    def verified(self, sha256: str) -> int | None:
        """Return the size of a file after reading and verifying it; a damaged one is removed."""

    def open(self, sha256: str) -> BufferedReader:
        """Open a file for reading.

        Raises:
            FileNotFoundError: it does not exist.
        """

    def local(self, sha256: str) -> Path:
        """Return the path of a local copy, for programs that need one; it must not be written to.

        Raises:
            FileNotFoundError: it does not exist.
        """

    def at_hand(self, sha256: str, size: int) -> Path | None:
        """Return the path of a file for an HTTP client; `None` if it is remote and better streamed.

        Raises:
            FileNotFoundError: it does not exist.
        """

    async def stream(self, sha256: str, size: int, start: int, end: int) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` to before `end` of a file of `size` bytes, after checking that it exists.

        Raises:
            FileNotFoundError: it does not exist, or has another size.
            StorageUnavailable: it is unavailable; later errors, also wrong content, are raised by the iterator.
        """

    async def redirected(self, sha256: str, expires_in: timedelta) -> str | None:
        """Return a signed URL for a file; `None` if clients are not redirected."""

    def put(self, path: Path, sha256: str) -> None:
        """Take a finished, verified file of the scratch folder, removing it from there.

        It is visible to others at once, or after `flush`.
        """

    def put_bytes(self, content: bytes, sha256: str) -> None:
        """The same for a small file in memory."""

    def flush(self, sha256s: Collection[str]) -> None:
        """Return when files that were put are visible to everybody and durable.

        Raises:
            OSError: it failed.
            StorageUnavailable: the storage did not accept them.
        """

    def remove(self, sha256s: Collection[str]) -> None:
        """Remove files, if they exist."""

    def names(self, prefix: str) -> Iterator[Kept]:
        """Yield the files whose SHA-256 has this prefix (two digits), in no order; others are ignored."""

    def sweep(self, older_than: float) -> int:
        """Remove unfinished writes of killed processes older than so many seconds; return how many."""
