"""Users and permissions, from two files: a line `login:password` per user, and a line per permission.

    # who      may                    what      named       and only
    ci         write                  exchange  ci          key=ci.#
    scanner    read                   exchange  pulp
    scanner    configure,write,read   queue     scanner.*   vhost=blue
    admin      all                    *         *

Words are separated by blanks; names with blanks are quoted. Without a permissions file every user may do everything;
with one, everything that it does not list is forbidden.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from pulpit.broker.config import BrokerUser, guest
from pulpit.broker.permissions import KINDS, OPERATIONS, Grant
from pulpit.broker.sasl import composed
from pulpit.errors import ConfigurationError
from pulpit.net.config_files import read_secret, read_trusted
from pulpit.net.passwords import Password

T = TypeVar("T")
USERS_KEY: Final = "[broker] users_file"
PERMISSIONS_KEY: Final = "[broker] permissions_file"
ANY: Final = "*"
ALL: Final = "all"
LIMITS: Final[Mapping[str, str]] = {"key": "key", "vhost": "host"}
"""Restrictions of a permission, and the properties of a grant that they become."""
_WORDS: Final = 4


class BadLine(ValueError):
    """A line is malformed; the text says why and quotes nothing of a password."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserFiles:
    """The two files; without a users file there is only the user guest."""

    users_file: Path | None = None
    permissions_file: Path | None = None
    virtual_hosts: tuple[str, ...] = ("/",)

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.users_file, self.permissions_file) if path is not None)

    def read(self) -> Mapping[str, BrokerUser]:
        """Read both files again.

        Raises:
            ConfigurationError: one of them cannot be read, is readable by others, or has an invalid line, which is
            numbered.
        """
        users = guest() if self.users_file is None else _users(self.users_file)
        if self.permissions_file is None:
            return users
        grants = _grants(self.permissions_file, users, self.virtual_hosts)
        return {login: replace(user, grants=grants[login]) for login, user in users.items()}


def user_line(line: str) -> tuple[str, BrokerUser]:
    """Parse `login:password`.

    Raises:
        BadLine: it is malformed.
    """
    login, colon, password = line.partition(":")
    if not login or not colon or not password:
        raise BadLine("is not login:password.")
    try:
        return composed(login), BrokerUser(password=Password(password))
    except ValueError as error:
        raise BadLine(f"has a hashed password that cannot be used: {error}.") from None


def permission_line(line: str) -> tuple[str, Grant]:
    """Parse one permission and its user.

    Raises:
        BadLine: it is malformed.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise BadLine(f"cannot be split into words ({str(error).lower()}).") from None
    if len(words) < _WORDS:
        raise BadLine("is not: user, operations, exchange or queue, name.")
    who, operations, kind, name, *limits = words
    permitted = _operations(operations)
    if kind != ANY and kind not in KINDS:
        raise BadLine(f"has {kind!r} where exchange, queue or {ANY} stands.")
    kinds = KINDS if kind == ANY else frozenset({kind})
    return composed(who), Grant(operations=permitted, kinds=kinds, name=name, **_limits(limits))


def _operations(word: str) -> frozenset[str]:
    if word == ALL:
        return OPERATIONS
    names = frozenset(word.split(","))
    if not names <= OPERATIONS:
        raise BadLine(f"has {word!r} where configure, write, read or all stands.")
    return names


def _limits(words: Iterable[str]) -> dict[str, str]:
    limits: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in LIMITS or LIMITS[name] in limits:
            raise BadLine(f"has {word!r} at its end, where key=… or vhost=… may stand once.")
        limits[LIMITS[name]] = value
    return limits


def _users(path: Path) -> Mapping[str, BrokerUser]:
    users: dict[str, BrokerUser] = {}
    for line, (login, user) in _lines(read_secret(path, USERS_KEY), path, USERS_KEY, user_line):
        if login in users:
            raise ConfigurationError(USERS_KEY, f"line {line} of {path} names {login!r} again.")
        users[login] = user
    if not users:
        raise ConfigurationError(USERS_KEY, f"there is no user in {path}.")
    return users


def _grants(path: Path, users: Iterable[str], hosts: Iterable[str]) -> Mapping[str, tuple[Grant, ...]]:
    """Return the grants of each user; an unknown name is rejected, so that typos are noticed."""
    grants: dict[str, list[Grant]] = {login: [] for login in users}
    for line, (who, grant) in _lines(read_trusted(path, PERMISSIONS_KEY), path, PERMISSIONS_KEY, permission_line):
        if who != ANY and who not in grants:
            raise ConfigurationError(PERMISSIONS_KEY, f"line {line} of {path} names {who!r}, who is no user.")
        if grant.host is not None and grant.host not in hosts:
            raise ConfigurationError(PERMISSIONS_KEY, f"line {line} of {path} names no virtual host: {grant.host!r}.")
        for login in grants if who == ANY else (who,):
            grants[login].append(grant)
    return {login: tuple(given) for login, given in grants.items()}


def _lines(text: str, path: Path, key: str, read: Callable[[str], T]) -> Iterator[tuple[int, T]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield number, read(line.strip())
            except BadLine as error:
                raise ConfigurationError(key, f"line {number} of {path} {error}") from None
