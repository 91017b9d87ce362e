"""Checks by `pulpit doctor` of the storage of published files: does it exist, is it Pulpit's, does it accept a file."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError, PulpitError
from pulpit.server.doctor_machine import Finding, Installation, problem, warning, well
from pulpit.settings import StorageSettings
from pulpit.storage.opening import open_storage
from pulpit.storage.port import Storage

ENOUGH_ROOM: Final = 5 * 2**30
"""Bytes that should be free in a shared folder."""
FULL: Final = 200 * 2**20
_PROBE_BYTES: Final = 64
_SERVE: Final = "Syncs, publishes and downloads go on by themselves when it is back."


def check_storage(installation: Installation) -> Iterator[Finding]:
    """Check that the shared storage can be reached, read and written with the configured credentials."""
    settings = installation.settings.storage
    if not settings.url:
        yield well("storage", f"Files are in {installation.settings.data_dir / 'content'}, for this server alone.")
        return
    if settings.credentials_file and not Path(settings.credentials_file).exists():
        yield problem("storage", f"There is no {settings.credentials_file}.", "Correct [storage] credentials_file.")
        return
    with tempfile.TemporaryDirectory() as folder:  # instead of the cache, which belongs to the server's user
        yield from _of_shared(settings, Path(folder))
    if "://" not in settings.url and Path(settings.url).is_dir():
        yield from _room(Path(settings.url))


def _of_shared(settings: StorageSettings, scratch: Path) -> Iterator[Finding]:
    try:
        storage = open_storage(settings, scratch)
        storage.identity()
    except ConfigurationError as error:
        yield problem("storage", str(error), "Correct this key; the server does not start with it.")
        return
    except (PulpitError, OSError) as error:
        yield from _away(settings, error)
        return
    yield well("storage", f"{settings.url} is there and is one of Pulpit's.")
    yield from _takes_a_file(settings.url, storage)


def _away(settings: StorageSettings, error: Exception) -> Iterator[Finding]:
    """Distinguish a place that was never used from an unavailable one."""
    folder = Path(settings.url)
    is_folder = "://" not in settings.url
    if is_folder and (not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))):
        parent = folder if folder.exists() else folder.parent
        if not os.access(parent, os.W_OK | os.X_OK):
            yield problem("storage", f"{parent} cannot be written by this user.", f"Give it to the user of {folder}.")
            return
        sentence = f"{folder} is empty: nothing was ever put there, or what should be mounted is not."
        yield warning("storage", sentence, "Before the first start that is right; later, mount it.")
        return
    yield problem("storage", str(error), f"Correct [storage], or bring it back. {_SERVE}")


def _takes_a_file(shown: str, storage: Storage) -> Iterator[Finding]:
    """Write a small file, read it, remove it."""
    content = os.urandom(_PROBE_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        storage.prepare()
        try:
            storage.put_bytes(content, sha256)
            storage.flush([sha256])
            with storage.open(sha256) as file:
                is_same = file.read() == content
        finally:
            storage.remove([sha256])
    except (PulpitError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        sentence = f"{shown} does not take a file and give it back: {reason.rstrip('.')}."
        yield problem("storage", sentence, "Let this server's user, or its credentials, read, write and remove there.")
        return
    if is_same:
        yield well("storage", "It took a file, gave it back and removed it.")
    else:
        yield problem("storage", f"{shown} gave back another file than it took.", "Look at it with its own tools.")


def _room(folder: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    free = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB are free in {folder}."
    room = "Make room: `pulp-admin orphan remove --all` removes files that no repository has any more."
    if usage.free < FULL:
        yield problem("storage", free, room)
    elif usage.free < ENOUGH_ROOM:
        yield warning("storage", free, room)
    else:
        yield well("storage", free)
