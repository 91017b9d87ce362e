"""What a storage is: files named by their SHA-256, of which none is there before it is whole.

Every method blocks, so call it in a thread, but for `put_bytes` and `put` where the adapter says that they return at
once. A file counts when the database says so; one that it does not know (its download was not yet committed when the
power went) is `verified` before it is used.
"""

from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A file that a storage holds; `age` in seconds, as the storage's own clock tells it."""

    sha256: str
    size: int
    age: float


class Storage(Protocol):
    """Where the files are."""

    @property
    def is_shared(self) -> bool:
        """Whether servers on other machines see the same files."""

    def begin(self) -> None:
        """Make the place one of ours, if it is not yet; call it only while no file of it can be known.

        Raises:
            OSError: it cannot be used.
            StorageUnavailable: it does not answer.
        """

    def prepare(self) -> None:
        """Make what is needed to take files.

        Raises:
            OSError: it cannot be used.
            StorageUnavailable: it does not answer, or it was never begun: an empty folder where one should be mounted.
        """

    def identity(self) -> str:
        """Tells a shared place from others, however each server comes there; empty for a folder of one server.

        Raises:
            StorageUnavailable: it does not answer, or it was never begun.
        """

    def has(self, sha256: str, size: int) -> bool:
        """Whether a file is there with its size."""

    def present(self, files: Collection[tuple[str, int]]) -> set[str]:
        """The SHA-256 of those files (SHA-256, size) that are there with their sizes."""

    def size(self, sha256: str) -> int | None:
        """How many bytes a file has, `None` if it is not there."""

    def may_hold(self, sha256: str) -> bool:
        """Whether work that broke off may have left a file here that nobody recorded; asks this machine alone."""

    def verified(self, sha256: str) -> int | None:
        """The size of a file that is there and whose bytes were read and are right; another is removed."""

    def open(self, sha256: str) -> BufferedReader:
        """Open a file for reading.

        Raises:
            FileNotFoundError: it is gone.
        """

    def local(self, sha256: str) -> Path:
        """A path on this machine by which a file can be read, for programs that want one; nobody writes there.

        Raises:
            FileNotFoundError: it is gone.
        """

    def at_hand(self, sha256: str, size: int) -> Path | None:
        """The path of a file for a reader who waits; `None` if it lies elsewhere and is better streamed from there.

        Raises:
            FileNotFoundError: it is gone.
        """

    async def stream(self, sha256: str, size: int, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end` of a file of `size` bytes; whether it is there is known on return.

        Raises:
            FileNotFoundError: it is gone, or has another size.
            StorageUnavailable: it cannot be reached; on the way the iterator raises that, or that the file is wrong.
        """

    async def redirected(self, sha256: str, expires_in: timedelta) -> str | None:
        """A URL by which anybody can read a file for a while; `None` if readers are not sent away."""

    def put(self, path: Path, sha256: str) -> None:
        """Take over a finished, verified file of the scratch folder, which is gone from there afterwards.

        Others may see it at once, or after `flush`.
        """

    def put_bytes(self, content: bytes, sha256: str) -> None:
        """The same for a small file in memory."""

    def flush(self, sha256s: Collection[str]) -> None:
        """Return when files that were put are there for everybody and safe from a loss of power.

        Raises:
            OSError: they are not.
            StorageUnavailable: the storage did not take them.
        """

    def remove(self, sha256s: Collection[str]) -> None:
        """Remove files, if they are there."""

    def names(self, prefix: str) -> Iterator[Kept]:
        """The files whose SHA-256 begins so (two digits), in no order; what is not named like one is passed over."""

    def sweep(self, older_than: float) -> int:
        """Remove what killed processes began to put there and never ended, if it is so many seconds old; how many."""
