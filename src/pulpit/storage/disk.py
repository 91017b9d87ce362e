"""What is done with files and folders of the disk so that they are whole, private and safe from a loss of power."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pulpit.errors import StorageFull, WorkFailed

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the disk refuses into a sentence.

    Raises:
        StorageFull: there is no room.
        WorkFailed: the disk refuses for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"The disk is full: {what} could not be written. Make room and try again.") from error
        raise WorkFailed(f"{what} could not be written: {error.strerror or error}.") from error


def make_folders(root: Path, relative: str) -> Path:
    """Make a folder beneath another one, and those between, for the server's own eyes."""
    folder = root
    for part in Path(relative).parts:
        folder /= part
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return folder


def flush_file_system(folder: Path) -> None:
    """Write everything that the file system of a folder still holds in memory."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder safe from a loss of power."""
    _flush(folder, os.O_RDONLY | os.O_DIRECTORY)


def flush_file(path: Path) -> None:
    """Make the bytes of a file safe from a loss of power."""
    _flush(path, os.O_RDONLY)


def write_all(fd: int, view: memoryview) -> None:
    """Write every byte: a disk that has room for some of them takes those and says nothing."""
    while view:
        view = view[os.write(fd, view) :]


def _flush(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
