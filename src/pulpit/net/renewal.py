# SPDX-License-Identifier: Apache-2.0
"""Reloads configured files while a server runs: certificates and passwords need no restart.

A changed file is reloaded once it was the same for two looks, so that a slow write can finish. An invalid file is
reported once, and the earlier content stays in force.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError

LOOK_SECONDS: Final = 2.0
"""Between two looks; a change takes effect after one or two of them."""

_Stamp = tuple[int, int, int] | None
_log = logging.getLogger(__name__)


class Watched:
    """Files that are reloaded together; `renew` reads them and may raise ConfigurationError."""

    def __init__(self, name: str, files: Sequence[Path], renew: Callable[[], None]) -> None:
        self._name: Final = name
        self._files: Final = tuple(files)
        self._renew: Final = renew
        self._seen = self._taken = self._stamps()

    def look(self) -> None:
        """Reload the files if they have changed and were the same for two looks."""
        before, self._seen = self._seen, self._stamps()
        if self._seen == before != self._taken:
            self._taken = self._seen
            try:
                self._renew()
            except ConfigurationError as error:
                extra = {"action": "files_not_renewed", "files": self._name}
                _log.warning("changed files are left alone: %s", error, extra=extra)
            else:
                _log.info("changed files are in force", extra={"action": "files_renewed", "files": self._name})

    def _stamps(self) -> tuple[_Stamp, ...]:
        return tuple(map(_stamp, self._files))


async def keep_fresh(watched: Sequence[Watched], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Look at files at intervals."""
    while True:
        await sleep(LOOK_SECONDS)
        for files in watched:
            files.look()


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
