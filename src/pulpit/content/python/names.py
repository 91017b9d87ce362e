"""What the names of projects and of their files say (PEP 503, 427, 625)."""

import re
from dataclasses import dataclass
from typing import Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

SDIST: Final = "sdist"
WHEEL: Final = "wheel"
KINDS: Final = (SDIST, WHEEL)

_PROJECT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_LONGEST: Final = 200
_SDIST_ENDS: Final = (".tar.gz", ".zip", ".tgz", ".tar.bz2")
_WHEEL_END: Final = ".whl"
_USABLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]*\Z")
_LONGEST_FILE: Final = 240  # with `.metadata` behind it, it must still be a file's name
_WHEEL_PARTS: Final = (5, 6)  # without and with a build tag


@dataclass(frozen=True, kw_only=True, slots=True)
class FileName:
    """A distribution file's name, taken apart; the tags are those of a wheel, each a set of alternatives."""

    project: str
    version: Version
    kind: str
    python_tags: frozenset[str] = frozenset()
    abi_tags: frozenset[str] = frozenset()
    platform_tags: frozenset[str] = frozenset()


def project(name: str) -> str | None:
    """A project's name as indexes spell it in URLs, or `None` if it is no name."""
    if len(name) > _LONGEST or not _PROJECT.match(name):
        return None
    return str(canonicalize_name(name))


def is_distribution(name: str) -> bool:
    """Whether a file's name ends as those of wheels and sdists do."""
    return name.endswith((_WHEEL_END, *_SDIST_ENDS))


def is_usable(name: str) -> bool:
    """Whether a distribution's name can be a file's name here and on every machine that installs it."""
    return len(name) <= _LONGEST_FILE and _USABLE.match(name) is not None


def file_name(name: str, of: str | None = None) -> FileName | None:
    """Take a file's name apart; `None` if it is no wheel or sdist, or one of another project than `of`."""
    if not is_usable(name):
        return None
    if name.endswith(_WHEEL_END):
        found = _wheel(name.removesuffix(_WHEEL_END))
        return found if found and of in {None, found.project} else None
    for end in _SDIST_ENDS:
        if name.endswith(end):
            return _sdist(name.removesuffix(end), of)
    return None


def _wheel(stem: str) -> FileName | None:
    parts = stem.split("-")
    name, version = project(parts[0]), _version(parts[1]) if len(parts) in _WHEEL_PARTS else None
    if name is None or version is None:
        return None
    python, abi, platform = (frozenset(part.lower().split(".")) for part in parts[-3:])
    return FileName(project=name, version=version, kind=WHEEL, python_tags=python, abi_tags=abi, platform_tags=platform)


def _sdist(stem: str, of: str | None) -> FileName | None:
    """Old names have dashes in name and version; the project decides where one ends, else the last dash that can."""
    dashes = [place for place, character in enumerate(stem) if character == "-"]
    for place in reversed(dashes):
        name, version = project(stem[:place]), _version(stem[place + 1 :])
        if name and version and of in {None, name}:
            return FileName(project=name, version=version, kind=SDIST)
    return None


def _version(text: str) -> Version | None:
    try:
        return Version(text) if len(text) <= _LONGEST else None
    except InvalidVersion:
        return None
