"""Disk operations that keep files whole, private and durable."""

import ctypes
import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pulpit.errors import StorageFull, WorkFailed

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn disk errors into sentences.

    Raises:
        StorageFull: the disk is full.
        WorkFailed: any other disk error.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"The disk is full: {what} could not be written. Make room and try again.") from error
        raise WorkFailed(f"{what} could not be written: {error.strerror or error}.") from error


def unchanged_for(seconds: float, paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that were last written longer ago; one that is removed meanwhile is skipped."""
    for path in paths:
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > seconds:
                yield path


def flush_file_system(folder: Path) -> None:
    """Write all cached data of a folder's file system to disk (syncfs)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable (fsync)."""
    _flush(folder, os.O_RDONLY | os.O_DIRECTORY)


def flush_file(path: Path) -> None:
    """Make the content of a file durable (fsync)."""
    _flush(path, os.O_RDONLY)


def write_all(fd: int, view: memoryview) -> None:
    """Write every byte: on a nearly full disk a write may succeed partially."""
    while view:
        view = view[os.write(fd, view) :]


def _flush(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
