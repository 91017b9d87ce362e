"""The events that the API itself fires, in the transaction that makes them true."""

from typing import Any

from pulpit.api.services import Services
from pulpit.events import REPO_CREATE, REPO_UPDATE
from pulpit.fire import fire
from pulpit.store.database import Transaction


def repository_created(
    tx: Transaction, repo_id: str, *, display_name: str | None, notes: dict[str, Any], services: Services
) -> None:
    """Tell that there is a new repository."""
    payload = {"repo_id": repo_id, "display_name": display_name, "notes": notes}
    fire(tx, REPO_CREATE, payload, clock=services.clock)


def repository_changed(tx: Transaction, repo_id: str, changed: list[str], services: Services) -> None:
    """Tell what of a repository was changed, never to which value: configurations hold secrets."""
    if changed:
        fire(tx, REPO_UPDATE, {"repo_id": repo_id, "changed": sorted(changed)}, clock=services.clock)
