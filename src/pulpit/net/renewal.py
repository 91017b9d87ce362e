# SPDX-License-Identifier: Apache-2.0
"""Configured files that are read again while a server runs: neither a certificate nor a password needs a restart.

A file that has changed and looked the same twice is read again, so whoever writes it in steps is given time to end.
What cannot be used is told once, and what was read before stays in force.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError

LOOK_SECONDS: Final = 2.0
"""Between two looks; a change is in force after one or two of them."""

_Stamp = tuple[int, int, int] | None
_log = logging.getLogger(__name__)


class Watched:
    """Some files that are read together; `renew` reads them and may raise ConfigurationError."""

    def __init__(self, name: str, files: Sequence[Path], renew: Callable[[], None]) -> None:
        self._name: Final = name
        self._files: Final = tuple(files)
        self._renew: Final = renew
        self._seen = self._taken = self._stamps()

    def look(self) -> None:
        """Read the files anew if they have changed and have been the same for two looks."""
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
    """Look at files again and again."""
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
