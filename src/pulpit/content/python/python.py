"""Indexes of Python packages: what Pulp 2 calls the Python importer and the Python distributor."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pulpit.clock import Clock, iso_micro, system_clock
from pulpit.content import feed, steps
from pulpit.content.limits import Limits
from pulpit.content.port import (
    BadFeed,
    Catalogue,
    Config,
    Content,
    Progress,
    StoredFile,
    StoredUnit,
    Tree,
    Upstream,
    WantedUnit,
)
from pulpit.content.python import config as configuration
from pulpit.content.python import index, packages, publish
from pulpit.content.python.feeds import Pages
from pulpit.content.python.index import Page
from pulpit.content.python.selection import Choice, Rules
from pulpit.content.python.unhashed import Unhashed
from pulpit.content.steps import Step
from pulpit.errors import InvalidValue, WorkFailed

_BATCH: Final = 500
_PACKAGES: Final = (packages.PACKAGE,)
_READING: Final = Step(type="sync_step_metadata", description="Downloading Python metadata.", type_ids=())
_DOWNLOADING: Final = Step(
    type="sync_step_download_packages",
    description="Downloading and processing Python packages.",
    type_ids=_PACKAGES,
)
_PUBLISHING: Final = (
    Step(type="python_publish_content", description="Publishing Python Content.", type_ids=_PACKAGES),
    Step(type="python_publish_metadata", description="Publishing Python Metadata.", type_ids=()),
    Step(type="python_publish_over_http", description="Making files available via web.", type_ids=()),
)


class Python:
    """Wheels and source distributions of projects."""

    importer_type_id: Final = "python_importer"
    distributor_type_ids: Final = ("python_distributor",)
    unit_type_ids: Final = _PACKAGES
    published_under: Final = "python"

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock: Final = clock

    def check_importer_config(self, config: Config) -> None:
        """Refuse a configuration that cannot work."""
        configuration.check_importer(config)

    def check_distributor_config(self, config: Config) -> None:
        """Refuse a configuration that cannot work."""
        configuration.check_distributor(config)

    def relative_url(self, repo_id: str, config: Config) -> str:
        """The configured one, else the repository's id; beneath `web/`, as Pulp 2 had it."""
        return f"web/{feed.place(repo_id, config)}"

    async def read(self, upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
        """Fetch the pages of the wanted projects and choose among their files."""
        rules = Rules.of(config)
        if not rules.projects and not rules.everything:
            raise WorkFailed("There is nothing to sync: package_names names no project; * stands for all of them.")
        choosing = _Choosing(rules, upstream.limits.entries)
        pages = Pages(upstream, memory, choosing.of)
        listed = await pages.projects() if rules.everything else []
        found = await pages.changed(list(dict.fromkeys([*rules.projects, *listed])))
        if found is None:
            return None
        unhashed = Unhashed(upstream, (memory or {}).get("unhashed") or {})
        if config.get("allow_unhashed"):
            found = await unhashed.complete(found)
        next_time = {"pages": pages.seen, "unhashed": unhashed.memory}
        return await upstream.aside(lambda: _catalogue(found, next_time, upstream.limits))

    def flaw(self, unit: WantedUnit, path: Path, config: Config) -> str | None:
        """Nothing: an index may hold what is older than today's rules, and its checksum is right."""
        del unit, path, config
        return None

    def described(self, unit: WantedUnit, paths: Sequence[Path], known: Mapping[str, Any] | None) -> WantedUnit:
        """The unit with the metadata inside its file, where there is any."""
        return packages.described(unit, paths[0], known)

    def surplus(self, held: Iterator[StoredUnit], config: Config) -> Collection[str]:
        """Packages of which enough newer versions are held."""
        rules = Rules.of(config)
        return () if rules.retained is None else packages.surplus(held, rules)

    def uploaded(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], file: StoredFile, path: Path
    ) -> WantedUnit:
        """The unit of an uploaded distribution, all of whose metadata is its own."""
        del metadata
        if type_id != packages.PACKAGE:
            raise InvalidValue("unit_type_id", f"this repository holds units of type {packages.PACKAGE}.")
        unit = packages.uploaded(str(key.get("filename") or ""), file.sha256, file.size, path)
        wrong = sorted(part for part in unit.key.keys() & key.keys() if key[part] not in {unit.key[part], None})
        if wrong:
            raise InvalidValue(wrong, "the uploaded file has another.")
        unit.metadata["upload_time"] = iso_micro(self._clock())
        return unit

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """A repository holds one file of a name."""
        del type_id
        return str(key["filename"])

    def publish(self, content: Content, tree: Tree, config: Config) -> None:
        """The index in `simple/`, the files in `packages/`."""
        del config
        publish.lay_out(content, tree)

    def sync_report(self, progress: Progress) -> list[dict[str, Any]]:
        """A list of steps."""
        (downloading,) = steps.content_states(progress, [_PACKAGES])
        reading = steps.report(progress, _READING, steps.metadata_state(progress))
        report = steps.report(progress, _DOWNLOADING, downloading)
        failures = [{"error": failure.error, "name": failure.name, "url": failure.url} for failure in progress.failures]
        return [reading, report | {"error_details": failures or report["error_details"]}]

    def publish_report(self, progress: Progress) -> Any:
        """A list of steps."""
        return steps.publish_report(progress, _PUBLISHING)


class _Choosing:
    """Chooses among the files of page after page, and stops where that becomes too many."""

    def __init__(self, rules: Rules, most: int) -> None:
        self._rules: Final = rules
        self._most: Final = most
        self._count = 0

    def of(self, project: str, page: Page) -> list[Choice]:
        entries = index.files(page, project)
        if not entries and project in self._rules.projects:
            raise page.refused("it names no file of the project; perhaps the feed is no index of Python packages")
        chosen = self._rules.choose(project, entries)
        self._count += len(chosen)
        if self._count > self._most:
            raise BadFeed(f"The index is refused: more than {self._most} files of it are wanted.")
        return chosen


def _catalogue(found: Mapping[str, Sequence[Choice]], memory: dict[str, Any], limits: Limits) -> Catalogue:
    """All that was chosen, by project; a file that two projects name must be one and the same."""
    units: dict[str, WantedUnit] = {}
    for project in sorted(found):
        for choice in found[project]:
            unit = packages.unit(choice, limits)
            if units.setdefault(choice.entry.filename, unit).key != unit.key:
                raise BadFeed(f"The index is refused: two projects have a file {choice.entry.filename}.")
    taken = [unit for unit in units.values() if not unit.only_if_held]
    every = list(units.values())
    return Catalogue(
        unit_count=len(taken),
        byte_count=sum(file.size or 0 for unit in taken for file in unit.files),
        batches=(every[start : start + _BATCH] for start in range(0, len(every), _BATCH)),
        memory=memory,
        counts={packages.PACKAGE: len(taken)},
    )
