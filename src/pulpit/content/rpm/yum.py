"""Yum repositories: what Pulp 2 calls the yum importer and the yum distributor."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pulpit.clock import Clock, system_clock
from pulpit.content import feed, steps
from pulpit.content.port import (
    Catalogue,
    Config,
    Content,
    ContentType,
    Description,
    LeftOut,
    LocalFile,
    Phase,
    Progress,
    StoredFile,
    StoredUnit,
    Tree,
    Upstream,
    WantedUnit,
)
from pulpit.content.rpm import (
    comps,
    dependencies,
    elements,
    forms,
    layout,
    modules,
    packages,
    reading,
    repomd,
    signatures,
    treeinfo,
    updateinfo,
)
from pulpit.content.rpm.lists import createrepo
from pulpit.content.rpm.signing import Signer
from pulpit.content.steps import Step
from pulpit.errors import InvalidValue, WorkFailed

SKIPPABLE: Final = (
    *packages.TYPES,
    "drpm",
    treeinfo.DISTRIBUTION,
    updateinfo.ERRATUM,
    *comps.TYPES,
    *modules.TYPES,
    repomd.FILE,
    *repomd.ALIASES,
)
CHECKSUM_TYPES: Final = ("md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512")
_VARIABLE: Final = re.compile(r"\$\{?(releasever_major|releasever_minor|releasever|basearch|arch)\b")
_LONGEST_THRESHOLD: Final = 100 * 366 * 24 * 3600
_KEY_ID: Final = re.compile(r"(0x)?[0-9A-Fa-f]+\Z")
_KEY_ID_DIGITS: Final = (8, 16, 32, 40, 64)
"""Of short and long key ids, and of fingerprints of versions 3, 4 and 6."""
_KEY_IDS: Final = "of 8 or 16 hexadecimal digits, or a fingerprint of 32, 40 or 64"
_PACKAGES: Final = (*packages.TYPES, repomd.FILE)
_SYNC_PARTS: Final = (
    ("content", _PACKAGES),
    ("distribution", (treeinfo.DISTRIBUTION,)),
    ("modules", modules.TYPES),
    ("errata", (updateinfo.ERRATUM,)),
    ("comps", comps.TYPES),
    ("purge_duplicates", ()),
)
"""In the order in which units are synced."""
_PUBLISH_STEPS: Final = (
    Step(type="distribution", description="Publishing Distribution files", type_ids=(treeinfo.DISTRIBUTION,)),
    Step(type="rpms", description="Publishing RPMs", type_ids=packages.TYPES),
    Step(type="errata", description="Publishing Errata", type_ids=(updateinfo.ERRATUM,)),
    Step(type="modules", description="Publishing Modules", type_ids=modules.TYPES),
    Step(type="comps", description="Publishing Comps file", type_ids=comps.TYPES),
    Step(type="metadata", description="Publishing Metadata.", type_ids=(repomd.FILE,)),
    Step(type="close_repo_metadata", description="Closing repo metadata", type_ids=()),
)


class Yum(ContentType):
    """RPM packages, their errata, groups and modules."""

    importer_type_id: Final = "yum_importer"
    distributor_type_ids: Final = ("yum_distributor", "export_distributor")
    unit_type_ids: Final = (
        *packages.TYPES,
        updateinfo.ERRATUM,
        *modules.TYPES,
        *comps.TYPES,
        repomd.FILE,
        treeinfo.DISTRIBUTION,
    )
    merged_type_ids: Final = (updateinfo.ERRATUM,)
    published_under: Final = "repos"

    def __init__(self, clock: Clock = system_clock, signer: Signer | None = None) -> None:
        self._clock: Final = clock
        self._signer: Final = signer

    def check_importer_config(self, config: Config) -> None:
        """Reject an invalid configuration, and any on a machine without createrepo_c."""
        try:
            createrepo()
        except WorkFailed as error:
            raise InvalidValue("importer_type_id", str(error)) from None
        feed.check(config, _IMPORTER)
        variable = _VARIABLE.search(config.get("feed") or "")
        if variable:
            raise InvalidValue("feed", f"it has ${variable[1]}, which dnf fills in; write what it stands for.")
        if config.get("repo_gpgcheck") and not config.get("gpgkey"):
            raise InvalidValue("repo_gpgcheck", "it needs gpgkey too: the public keys that are trusted.")

    def check_distributor_config(self, config: Config) -> None:
        feed.check_keys(config, _DISTRIBUTOR)

    def signed_by(self, config: Config) -> str | None:
        if self._signer is None or config.get("gpg_sign_metadata") is False:
            return None
        return self._signer.identity(config.get("gpg_key_id"))

    def relative_url(self, repo_id: str, config: Config) -> str:
        return feed.place(repo_id, config)

    async def read(self, upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
        return await reading.read(upstream, config, memory)

    def flaw(self, unit: WantedUnit, local: LocalFile, config: Config) -> str | LeftOut | None:
        """Check the package's signature, if that is configured.

        Who is not wanted as a signer is left out, as in Pulp 2; a signature that is not right is a failure.
        """
        required, allowed = bool(config.get("require_signature")), config.get("allowed_keys") or ()
        if unit.type_id not in packages.TYPES or not (required or allowed):
            return None
        flaw = signatures.flaw(local(), allowed, config.get("gpgkey"), required=required)
        if flaw is None or config.get("gpgkey"):
            return flaw
        return LeftOut(name=unit.metadata["filename"], reason=flaw, slot=unit.slot)

    def described(self, unit: WantedUnit, files: Sequence[LocalFile], known: Mapping[str, Any] | None) -> WantedUnit:
        """Note a package's signer, and complete one that is missing from some lists from its file.

        A stored one is complete already.
        """
        if unit.type_id not in packages.TYPES:
            return unit
        if isinstance(unit, packages.PartlyListed):
            unit = replace(unit, detail=b"") if known is not None else packages.completed(unit, files[0]())
        signer = known.get(packages.SIGNER) if known is not None else signatures.short_key_id(files[0]())
        return replace(unit, metadata=unit.metadata | {packages.SIGNER: signer}) if signer else unit

    def surplus(self, held: Iterator[StoredUnit], config: Config) -> Collection[str]:
        """Return packages of which enough newer ones are held."""
        retained = config.get("retain_old_count")
        return () if retained is None else packages.older(held, retained)

    def uploaded(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], file: StoredFile, path: Path
    ) -> WantedUnit:
        """Return the unit of an uploaded package, with the metadata of its header, or of another kind of list.

        As in Pulp 2 the package tells whether it is a source package: there are clients that upload those as `rpm` too.
        """
        del metadata
        if type_id == repomd.FILE:
            return reading.uploaded_file(key, file)
        if type_id not in packages.TYPES:
            known = ", ".join((*packages.TYPES, *forms.TYPES, repomd.FILE))
            raise InvalidValue("unit_type_id", f"only {known} can be uploaded.")
        unit = packages.from_file(path, file.relative_path, key, file.sha256, file.size)
        return self.described(unit, [lambda: path], None)

    def written_by_hand(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], path: Path
    ) -> Sequence[WantedUnit] | None:
        """Return groups, errata and modules from a form, a `comps.xml` or a `modules.yaml`."""
        return forms.units(type_id, key, metadata, path) if type_id in forms.TYPES else None

    def merged(self, unit: WantedUnit, own: StoredUnit | None, others: Sequence[StoredUnit]) -> WantedUnit:
        return updateinfo.merged(unit, own, others)

    def check_copy_config(self, config: Config) -> None:
        feed.check_keys(config, dependencies.OPTIONS)

    def copied_along(
        self, chosen: Sequence[StoredUnit], source: Content, target: Content, config: Config
    ) -> Collection[str]:
        return dependencies.copied_along(chosen, source, target, config)

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """Return the slot: a version of a package, or the id of an erratum, a group and so on."""
        if type_id in packages.TYPES:
            return packages.slot(key)
        if type_id == treeinfo.DISTRIBUTION:
            return treeinfo.SLOT
        return elements.slot(key)

    def description(self, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
        """Describe a package by name and version, an erratum by its id, everything else by its name."""
        if type_id in packages.TYPES:
            return packages.description(key, metadata)
        if type_id == updateinfo.ERRATUM:
            return updateinfo.description(key, metadata)
        if type_id == modules.MODULE:
            version = ":".join(str(key.get(part)) for part in ("stream", "version", "context") if key.get(part))
            return Description(name=str(key["name"]), version=version or None, arch=key.get("arch"))
        words = (key.get(part) for part in ("name", "module", "id", "data_type", "distribution_id"))
        return Description(name=str(next(filter(None, words), type_id)))

    def publish(self, content: Content, tree: Tree, config: Config) -> None:
        """Publish packages below `Packages/`, lists in `repodata/`."""
        signer = None if config.get("gpg_sign_metadata") is False else self._signer
        if signer is None and config.get("gpg_sign_metadata"):
            raise WorkFailed("gpg_sign_metadata asks for signed lists, and [signing] of this server names no key.")
        layout.lay_out(content, tree, config, signer, int(self._clock().timestamp()))

    def sync_report(self, progress: Progress) -> dict[str, Any]:
        """Return all seven parts, whatever the state: the original client fails if one is missing."""
        of_parts = steps.content_states(progress, [type_ids for _, type_ids in _SYNC_PARTS])
        states = dict(zip((name for name, _ in _SYNC_PARTS), of_parts, strict=True))
        report: dict[str, Any] = {name: {"state": state} for name, state in states.items()}
        metadata = steps.metadata_state(progress)
        report["metadata"] = {"state": metadata}
        if metadata == steps.FAILED:
            report["metadata"]["error"] = progress.error_message or ""
        report["content"] = {"state": states["content"], **_content(progress)}
        report["distribution"] = _distribution(progress, states["distribution"])
        if states["content"] == steps.FAILED:
            report["content"]["error"] = progress.error_message
        return report

    def publish_report(self, progress: Progress) -> Any:
        return steps.publish_report(progress, _PUBLISH_STEPS)


def _types(name: str, value: Any) -> None:
    if not isinstance(value, list) or any(kind not in SKIPPABLE for kind in value):
        raise InvalidValue(name, f"it must be a list of {', '.join(SKIPPABLE)}.")


def _key_ids(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(map(_is_key_id, value)):
        raise InvalidValue(name, f"it must be a list of key ids, each {_KEY_IDS}.")


def _key_id(name: str, value: Any) -> None:
    if not _is_key_id(value):
        raise InvalidValue(name, f"it must be a key id {_KEY_IDS}.")


def _is_key_id(value: Any) -> bool:
    if not isinstance(value, str) or not _KEY_ID.match(value):
        return False
    return len(value.removeprefix("0x")) in _KEY_ID_DIGITS


def _public_keys(name: str, value: Any) -> None:
    if not isinstance(value, str) or "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in value:
        raise InvalidValue(name, "it must be the content of a file of OpenPGP public keys.")


_IMPORTER: Final[dict[str, Callable[[str, Any], None]]] = {
    "feed": feed.url,
    "type_skip_list": _types,
    "retain_old_count": feed.whole(0, feed.MOST_RETAINED),
    "require_signature": feed.boolean,
    "allowed_keys": _key_ids,
    "repo_gpgcheck": feed.boolean,
    "gpgkey": _public_keys,
}
_DISTRIBUTOR: Final[dict[str, Callable[[str, Any], None]]] = {
    "http": feed.boolean,
    "https": feed.boolean,
    "relative_url": feed.relative_url,
    "skip": _types,
    "checksum_type": feed.one_of(CHECKSUM_TYPES),
    "updateinfo_checksum_type": feed.one_of(CHECKSUM_TYPES),
    "generate_sqlite": feed.boolean,
    "repoview": feed.boolean,
    "remove_old_repodata": feed.boolean,
    "remove_old_repodata_threshold": feed.whole(0, _LONGEST_THRESHOLD),
    "gpgkey": _public_keys,
    "gpg_sign_metadata": feed.boolean,
    "gpg_key_id": _key_id,
    "https_ca": feed.pem,
    "auth_ca": feed.pem,
    "auth_cert": feed.pem,
    "protected": feed.boolean,
    "force_full": feed.boolean,
    "export_dir": feed.text,
}


def _content(progress: Progress) -> dict[str, Any]:
    total, done = (steps.count(counts, packages.TYPES) for counts in (progress.totals, progress.done))
    return {
        "size_total": progress.bytes_total,
        "size_left": max(progress.bytes_total - progress.bytes_done, 0),
        "items_total": total,
        "items_left": total - done,
        "error_details": [
            *({"name": failure.name, "url": failure.url, "error": failure.error} for failure in progress.failures),
            *([{"error_code": "invalid_package_signature", "count": progress.refused}] if progress.refused else ()),
        ],
        "details": {"rpm_total": total, "rpm_done": done, "drpm_total": 0, "drpm_done": 0},
    }


def _distribution(progress: Progress, state: str) -> dict[str, Any]:
    """Count files, because a tree is one unit with many; without a tree there is nothing to draw."""
    total = steps.count(progress.files_total, (treeinfo.DISTRIBUTION,))
    if not total:
        state = steps.SKIPPED if progress.phase is Phase.COMPLETE else steps.NOT_STARTED
    left = total - steps.count(progress.files_done, (treeinfo.DISTRIBUTION,))
    return {"state": state, "items_total": total, "items_left": left, "error_details": []}
