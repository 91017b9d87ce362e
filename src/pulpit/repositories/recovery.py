"""Cleans up after killed work, and makes the next sync or publish rebuild what is damaged."""

import logging
from collections.abc import Sequence

from pulpit.errors import PulpitError
from pulpit.repositories.context import TaskContext
from pulpit.repositories.upgrade import take_over_trees
from pulpit.storage.scratch import Scratch
from pulpit.store import publications, repositories

_log = logging.getLogger(__name__)


def recover(context: TaskContext) -> None:
    """Clean up after killed work, and convert what an earlier version published; call it before any work starts."""
    sweep(context.scratch)
    try:
        take_over_trees(context)
    except (OSError, PulpitError):
        _log.exception("earlier published trees could not be taken over", extra={"action": "recovery_failed"})


def sweep(scratch: Scratch) -> None:
    """Remove the scratch folders of dead processes; disk errors are logged."""
    try:
        scratch.sweep()
    except OSError:
        _log.exception("what killed work left could not be removed", extra={"action": "recovery_failed"})


def invalidate_file(context: TaskContext, sha256: str, repo_ids: Sequence[str]) -> None:
    """Make the next sync of the repositories download a missing or damaged file again.

    The importer's state is reset, so that an unchanged upstream is read again, and publications count as outdated,
    because they may contain the bad file.
    """
    context.storage.remove([sha256])
    with context.database.write() as tx:
        for repo_id in repo_ids:
            for importer in repositories.importers_of(tx.connection, repo_id):
                scratchpad = {**(importer.scratchpad or {}), "upstream": None}
                repositories.change_importer(tx, repo_id, scratchpad=scratchpad)
            for distributor in repositories.distributors_of(tx.connection, repo_id):
                publications.mark_outdated(tx, distributor.object_id)
