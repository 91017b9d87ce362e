"""Indexes of Python packages: what Pulp 2 calls the Python importer and the Python distributor."""

import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from pulpit.clock import Clock, iso_micro, system_clock
from pulpit.content import feed, purl, steps
from pulpit.content.limits import Limits
from pulpit.content.port import (
    BadFeed,
    Catalogue,
    Checksum,
    Config,
    Content,
    ContentType,
    Derived,
    Description,
    LeftOut,
    LocalFile,
    Progress,
    StoredFile,
    StoredUnit,
    Tree,
    Upstream,
    WantedFile,
    WantedUnit,
    Withdrawal,
)
from pulpit.content.python import distributions, index, json_api, publish, selection, status, xml_rpc
from pulpit.content.python.distributions import FileName
from pulpit.content.python.index import IndexPage
from pulpit.content.python.pages import Pages, Unhashed
from pulpit.content.python.selection import Choice, Rules
from pulpit.content.python.status import ProjectStatus
from pulpit.content.steps import Step
from pulpit.errors import InvalidValue, WorkFailed
from pulpit.text import masked_url, shown

_KINDS: Final = {distributions.SDIST: "sdist", distributions.WHEEL: "bdist_wheel"}
"""Names used by uploads and Pulp 2."""
_FACTS: Final = frozenset({*distributions.METADATA_FIELDS, "size"})
"""Metadata that comes from the file itself."""

_BATCH: Final = 500
_PROJECT_PAGE: Final = re.compile("(.*/simple/)([^/]+)/?")
_PACKAGES: Final = (distributions.PACKAGE,)
_QUARANTINED: Final = "quarantined"
_YANKED: Final = "yanked"
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


