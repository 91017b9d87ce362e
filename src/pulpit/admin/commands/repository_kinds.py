"""The commands that every kind of repository has, from `create` to `publish`, and lists of content."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from pulpit.admin.commands.choosing import CHOICE, chosen
from pulpit.admin.commands.repo import REPO_ID, listing, show
from pulpit.admin.commands.repository_options import Option, Settings
from pulpit.admin.commands.repository_work import delete_command, publish_group, sync_group
from pulpit.admin.following import spawned
from pulpit.admin.grammar import NOTHING_TO_CHANGE, TABLE, Group, given, note_pairs
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongData
from pulpit.client.server import path_of

_TYPE: Final = "_repo-type"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of repository: its importer and distributor, the note that marks it, and the options that it has.

    `settings` divides the options of `create` and `update` by where they go.
    """

    importer: str
    distributor: str
    distributor_id: str
    note: str
    options: Option
    settings: Callable[[dict[str, Any]], Settings]

    def commands(self) -> Iterator[click.Command]:
        """The commands that repositories of every kind have."""
        yield self._create_command()
        yield self._update_command()
        yield click.command("list", cls=Group.command_class)(listing(self._is_one))
        yield search_command({f"notes.{_TYPE}": self.note})
        yield delete_command()
        yield sync_group(self.importer)
        yield publish_group(self.distributor_id)

    def _create_command(self) -> click.Command:
        @click.command(
            "create", cls=Group.command_class, help="Create a repository; every sync of it is followed by a publish."
        )
        @REPO_ID
        @self.options
        @with_session
        def create(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
            body = self._new(repo_id, notes, *self.settings(options))
            answer = session.server.post(path_of("repositories"), body)
            session.screen.succeeded(f"Repository {repo_id} created.", answer)

        return create

    def _new(
        self,
        repo_id: str,
        notes: tuple[str, ...],
        importer: dict[str, Any],
        distributor: dict[str, Any],
        delta: dict[str, Any],
    ) -> dict[str, Any]:
        return {
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

    def _update_command(self) -> click.Command:
        @click.command(
            "update", cls=Group.command_class, help='Change a repository; an option given as "" is taken away.'
        )
        @REPO_ID
        @self.options
        @with_session
        def update(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
            importer, distributor, delta = self.settings(options)
            delta |= given(notes=note_pairs(notes))
            if not (importer or distributor or delta):
                session.screen.warn(NOTHING_TO_CHANGE)
                return
            distributors = {self.distributor_id: distributor} if distributor else {}
            body = {"delta": delta, "importer_config": importer, "distributor_configs": distributors}
            answer = session.server.call("PUT", path_of("repositories", repo_id), body=body)
            if answer.status == 202:  # noqa: PLR2004 - HTTP's "accepted"
                session.follow(spawned(answer.body))
            session.screen.succeeded(f"Repository {repo_id} updated.", answer.body)

        return update

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
    @CHOICE
    @click.option("--fields", help="Show only these keys, separated by commas.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    @click.option("--skip", type=click.IntRange(min=0), help="Leave out so many at the beginning.")
    @TABLE
    @with_session
    def command(
        session: Session,
        /,
        *,
        repo_id: str,
        wanted: str | None,
        fields: str | None,
        limit: int | None,
        skip: int | None,
        **choice: Any,
    ) -> None:
        named = [{shown[0]: wanted}] if wanted else []
        criteria: dict[str, Any] = {"type_ids": list(type_ids), "filters": chosen(choice, *named)}
        criteria |= {key: value for key, value in (("limit", limit), ("skip", skip)) if value}
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
