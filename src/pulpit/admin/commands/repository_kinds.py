"""`create`, `update`, `list`, `search` and the lists of content, the same for every kind of repository."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from pulpit.admin.commands.repo import REPO_ID, listing, show
from pulpit.admin.following import spawned
from pulpit.admin.grammar import NOTHING_TO_CHANGE, TABLE, Group, given, note_pairs
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongData
from pulpit.client.server import path_of

Settings = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
"""Of the importer, of the distributor, and of the repository itself."""

_TYPE: Final = "_repo-type"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of repository; `importer` is the type and id of its importer, `note` what marks it."""

    importer: str
    distributor: str
    distributor_id: str
    note: str

    def create(self, session: Session, repo_id: str, notes: tuple[str, ...], settings: Settings) -> None:
        """Create a repository; every sync of it is followed by a publish."""
        importer, distributor, delta = settings
        body = {
            "id": repo_id,
            **delta,
            "notes": {**(note_pairs(notes) or {}), _TYPE: self.note},
            "importer_type_id": self.importer,
            "importer_config": importer,
            "distributors": [
                {
                    "distributor_id": self.distributor_id,
                    "distributor_type_id": self.distributor,
                    "auto_publish": True,
                    "distributor_config": distributor,
                }
            ],
        }
        answer = session.server.post(path_of("repositories"), body)
        session.screen.succeeded(f"Repository {repo_id} created.", answer)

    def update(self, session: Session, repo_id: str, notes: tuple[str, ...], settings: Settings) -> None:
        """Change a repository, if there is anything to change."""
        importer, distributor, delta = settings
        delta |= given(notes=note_pairs(notes))
        if not (importer or distributor or delta):
            session.screen.warn(NOTHING_TO_CHANGE)
            return
        body = {
            "delta": delta,
            "importer_config": importer,
            "distributor_configs": {self.distributor_id: distributor} if distributor else {},
        }
        answer = session.server.call("PUT", path_of("repositories", repo_id), body=body)
        if answer.status == 202:  # noqa: PLR2004 - HTTP's "accepted"
            session.follow(spawned(answer.body))
        session.screen.succeeded(f"Repository {repo_id} updated.", answer.body)

    def list_command(self) -> click.Command:
        """The command `list`."""
        return click.command("list", cls=Group.command_class)(listing(self._is_one))

    def search_command(self) -> click.Command:
        """The command `search`."""
        return search_command({f"notes.{_TYPE}": self.note})

    def _is_one(self, repository: Mapping[str, Any]) -> bool:
        return (repository.get("notes") or {}).get(_TYPE) == self.note


def search_command(ours: Mapping[str, Any]) -> click.Command:
    """The command `search`, which looks among repositories of `ours` unless filters are given."""

    @click.command("search", cls=Group.command_class, help="Find repositories.")
    @click.option("--filters", help="Pulp 2's criteria as JSON, instead of all repositories of this kind.")
    @click.option("--fields", help="Show only these keys (and the id), separated by commas.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    @click.option("--skip", type=click.IntRange(min=1), help="Leave out so many at the beginning.")
    @TABLE
    @with_session
    def search(session: Session, /, *, filters: str | None, fields: str | None, **bounds: int | None) -> None:
        criteria: dict[str, Any] = {"filters": dict(ours) if filters is None else _json(filters)}
        criteria |= {key: value for key, value in bounds.items() if value}
        found = session.server.post(path_of("repositories", "search"), {"criteria": criteria})
        show(session, found, details=False, fields=fields)

    return search


def units_command(name: str, type_ids: Sequence[str], shown: Sequence[str], summary: str) -> click.Command:
    """A command that lists what a repository holds of these types, by the first of the keys that it shows."""

    @click.command(name, cls=Group.command_class, help=summary)
    @REPO_ID
    @click.option("--name", "wanted", help=f"Only with this {shown[0]}.")
    @click.option("--fields", help="Show only these keys, separated by commas.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    @click.option("--skip", type=click.IntRange(min=1), help="Leave out so many at the beginning.")
    @TABLE
    @with_session
    def command(
        session: Session, /, *, repo_id: str, wanted: str | None, fields: str | None, **bounds: int | None
    ) -> None:
        filters = {"unit": {shown[0]: wanted} if wanted else {}}
        criteria: dict[str, Any] = {"type_ids": list(type_ids), "filters": filters}
        criteria |= {key: value for key, value in bounds.items() if value}
        found = session.server.post(path_of("repositories", repo_id, "search", "units"), {"criteria": criteria})
        keys = [field.strip() for field in fields.split(",")] if fields else shown
        if session.screen.as_json:
            session.screen.data(found)
        else:
            session.screen.documents(
                {key: item["metadata"][key] for key in keys if key in item["metadata"]} for item in found
            )

    return command


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise WrongData(f"--filters is no JSON: {error}.") from None
