# SPDX-License-Identifier: Apache-2.0
"""Files that the configuration names: those that must not be open to others, and those that are read again.

A secret may be read by its owner alone, and what says who may do what may be written by its owner alone. Neither a
certificate nor a password needs a restart: a file that has changed and looked the same twice is read again, so whoever
writes it in steps is given time to end. What cannot be used is told once, and what was read before stays in force.
"""

import asyncio
import configparser
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError

LONGEST: Final = 1024 * 1024
"""Characters of a secret or trusted file."""
ADMINISTRATOR: Final = "admin"
"""The user whom a server makes at its first start."""
ADMIN_PASSWORD_FILE: Final = "admin-password"  # noqa: S105 - a file's name
"""In the data folder: the password of that user, for programs of this machine that may read it."""
LOOK_SECONDS: Final = 2.0
"""Between two looks; a change is in force after one or two of them."""

_Stamp = tuple[int, int, int] | None
_log = logging.getLogger(__name__)


def ini_flaw(error: configparser.Error) -> str:
    """What is wrong with an INI file, by line; nothing of it is quoted, for a line may hold a password."""
    match error:
        case configparser.MissingSectionHeaderError():
            return f"there are no section headers before line {error.lineno}"
        case configparser.ParsingError():
            lines = ", ".join(str(number) for number, _ in error.errors[:5])
            return f"line {lines} is no `key: value`"
        case configparser.DuplicateSectionError() | configparser.DuplicateOptionError():
            what = "section" if isinstance(error, configparser.DuplicateSectionError) else "key"
            return f"the {what} in line {error.lineno} already exists"
    return "it is no INI file"


def read_secret(path: Path, source: str) -> str:
    """Read a file that nobody but its owner may read.

    Raises:
        ConfigurationError: it cannot be read, is too long, or open to others; `source` is the key or option that names
            it, and nothing of what is in it is told.
    """
    text, mode = _read(path, source)
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(source, f"{path} holds a secret and is open to others; run: chmod 600 {path}")
    return text


def read_trusted(path: Path, source: str) -> str:
    """Read a file that nobody but its owner may write.

    Raises:
        ConfigurationError: it cannot be read, is too long, or others can write it.
    """
    text, mode = _read(path, source)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(source, f"{path} can be changed by others; run: chmod go-w {path}")
    return text


def first_line(text: str) -> str:
    """The secret in a file that holds but one."""
    return text.partition("\n")[0].rstrip("\r")


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


def _read(path: Path, source: str) -> tuple[str, int]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(LONGEST + 1)
    except OSError as error:
        raise ConfigurationError(source, f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ConfigurationError(source, f"{path} cannot be read (it is no text in UTF-8).") from None
    if len(text) > LONGEST:
        raise ConfigurationError(source, f"{path} is longer than {LONGEST} characters.")
    return text, mode


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
