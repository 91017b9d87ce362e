"""Files that must not be open to others: those with secrets to read, and those that say who may do what to write."""

import os
import stat
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError

LONGEST: Final = 1024 * 1024
"""Characters of such a file."""


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


def _read(path: Path, source: str) -> tuple[str, int]:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(LONGEST + 1)
    except OSError as error:
        raise ConfigurationError(source, f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ConfigurationError(source, f"{path} cannot be read (it is no text in UTF-8).") from None
    if len(text) > LONGEST:
        raise ConfigurationError(source, f"{path} is longer than {LONGEST} characters.")
    return text, mode
