"""The batches of a catalogue: cut to one transaction each, read ahead, and compared with what is stored already."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from pulpit.content.limits import GIB
from pulpit.content.port import StoredFile, WantedFile, WantedUnit
from pulpit.repositories.concurrency import in_thread
from pulpit.storage.port import Storage
from pulpit.store import units
from pulpit.store.database import Database

_BATCH_BYTES: Final = 2 * GIB


@asynccontextmanager
async def ahead(batches: Iterator[list[WantedUnit]]) -> AsyncIterator[AsyncIterator[list[WantedUnit]]]:
    """Yield the batches, each read in a thread while the one before is processed; no thread outlives the block."""
    coming = asyncio.create_task(in_thread(next, batches, None))

    async def each() -> AsyncIterator[list[WantedUnit]]:
        nonlocal coming
        while (batch := await coming) is not None:
            coming = asyncio.create_task(in_thread(next, batches, None))
            yield batch

    try:
        yield each()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def portions(batches: Iterable[Sequence[WantedUnit]]) -> Iterator[list[WantedUnit]]:
    """Cut batches so that none is too large for one transaction, or too much work to lose when a sync ends."""
    for batch in batches:
        portion: list[WantedUnit] = []
        size = 0
        for unit in batch:
            portion.append(unit)
            size += sum(file.size or 0 for file in unit.files)
            if len(portion) >= units.MOST_AT_ONCE or size >= _BATCH_BYTES:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion


@dataclass(kw_only=True, slots=True)
class Planned:
    """A unit of the feed, with its metadata and those of its files that are stored already."""

    unit: WantedUnit
    known: dict[str, Any] | None = None
    files: dict[str, StoredFile] = field(default_factory=dict)

    @property
    def missing(self) -> list[WantedFile]:
        """Return the files that are not stored."""
        return [file for file in self.unit.files if file.relative_path not in self.files]

    def stored(self) -> units.NewUnit:
        """Return the unit with its files, as it is saved once none is missing."""
        unit = self.unit
        return units.NewUnit(
            type_id=unit.type_id,
            key=unit.key,
            metadata=unit.metadata,
            files=tuple(self.files[wanted.relative_path] for wanted in self.unit.files),
            slot=unit.slot,
            detail=unit.detail or None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A file that may be stored; without a size if no transaction has recorded it."""

    plan: Planned
    wanted: WantedFile
    sha256: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Planning:
    """Plans for one repository."""

    database: Database
    storage: Storage
    repo_id: str
    fresh: set[str]
    """Collects the SHA-256 of files in the storage that no transaction has recorded."""

    def of(self, batch: Sequence[WantedUnit]) -> list[Planned]:
        """Decide which units of a batch are wanted, and which of their files are stored already."""
        with self.database.read() as connection:
            batch = self._wanted(connection, batch)
            identities = {index: (unit.type_id, units.key_digest(unit.key)) for index, unit in enumerate(batch)}
            known = units.find(connection, set(identities.values()))
            sha256s = {
                file.checksum.digest for unit in batch for file in unit.files if file.checksum.algorithm == "sha256"
            }
            kept = units.kept(connection, sha256s)
        planned = [Planned(unit=unit) for unit in batch]
        candidates: list[_Candidate] = []
        for index, plan in enumerate(planned):
            old = known.get(identities[index])
            plan.known = old.metadata if old else None
            hashes = {file.relative_path: file.sha256 for file in old.files} if old else {}
            candidates += _candidates(plan, hashes, kept)
        there = self.storage.present({(file.sha256, file.size) for file in candidates if file.size is not None})
        for candidate in candidates:
            self._reuse(candidate, there)
        return planned

    def _wanted(self, connection: Connection, batch: Sequence[WantedUnit]) -> Sequence[WantedUnit]:
        """Return the batch without units that are only wanted by repositories that hold them, if this one does not."""
        identities = {(unit.type_id, units.key_digest(unit.key)) for unit in batch if unit.only_if_held}
        if not identities:
            return batch
        known = units.find(connection, identities)
        held = units.held_of(connection, self.repo_id, [unit.id for unit in known.values()])
        mine = {identity for identity, unit in known.items() if unit.id in held}
        return [unit for unit in batch if not unit.only_if_held or (unit.type_id, units.key_digest(unit.key)) in mine]

    def _reuse(self, candidate: _Candidate, there: Collection[str]) -> None:
        """Use a stored file; one that no transaction has recorded is verified first."""
        sha256, size, file = candidate.sha256, candidate.size, candidate.wanted
        if size is None:
            size = self.storage.verified(sha256) if self.storage.may_hold(sha256) else None
            self.fresh.update([sha256] if size is not None else ())
        elif sha256 not in there:
            return
        if size is not None and file.size in (None, size):
            path = file.relative_path
            candidate.plan.files[path] = StoredFile(relative_path=path, sha256=sha256, size=size)


def _candidates(plan: Planned, known: Mapping[str, str], kept: Mapping[str, int]) -> Iterator[_Candidate]:
    """Yield the files of a unit whose SHA-256 is known, from the feed or because the unit is stored already."""
    for file in plan.unit.files:
        old = known.get(file.relative_path)
        sha256 = file.checksum.digest if file.checksum.algorithm == "sha256" else old
        if sha256 is not None:
            size = kept.get(sha256) if old is None else kept.get(sha256, file.size)
            yield _Candidate(plan=plan, wanted=file, sha256=sha256, size=size)
