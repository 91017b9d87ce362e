"""The configuration of importers and distributors, and the selection of a project's files."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from pulpit.content import feed
from pulpit.content.port import Config
from pulpit.content.python import distributions
from pulpit.content.python.distributions import FileName
from pulpit.content.python.index import IndexedFile
from pulpit.errors import InvalidValue
from pulpit.text import shown

EVERYTHING: Final = "*"

_PATTERN: Final = re.compile(r"[A-Za-z0-9_*?]+\Z")


def items(value: Any) -> list[str]:
    """Convert a list, or comma-separated text as in Pulp 2, to a list; null is an empty one."""
    parts = value.split(",") if isinstance(value, str) else list(value or ())
    return [part.strip() for part in parts if part.strip()]


def wanted(package_names: Any) -> dict[str, SpecifierSet]:
    """Parse `package_names`: the projects, each with its wanted versions; `*` stands for all others.

    Raises:
        InvalidValue: one is not a requirement, has unsupported parts, or is named twice.
    """
    projects: dict[str, SpecifierSet] = {}
    for text in _requirements(package_names):
        name, versions = _requirement(text)
        if name in projects:
            raise InvalidValue("package_names", f"{name} is named twice; join the versions: {name}>=1,<2.")
        projects[name] = versions
    return projects


def _requirements(package_names: Any) -> list[str]:
    """Split comma-separated text.

    A part that begins with an operator belongs to the one before: `django>=4,<5,flask`.
    """
    if not isinstance(package_names, str):
        return items(package_names)
    requirements: list[str] = []
    for part in items(package_names):
        if requirements and part[0] in "<>=!~":
            requirements[-1] += f",{part}"
        else:
            requirements.append(part)
    return requirements


def _requirement(text: str) -> tuple[str, SpecifierSet]:
    if text == EVERYTHING:
        return EVERYTHING, SpecifierSet()
    readable = shown(text)
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise InvalidValue("package_names", f"{readable!r} is no name such as django or django>=4,<5.") from None
    name = distributions.project_name(requirement.name)
    if name is None or requirement.extras or requirement.marker or requirement.url:
        raise InvalidValue("package_names", f"{readable!r} must be a name and versions alone, as in django>=4,<5.")
    return name, requirement.specifier


def _package_names(name: str, value: Any) -> None:
    _texts(name, value)
    wanted(value)


def _texts(name: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidValue(name, "it must be a list of texts, or one text with commas between them.")


def _package_types(name: str, value: Any) -> None:
    _texts(name, value)
    if any(kind not in distributions.KINDS for kind in items(value)):
        raise InvalidValue(name, f"it must be a list of {', '.join(distributions.KINDS)}.")


def _tags(name: str, value: Any) -> None:
    _texts(name, value)
    if not all(_PATTERN.match(tag) for tag in items(value)):
        raise InvalidValue(name, "it must be a list of tags of wheels, such as py3 or manylinux*_x86_64.")


def _versions(name: str, value: Any) -> None:
    _texts(name, value)
    try:
        versions(value)
    except InvalidVersion:
        raise InvalidValue(name, "it must be a list of versions of Python, such as 3.11.") from None


def versions(value: Any) -> Sequence[Version]:
    """Parse the versions of a list.

    Raises:
        InvalidVersion: one is invalid.
    """
    return [Version(version) for version in items(value)]


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
    """Reject an invalid configuration.

    Raises:
        InvalidValue: a value is invalid.
        UnsupportedValue: the key is unknown.
    """
    feed.check(config, _IMPORTER)


def check_distributor(config: Config) -> None:
    """Reject an invalid configuration, as above."""
    feed.check_keys(config, _DISTRIBUTOR)


_ANY_VERSION: Final = SpecifierSet()


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A wanted file; a `withdrawn` one is wanted only if it is held already."""

    entry: IndexedFile
    name: FileName
    withdrawn: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What an importer wants; an empty collection excludes nothing."""

    projects: Mapping[str, SpecifierSet]
    everything: bool
    kinds: Collection[str]
    python_tags: Sequence[str]
    abi_tags: Sequence[str]
    platform_tags: Sequence[str]
    python_versions: Sequence[Version]
    prereleases: bool | None
    include_yanked: bool
    retained: int | None

    @classmethod
    def of(cls, config: Config) -> "Rules":
        """Read a checked configuration."""
        projects = wanted(config.get("package_names"))
        everything = projects.pop(EVERYTHING, None) is not None
        tags = {name: items(config.get(name)) for name in ("python_tags", "abi_tags", "platform_tags")}
        return cls(
            projects=projects,
            everything=everything,
            kinds=items(config.get("package_types")),
            python_versions=versions(config.get("python_versions")),
            prereleases=config.get("prereleases"),
            include_yanked=bool(config.get("include_yanked")),
            retained=config.get("retain_old_count"),
            **tags,
        )

    def choose(self, project: str, entries: Iterable[IndexedFile]) -> list[Choice]:
        """The wanted files of a project."""
        named = [
            (entry, name)
            for entry in entries
            if (name := distributions.parse_filename(entry.filename, project)) is not None
        ]
        fitting = [(entry, name) for entry, name in named if self._fits(name) and self._runs(entry.requires_python)]
        versions = self._versions(project, {name.version for _, name in fitting})
        # A yanked file counts as withdrawn unless yanked files are wanted or its exact version is named (PEP 592).
        takes_yanked = self.include_yanked or any(
            clause.operator == "===" or (clause.operator == "==" and not clause.version.endswith(".*"))
            for clause in self.projects.get(project, _ANY_VERSION)
        )
        choices = [
            Choice(entry=entry, name=name, withdrawn=entry.yanked is not None and not takes_yanked)
            for entry, name in fitting
            if name.version in versions
        ]
        oldest = self.oldest(project, [choice.name.version for choice in choices if not choice.withdrawn])
        return [choice for choice in choices if oldest is None or choice.name.version >= oldest]

    def oldest(self, project: str, versions: Iterable[Version]) -> Version | None:
        """Return the oldest version of a project that is retained; `None` if all are."""
        if self.retained is None:
            return None
        newest = sorted(self._versions(project, set(versions)), reverse=True)[: self.retained + 1]
        return newest[-1] if newest else None

    def _versions(self, project: str, versions: Collection[Version]) -> set[Version]:
        """Return the wanted versions.

        As in pip, prereleases only if nothing else matches, unless configured otherwise.
        """
        wanted = self.projects.get(project, _ANY_VERSION)
        return set(wanted.filter(versions, prereleases=self.prereleases))

    def _fits(self, name: FileName) -> bool:
        if self.kinds and name.kind not in self.kinds:
            return False
        return name.kind != distributions.WHEEL or (
            _meets(name.python_tags, self.python_tags)
            and _meets(name.abi_tags, self.abi_tags)
            and _meets(name.platform_tags, self.platform_tags)
        )

    def _runs(self, requires_python: str | None) -> bool:
        """Whether one of the Python versions satisfies it; as in pip, an invalid requirement matches all."""
        if not self.python_versions or not requires_python:
            return True
        try:
            required = SpecifierSet(requires_python)
        except InvalidSpecifier:
            return True
        return any(required.contains(version, prereleases=True) for version in self.python_versions)


def _meets(tags: Collection[str], patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(tag, pattern.lower()) for tag in tags for pattern in patterns)
