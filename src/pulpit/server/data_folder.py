"""The data folder: created private, locked by one server at a time, and given a name."""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError, PulpitError, StorageFull
from pulpit.store.servers import Instance

OLD_WORKERS_GONE_WITHIN: Final = 10.0
"""Seconds for which a new server waits for the workers of a dead one."""
_KEY: Final = "[server] data_dir"
_SEVERAL: Final = (
    "Each of several servers has a folder of its own; they share a PostgreSQL ([database] url) and a storage "
    "([storage] url)."
)
NAME_FILE: Final = "node"
_OURS: Final = frozenset({NAME_FILE, "server.lock", "pulpit.db", "broker"})
"""Any of these identifies a folder as Pulpit's."""
_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def prepare(data_dir: Path) -> None:
    """Create the folder with mode 0700; files created in it later are private too.

    Raises:
        ConfigurationError: it cannot be created or belongs to another user.
    """
    os.umask(0o077)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data_dir.stat()
        if found.st_uid != os.geteuid():
            raise ConfigurationError(_KEY, f"{data_dir} belongs to another user.")
        if found.st_mode & _OF_OTHERS:
            names = {path.name for path in data_dir.iterdir()} - {"lost+found"}
            if names and not names & _OURS:  # never change the mode of /tmp or a home folder by mistake
                raise ConfigurationError(
                    _KEY, f"{data_dir} holds other files; name an empty folder, or one to be made."
                )
            data_dir.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(_KEY, f"{data_dir} cannot be used ({error.strerror}).") from None


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Be the only server of this folder; the lock is released with the process, however it dies.

    Raises:
        ConfigurationError: another server runs here.
    """
    with _open(data_dir / "server.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(_KEY, f"another server is running in {data_dir}. {_SEVERAL}") from None
        _await_old_workers(data_dir)
        yield


def check_own(data_dir: Path) -> None:
    """Reject a missing folder, or another user's: the server could not open files that root creates in it.

    Raises:
        ConfigurationError: the folder cannot be read.
    """
    try:
        owner = data_dir.stat().st_uid
    except OSError as error:
        raise ConfigurationError(_KEY, f"{data_dir} cannot be used ({error.strerror}).") from None
    if owner != os.geteuid():
        raise ConfigurationError(_KEY, f"{data_dir} belongs to another user; do this as its user.")


def is_served(data_dir: Path) -> bool:
    with _open(data_dir / "server.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def worked_in(data_dir: Path) -> Iterator[None]:
    """Register as a worker in this folder, so that a restarting server waits until this process has ended."""
    with _open(data_dir / "workers.lock") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def instance(data_dir: Path) -> Instance:
    """Return the identity of this process and its folder: a copy of the folder has another identity.

    The name is the host's, with a suffix that stays the same over restarts.

    Raises:
        StorageFull: the suffix cannot be written.
    """
    path = data_dir / NAME_FILE
    if not path.exists():
        write_secret(path, secrets.token_hex(3))
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        machine = socket.gethostname()
    found = data_dir.stat()
    return Instance(
        node=f"{socket.gethostname()}-{path.read_text(encoding='ascii')}",
        id=secrets.token_hex(8),
        home=f"{machine}:{found.st_dev}:{found.st_ino}",
    )


def write_secret(path: Path, text: str) -> None:
    """Write a file with mode 0600, atomically.

    Raises:
        StorageFull: the disk is full.
        ConfigurationError: the folder is not writable.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> PulpitError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"The disk of {path} is full; make room and try again.")
    return ConfigurationError(_KEY, f"{path} cannot be written ({error.strerror}).")


def _await_old_workers(data_dir: Path) -> None:
    """Wait for a killed server's workers, which end by themselves, so that their writes do not mix with new ones."""
    deadline = time.monotonic() + OLD_WORKERS_GONE_WITHIN
    with _open(data_dir / "workers.lock") as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > deadline:
                raise ConfigurationError(_KEY, f"a worker of an earlier server still runs in {data_dir}; end it first.")
            time.sleep(0.05)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield file
    finally:
        os.close(file)
