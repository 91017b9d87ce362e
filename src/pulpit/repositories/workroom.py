"""A folder of its own for each piece of work, so that what a dead process left can be told from what is in use.

downloads/<name>.work/      locked while somebody works in it, removed when the work is done
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pulpit.repositories.storage import FOLDER_MODE

SUFFIX: Final = ".work"


@contextmanager
def workroom(downloads: Path) -> Iterator[Path]:
    """A new folder, which is gone with everything in it when the context ends."""
    folder, lock = _locked_folder(downloads)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def abandoned(downloads: Path) -> Iterator[Path]:
    """The folders of dead processes; each is locked until the next one is asked for."""
    for folder in sorted(downloads.glob(f"*{SUFFIX}")):
        lock = _lock(folder)
        if lock is not None:
            try:
                yield folder
            finally:
                os.close(lock)


def sweep(downloads: Path) -> int:
    """Remove what dead processes left, and answer how many there were."""
    count = 0
    for folder in abandoned(downloads):
        shutil.rmtree(folder, ignore_errors=True)
        count += 1
    return count


def _locked_folder(downloads: Path) -> tuple[Path, int]:
    while True:
        folder = downloads / f"{os.urandom(16).hex()}{SUFFIX}"
        folder.mkdir(mode=FOLDER_MODE)
        lock = _lock(folder)
        if lock is None:
            continue  # a sweeper came between making and locking
        if folder.exists():
            return folder, lock
        os.close(lock)


def _lock(folder: Path) -> int | None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
