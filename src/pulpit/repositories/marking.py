"""Marks what is damaged, so that the next sync fetches it again and the next publish lays it out anew."""

from collections.abc import Sequence

from pulpit.repositories.storage import Storage
from pulpit.repositories.workplace import Workplace
from pulpit.store import repositories
from pulpit.store.database import Database, Transaction
from pulpit.store.repositories import Distributor


def fetch_again(workplace: Workplace, storage: Storage, sha256: str, repo_ids: Sequence[str]) -> None:
    """Let the next sync of the repositories miss a file that is gone or is not what it should be.

    What an unchanged upstream is known by is forgotten, and what was published counts as old: it may hold the bad file.
    """
    storage.path(sha256).unlink(missing_ok=True)
    with workplace.database.write() as tx:
        for repo_id in repo_ids:
            for importer in repositories.importers_of(tx.connection, repo_id):
                scratchpad = {**(importer.scratchpad or {}), "upstream": None}
                repositories.change_importer(tx, repo_id, scratchpad=scratchpad)
            for distributor in repositories.distributors_of(tx.connection, repo_id):
                _let_be_old(tx, distributor)


def publish_again(database: Database, distributor: Distributor) -> None:
    """Let the next publish build a tree though nothing has changed; the one that is shown stays until then."""
    with database.write() as tx:
        _let_be_old(tx, repositories.distributor(tx.connection, distributor.repo_id, distributor.id))


def _let_be_old(tx: Transaction, distributor: Distributor) -> None:
    published = (distributor.scratchpad or {}).get("published")
    if published:
        scratchpad = {**(distributor.scratchpad or {}), "published": {**published, "state": None}}
        repositories.change_distributor(tx, distributor.repo_id, distributor.id, scratchpad=scratchpad)