class Python(ContentType):
    """Wheels and source distributions of projects."""

    importer_type_id: Final = "python_importer"
    distributor_type_ids: Final = ("python_distributor",)
    unit_type_ids: Final = (distributions.PACKAGE, status.PROJECT)
    published_under: Final = "python"
    published_form: Final = 2

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock: Final = clock

    def check_importer_config(self, config: Config) -> None:
        """Reject an invalid configuration."""
        selection.check_importer(config)

    def check_distributor_config(self, config: Config) -> None:
        """Reject an invalid configuration."""
        selection.check_distributor(config)

    def relative_url(self, repo_id: str, config: Config) -> str:
        """Return the configured path, else the repository's id; below `web/`, as in Pulp 2."""
        return f"web/{feed.place(repo_id, config)}"

    async def read(self, upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
        """Download the pages of the wanted projects and select among their files."""
        rules = Rules.of(config)
        if not rules.projects and not rules.everything:
            raise WorkFailed("There is nothing to sync: package_names names no project; * stands for all of them.")
        choosing = _Choosing(rules, upstream.limits.entries)
        pages = Pages(upstream, memory, choosing.of)
        listed = await pages.projects(may_be_empty=bool(config.get("allow_empty"))) if rules.everything else []
        choices = await pages.changed(list(dict.fromkeys([*rules.projects, *listed])), rules.projects)
        if choices is None:
            return None
        unhashed = Unhashed(upstream, (memory or {}).get("unhashed") or {})
        if config.get("allow_unhashed"):
            choices = await unhashed.complete(choices)
        seen = {name: page for name, page in pages.seen.items() if name not in unhashed.incomplete}
        next_time = {"pages": seen, "missing": [*pages.missing, *unhashed.incomplete], "unhashed": unhashed.memory}
        missing = [LeftOut(name=project, reason=f"has no page: {why}") for project, why in pages.missing.items()]
        left_out = [*pages.left_out, *missing, *choosing.left_out, *unhashed.left_out]
        statuses = {project: choosing.statuses[project] for project in choices}
        quarantined = {project: told for project, told in statuses.items() if not told.offers_files}
        index_url = masked_url(upstream.feed)
        said = [status.wanted_unit(project, index_url, told) for project, told in statuses.items()]
        catalogue = await upstream.aside(lambda: _catalogue(choices, rules, next_time, left_out, upstream.limits))

        def withdrawn(unit: StoredUnit) -> Withdrawal | None:
            told = quarantined.get(unit.metadata["name"]) if unit.type_id == distributions.PACKAGE else None
            return None if told is None else Withdrawal(how=_QUARANTINED, reason=told.reason or "")

        return replace(
            catalogue,
            unit_count=catalogue.unit_count + sum(not unit.only_if_held for unit in said),
            batches=chain(catalogue.batches, _batches(said)),
            keeps=lambda unit: unit.metadata["name"] in pages.missing or unit.metadata["name"] in quarantined,
            withdrawn=withdrawn if quarantined else None,
        )

    def described(self, unit: WantedUnit, files: Sequence[LocalFile], known: Mapping[str, Any] | None) -> WantedUnit:
        """Return the unit with the metadata inside its file, if any."""
        return described_unit(unit, files[0], known) if files else unit

    def surplus(self, held: Iterator[StoredUnit], config: Config) -> Collection[str]:
        """Return packages of which enough newer versions are held."""
        rules = Rules.of(config)
        if rules.retained is None:
            return ()
        return surplus_packages((unit for unit in held if unit.type_id == distributions.PACKAGE), rules)

    def uploaded(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], file: StoredFile, path: Path
    ) -> WantedUnit:
        """Return the unit of an uploaded distribution; its metadata comes from the file."""
        del metadata
        if type_id != distributions.PACKAGE:
            raise InvalidValue("unit_type_id", f"this repository holds units of type {distributions.PACKAGE}.")
        unit = uploaded_unit(str(key.get("filename") or ""), file.sha256, file.size, path)
        wrong = sorted(part for part in unit.key.keys() & key.keys() if key[part] not in {unit.key[part], None})
        if wrong:
            raise InvalidValue(wrong, "the uploaded file has another.")
        unit.metadata["upload_time"] = iso_micro(self._clock())
        return unit

    def check_copy_config(self, config: Config) -> None:
        """Accept no options."""
        feed.check_keys(config, {})

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """Return the slot: a repository holds one file of each name, and one status of each project."""
        return str(key["name" if type_id == status.PROJECT else "filename"])

    def description(self, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
        """Describe a distribution by its project and version, a status by its project."""
        if type_id == status.PROJECT:
            return Description(name=str(key["name"]), version=metadata.get("status"))
        file = str(key["filename"])
        named = None if "name" in metadata else distributions.parse_filename(file)
        name = str(metadata.get("name") or (named.project if named else file))
        version = str(metadata.get("version") or (named.version if named else ""))
        return Description(name=name, version=version, file=file, purl=purl.of_python(name, version, file))

    def publish(self, content: Content, tree: Tree, config: Config) -> None:
        """Publish the index in `simple/`, what the JSON API is made of in `pypi/`, the files in `packages/`."""
        del config
        publish.lay_out(content, tree, self._clock)

    def respelled(self, path: str) -> str | None:
        """Return the page of a project whose name is not normalised: easy_install and people ask so (PEP 503)."""
        page = _PROJECT_PAGE.fullmatch(path)
        project = distributions.project_name(page[2]) if page else None
        return f"{page[1]}{project}" if page and project else None

    def derived(self, path: str, method: str) -> Derived | None:
        """Return how a document of the JSON API, or the answer to a call by XML-RPC, is made."""
        return xml_rpc.derived(path) if method == "POST" else json_api.derived(path)

    def sync_report(self, progress: Progress) -> list[dict[str, Any]]:
        """Return a list of steps."""
        (downloading,) = steps.content_states(progress, [_PACKAGES])
        reading = steps.report(progress, _READING, steps.metadata_state(progress))
        report = steps.report(progress, _DOWNLOADING, downloading)
        failures = [{"error": failure.error, "name": failure.name, "url": failure.url} for failure in progress.failures]
        return [reading, report | {"error_details": failures or report["error_details"]}]

    def publish_report(self, progress: Progress) -> Any:
        """Return a list of steps."""
        return steps.publish_report(progress, _PUBLISHING)


class _Choosing:
    """Selects files page by page, and stops when they are too many."""

    def __init__(self, rules: Rules, most: int) -> None:
        self._rules: Final = rules
        self._most: Final = most
        self._count = 0
        self.left_out: Final[list[LeftOut]] = []
        self.statuses: Final[dict[str, ProjectStatus]] = {}

    def of(self, project: str, page: IndexPage) -> list[Choice]:
        """Return the wanted files of a page.

        Raises:
            BadFeed: it is not the project's page.
            WorkFailed: there are too many.
        """
        content = index.read_project(page, project)
        self.statuses[project] = content.status
        if not content.status.offers_files:
            return []  # whatever else the page lists
        if not content.files and (project in self._rules.projects or not content.is_index):
            if content.left_out:
                first = content.left_out[0]
                raise page.refused(f"it names no file of the project that can be taken; {first.name!r} {first.reason}")
            raise page.refused("it names no file of the project; perhaps the feed is no index of Python packages")
        chosen = self._rules.choose(project, content.files)
        self._count += len(chosen)
        if self._count > self._most:
            raise WorkFailed(f"The index is refused: more than {self._most} files of it are wanted.")
        self.left_out.extend(content.left_out)
        return chosen


def _catalogue(
    choices: Mapping[str, Sequence[Choice]],
    rules: Rules,
    memory: dict[str, Any],
    left_out: list[LeftOut],
    limits: Limits,
) -> Catalogue:
    """Return everything that was selected, by project; a file that two projects list must be identical.

    Raises:
        BadFeed: a project that was named in the configuration has only unusable files.
    """
    units: dict[str, WantedUnit] = {}
    refused: dict[str, str] = {}
    for project in sorted(choices):
        for choice in choices[project]:
            filename = choice.entry.filename
            reason = _unusable(choice, limits)
            if reason:
                refused[filename] = reason
                continue
            unit = wanted_unit(choice)
            if units.setdefault(filename, unit).key != unit.key:
                refused[filename] = "is named by two projects, with different checksums"
    for filename in refused:
        units.pop(filename, None)
    for project in rules.projects.keys() & choices.keys():
        names = [choice.entry.filename for choice in choices[project]]
        unhashed = [choice.entry.filename for choice in choices[project] if choice.entry.checksum is None]
        if unhashed or (names and all(name in refused for name in names)):
            name = (unhashed or names)[0]
            raise BadFeed(f"{name} of {project} is refused: it {refused[name]}.")
    left_out += [LeftOut(name=filename, reason=reason, slot=filename) for filename, reason in refused.items()]
    taken = [unit for unit in units.values() if not unit.only_if_held]
    return Catalogue(
        unit_count=len(taken),
        byte_count=sum(file.size or 0 for unit in taken for file in unit.files),
        batches=_batches(list(units.values())),
        memory=memory,
        counts={distributions.PACKAGE: len(taken)},
        left_out=left_out,
        proves_empty=not left_out,  # every page that was read is an index page
    )


def _batches(units: Sequence[WantedUnit]) -> Iterator[Sequence[WantedUnit]]:
    return (units[start : start + _BATCH] for start in range(0, len(units), _BATCH))


def _unusable(choice: Choice, limits: Limits) -> str:
    """Say why a wanted file is skipped, as the end of a sentence."""
    if choice.entry.checksum is None:
        return "has no checksum that is known here; with allow_unhashed such files are taken as they come"
    if choice.entry.size is not None and choice.entry.size > limits.file_bytes:
        return f"has more than {limits.file_bytes} bytes"
    return ""


def wanted_unit(choice: Choice) -> WantedUnit:
    """Return the unit of a wanted file whose checksum is known."""
    entry = choice.entry
    assert entry.checksum is not None  # noqa: S101 - checked by `_unusable`
    wanted = _new_unit(entry.filename, choice.name, entry.checksum, entry.size, entry.url)
    wanted.metadata.update(
        requires_python=entry.requires_python,
        yanked=entry.yanked is not None,
        yanked_reason=entry.yanked,
        upload_time=entry.upload_time,
        **({"provenance": entry.provenance} if entry.provenance else {}),
    )
    withdrawal = None if entry.yanked is None else Withdrawal(how=_YANKED, reason=entry.yanked)
    return replace(wanted, only_if_held=choice.withdrawn, withdrawal=withdrawal)


def described_unit(wanted: WantedUnit, local: LocalFile, known: Mapping[str, Any] | None) -> WantedUnit:
    """Return the unit with its file's metadata; the file of a known one has been read before."""
    if known is not None and known.keys() >= _FACTS:
        return replace(wanted, metadata=_joined(known, wanted))
    filename = str(wanted.key["filename"])
    named = distributions.parse_filename(filename, wanted.metadata["name"])
    path = local()
    try:
        content = distributions.read_metadata(path, filename, named) if named else b""
    except distributions.Unreadable:
        content = b""
    return _with_content(wanted, content, path.stat().st_size)


def uploaded_unit(filename: str, sha256: str, size: int, path: Path) -> WantedUnit:
    """Return the unit of an uploaded file.

    Raises:
        InvalidValue: it is not a distribution, or not the one that its name says.
    """
    named = distributions.parse_filename(filename)
    if named is None:
        readable = shown(filename)
        raise InvalidValue("filename", f"{readable!r} is no name of a wheel or sdist, such as zoo-1.0.tar.gz.")
    try:
        content = distributions.read_metadata(path, filename, named)
    except distributions.Unreadable as error:
        raise InvalidValue("upload_id", f"the uploaded file {error}.") from None
    named = _agreed(filename, named, distributions.metadata_fields(content))
    wanted = _new_unit(filename, named, Checksum(algorithm="sha256", digest=sha256), size, "")
    return _with_content(wanted, content, size)


def _agreed(filename: str, named: FileName, fields: Mapping[str, Any]) -> FileName:
    """Return the parsed name of a file, which its metadata must confirm."""
    name, version = fields["name"] or "", fields["version"] or ""
    agreed = distributions.parse_filename(filename, distributions.project_name(name) or "")
    try:
        stated: Version | None = Version(version)
    except InvalidVersion:
        stated = None
    if agreed is None or agreed.version != stated:
        said = shown(f"{name} {version}")
        raise InvalidValue("filename", f"the file says that it is {said!r}, not {named.project} {named.version}.")
    return agreed


def surplus_packages(held: Iterator[StoredUnit], rules: Rules) -> Collection[str]:
    """Return the ids of packages that are older than the retained versions."""
    projects: dict[str, list[tuple[Version, bool, str]]] = {}
    for unit in held:
        version, yanked = Version(unit.metadata["version"]), bool(unit.metadata.get("yanked"))
        projects.setdefault(unit.metadata["name"], []).append((version, yanked, unit.id))
    gone: list[str] = []
    for project, versions in projects.items():
        oldest = rules.oldest(project, [version for version, yanked, _ in versions if not yanked])
        gone += [unit_id for version, _, unit_id in versions if oldest is not None and version < oldest]
    return gone


def _new_unit(filename: str, named: FileName, checksum: Checksum, size: int | None, url: str) -> WantedUnit:
    metadata = {
        "name": named.project,
        "version": str(named.version),
        "packagetype": _KINDS[named.kind],
        "requires_python": None,
        "yanked": False,
        "yanked_reason": None,
        "upload_time": None,
    }
    file = WantedFile(relative_path=filename, urls=(url,), checksum=checksum, size=size)
    key = {"filename": filename, "checksum_type": checksum.algorithm, "checksum": checksum.digest}
    return WantedUnit(type_id=distributions.PACKAGE, key=key, metadata=metadata, files=(file,), slot=filename)


def _with_content(wanted: WantedUnit, content: bytes, size: int) -> WantedUnit:
    keep = bool(content) and wanted.metadata["packagetype"] == _KINDS[distributions.WHEEL]
    metadata = _joined({**distributions.metadata_fields(content), "size": size}, wanted)
    return replace(wanted, metadata=metadata, detail=zlib.compress(content, 6) if keep else b"")


def _joined(known: Mapping[str, Any], wanted: WantedUnit) -> dict[str, Any]:
    """Merge in the file's metadata; `requires_python` from the index takes precedence."""
    facts = {name: known[name] for name in sorted(_FACTS)}
    needed = wanted.metadata["requires_python"] or facts["requires_python"]
    return {**facts, **wanted.metadata, "requires_python": needed}
