# SPDX-License-Identifier: Apache-2.0
"""Files that the configuration names, with checks of their permissions.

A secret must be readable, and a file with permissions writable, by its owner only.
"""

import configparser
import os
import stat
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError

LONGEST: Final = 1024 * 1024
"""Characters of a secret or trusted file."""
ADMINISTRATOR: Final = "admin"
"""The user that a server creates at its first start."""
ADMIN_PASSWORD_FILE: Final = "admin-password"  # noqa: S105 - a file's name
"""In the data folder: that user's password, for programs of this machine that may read it."""


def home_dir() -> Path:
    """Return the user's home folder.

    Raises:
        ConfigurationError: there is none: the user ID has no account, and HOME is not set.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigurationError("HOME", f"the user ID {os.geteuid()} has no home folder; set the variable.") from None


def default_data_dir() -> Path:
    """Return the data folder of a server whose configuration names none.

    Raises:
        ConfigurationError: as for `home_dir`.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/pulpit")
    import platformdirs  # noqa: PLC0415 - not needed when a folder is configured

    try:
        return Path(platformdirs.user_data_dir("pulpit", appauthor=False))
    except RuntimeError:
        why = f"the user ID {os.geteuid()} has no home folder; name a folder by --data-dir or PULPIT_DATA_DIR."
        raise ConfigurationError("[server] data_dir", why) from None


def ini_flaw(error: configparser.Error) -> str:
    """Say what is wrong with an INI file, by line number; nothing is quoted, because a line may hold a password."""
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
    """Read a file that only its owner may read.

    Raises:
        ConfigurationError: it cannot be read, is too long, or readable by others; `source` is the key or option that
            names it, and its content is not quoted.
    """
    text, mode = _read(path, source)
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(source, f"{path} holds a secret and is open to others; run: chmod 600 {path}")
    return text


def section_password(section: str, username: str, password_file: str) -> str:
    """Return the password in the `password_file` of a section, empty if the section names no login.

    Raises:
        ConfigurationError: the file cannot be used, or one of `username` and `password_file` is missing.
    """
    password = first_line(read_secret(Path(password_file), f"[{section}] password_file")) if password_file else ""
    if bool(password) != bool(username):
        raise ConfigurationError(f"[{section}] username", "it and a password in password_file belong together.")
    return password


def read_trusted(path: Path, source: str) -> str:
    """Read a file that only its owner may write.

    Raises:
        ConfigurationError: it cannot be read, is too long, or writable by others.
    """
    text, mode = _read(path, source)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(source, f"{path} can be changed by others; run: chmod go-w {path}")
    return text


def first_line(text: str) -> str:
    """Return the secret in a file that contains only one."""
    return text.partition("\n")[0].rstrip("\r")


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
