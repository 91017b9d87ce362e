"""Which of a project's files are wanted."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from pulpit.content.port import Config
from pulpit.content.python import config as configuration
from pulpit.content.python import names
from pulpit.content.python.index import Entry
from pulpit.content.python.names import FileName

_ANY_VERSION: Final = SpecifierSet()


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A wanted file; one that is `withdrawn` is wanted only where it is held already."""

    entry: Entry
    name: FileName
    withdrawn: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What an importer wants; an empty collection leaves nothing out."""

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
        projects = configuration.wanted(config.get("package_names"))
        everything = projects.pop(configuration.EVERYTHING, None) is not None
        tags = {name: configuration.items(config.get(name)) for name in ("python_tags", "abi_tags", "platform_tags")}
        return cls(
            projects=projects,
            everything=everything,
            kinds=configuration.items(config.get("package_types")),
            python_versions=configuration.versions(config.get("python_versions")),
            prereleases=config.get("prereleases"),
            include_yanked=bool(config.get("include_yanked")),
            retained=config.get("retain_old_count"),
            **tags,
        )

    def choose(self, project: str, entries: Iterable[Entry]) -> list[Choice]:
        """The wanted files of a project."""
        named = [(entry, name) for entry in entries if (name := names.file_name(entry.filename, project)) is not None]
        fitting = [(entry, name) for entry, name in named if self._fits(name) and self._runs(entry.requires_python)]
        versions = self._versions(project, {name.version for _, name in fitting})
        choices = [
            Choice(entry=entry, name=name, withdrawn=self._is_withdrawn(project, entry))
            for entry, name in fitting
            if name.version in versions
        ]
        oldest = self.oldest(project, [choice.name.version for choice in choices if not choice.withdrawn])
        return [choice for choice in choices if oldest is None or choice.name.version >= oldest]

    def oldest(self, project: str, versions: Iterable[Version]) -> Version | None:
        """The oldest version of a project that is retained; `None` if all are."""
        if self.retained is None:
            return None
        newest = sorted(self._versions(project, set(versions)), reverse=True)[: self.retained + 1]
        return newest[-1] if newest else None

    def _versions(self, project: str, versions: Collection[Version]) -> set[Version]:
        """Those that are wanted; as with pip, prereleases only where nothing else fits, unless told otherwise."""
        wanted = self.projects.get(project, _ANY_VERSION)
        return set(wanted.filter(versions, prereleases=self.prereleases))

    def _fits(self, name: FileName) -> bool:
        if self.kinds and name.kind not in self.kinds:
            return False
        return name.kind != names.WHEEL or (
            _meets(name.python_tags, self.python_tags)
            and _meets(name.abi_tags, self.abi_tags)
            and _meets(name.platform_tags, self.platform_tags)
        )

    def _runs(self, requires_python: str | None) -> bool:
        """Whether one of the versions of Python is enough; as with pip, what nobody understands requires nothing."""
        if not self.python_versions or not requires_python:
            return True
        try:
            required = SpecifierSet(requires_python)
        except InvalidSpecifier:
            return True
        return any(required.contains(version, prereleases=True) for version in self.python_versions)

    def _is_withdrawn(self, project: str, entry: Entry) -> bool:
        """Yanked, and neither wanted nevertheless nor named by its very version (PEP 592)."""
        return entry.yanked is not None and not self.include_yanked and not self._is_pinned(project)

    def _is_pinned(self, project: str) -> bool:
        return any(
            one.operator == "===" or (one.operator == "==" and not one.version.endswith(".*"))
            for one in self.projects.get(project, _ANY_VERSION)
        )


def _meets(tags: Collection[str], patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(tag, pattern.lower()) for tag in tags for pattern in patterns)
