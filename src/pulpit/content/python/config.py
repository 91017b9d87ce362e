"""What may stand in the configuration of a Python importer and distributor."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from pulpit.content import feed, paths
from pulpit.content.port import Config
from pulpit.content.python import names
from pulpit.errors import InvalidValue

EVERYTHING: Final = "*"

_PATTERN: Final = re.compile(r"[A-Za-z0-9_*?]+\Z")


def items(value: Any) -> list[str]:
    """A list, or text with commas as Pulp 2 took it, as a list; null is an empty one."""
    parts = value.split(",") if isinstance(value, str) else list(value or ())
    return [part.strip() for part in parts if part.strip()]


def wanted(package_names: Any) -> dict[str, SpecifierSet]:
    """The projects of `package_names`, each with the versions that are wanted of it; `*` stands for all others.

    Raises:
        InvalidValue: one is no requirement, says too much, or is named twice.
    """
    found: dict[str, SpecifierSet] = {}
    for text in _requirements(package_names):
        name, versions = _project(text)
        if name in found:
            raise InvalidValue("package_names", f"{name} is named twice; join the versions: {name}>=1,<2.")
        found[name] = versions
    return found


def _requirements(package_names: Any) -> list[str]:
    """In text with commas, what begins with an operator belongs to what is before it: `django>=4,<5,flask`."""
    if not isinstance(package_names, str):
        return items(package_names)
    found: list[str] = []
    for part in items(package_names):
        if found and part[0] in "<>=!~":
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _project(text: str) -> tuple[str, SpecifierSet]:
    if text == EVERYTHING:
        return EVERYTHING, SpecifierSet()
    shown = paths.shown(text)
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise InvalidValue("package_names", f"{shown!r} is no name such as django or django>=4,<5.") from None
    name = names.project(requirement.name)
    if name is None or requirement.extras or requirement.marker or requirement.url:
        raise InvalidValue("package_names", f"{shown!r} must be a name and versions alone, as in django>=4,<5.")
    return name, requirement.specifier


def _package_names(name: str, value: Any) -> None:
    _texts(name, value)
    wanted(value)


def _texts(name: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidValue(name, "it must be a list of texts, or one text with commas between them.")


def _package_types(name: str, value: Any) -> None:
    _texts(name, value)
    if any(one not in names.KINDS for one in items(value)):
        raise InvalidValue(name, f"it must be a list of {', '.join(names.KINDS)}.")


def _tags(name: str, value: Any) -> None:
    _texts(name, value)
    if not all(_PATTERN.match(one) for one in items(value)):
        raise InvalidValue(name, "it must be a list of tags of wheels, such as py3 or manylinux*_x86_64.")


def _versions(name: str, value: Any) -> None:
    _texts(name, value)
    try:
        versions(value)
    except InvalidVersion:
        raise InvalidValue(name, "it must be a list of versions of Python, such as 3.11.") from None


def versions(value: Any) -> Sequence[Version]:
    """The versions of a list.

    Raises:
        InvalidVersion: one is none.
    """
    return [Version(one) for one in items(value)]


_Checks = Mapping[str, Callable[[str, Any], None]]

_IMPORTER: Final[_Checks] = {
    "package_names": _package_names,
    "package_types": _package_types,
    "python_tags": _tags,
    "abi_tags": _tags,
    "platform_tags": _tags,
    "python_versions": _versions,
    "prereleases": feed.boolean,
    "include_yanked": feed.boolean,
    "allow_unhashed": feed.boolean,
    "retain_old_count": feed.whole(0, feed.MOST_RETAINED),
}
_DISTRIBUTOR: Final[_Checks] = {
    "relative_url": feed.relative_url,
    "force_full": feed.boolean,
}


def check_importer(config: Config) -> None:
    """Refuse a configuration that cannot work.

    Raises:
        InvalidValue: a value cannot work.
        UnsupportedValue: nobody knows the key.
    """
    feed.check(config, _IMPORTER)


def check_distributor(config: Config) -> None:
    """Refuse a configuration that cannot work, as above."""
    feed.check_keys(config, _DISTRIBUTOR)
