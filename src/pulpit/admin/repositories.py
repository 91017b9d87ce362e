"""The commands for every kind of repository, from `create` to `publish`, and their options."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from pulpit.admin.grammar import (
    BACKGROUND,
    BOOLEAN,
    CLEAR,
    COUNT,
    NOTHING_TO_CHANGE,
    PEM,
    PORT,
    TABLE,
    TEXT,
    Clearable,
    Group,
    given,
    listed,
    note_pairs,
    secret,
)
from pulpit.admin.repo import REPO_ID, listing, show
from pulpit.admin.schedules import schedules_group
from pulpit.admin.session import Session, spawned, with_session
from pulpit.admin.units import CHOICE, CONDITIONS, chosen, conditions
from pulpit.client.options import Decorator, names_of, with_options
from pulpit.client.server import path_of

REPOSITORY_OPTIONS: Final = (
    click.option("--display-name", type=TEXT, help="Name for people."),
    click.option("--description", type=TEXT, help="What it is for."),
    click.option("--note", "notes", multiple=True, metavar="KEY=VALUE", help="A note of your own; may be repeated."),
    click.option("--reader-user", type=TEXT, help="User name required to read the publication; '' makes it public."),
    click.option(
        "--reader-pass-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with the password."
    ),
)
IMPORTER_OPTIONS: Final = (
    click.option("--validate", type=BOOLEAN, help="Check size and checksum of every file (true or false)."),
    click.option("--feed-ca-cert", "ssl_ca_cert", type=PEM, help="File: CA certificate to trust for the feed."),
    click.option("--feed-cert", "ssl_client_cert", type=PEM, help="File: certificate to show to the feed."),
    click.option("--feed-key", "ssl_client_key", type=PEM, help="File: its private key."),
    click.option(
        "--feed-cert-hosts",
        "ssl_client_cert_hosts",
        type=TEXT,
        metavar="HOST,...",
        help="Hosts besides the feed's own, such as its mirrors, that may be sent the certificate.",
    ),
    click.option("--verify-feed-ssl", "ssl_validation", type=BOOLEAN, help="Check the feed's certificate."),
    click.option("--proxy-host", type=TEXT, help="Proxy on the way to the feed."),
    click.option("--proxy-port", type=PORT, help="Its port."),
    click.option("--proxy-user", "proxy_username", type=TEXT, help="User for the proxy."),
    click.option(
        "--proxy-pass",
        "proxy_password",
        type=TEXT,
        help="Its password, visible to other users of this machine; better --proxy-pass-file.",
    ),
    click.option(
        "--proxy-pass-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with the proxy's password."
    ),
    click.option("--basicauth-user", "basic_auth_username", type=TEXT, help="User for the feed."),
    click.option(
        "--basicauth-pass",
        "basic_auth_password",
        type=TEXT,
        help="Its password, visible to other users of this machine; better --basicauth-pass-file.",
    ),
    click.option(
        "--basicauth-pass-file",
        type=click.Path(path_type=Path),
        help="File (mode 0600, or - ) with the feed's password.",
    ),
    click.option("--max-downloads", type=COUNT, help="At most so many downloads at once."),
    click.option("--max-speed", type=COUNT, help="At most so many bytes a second in each download."),
    click.option("--remove-missing", type=BOOLEAN, help="Remove files that the feed no longer has (true or false)."),
)
RETAINING_OPTIONS: Final = (
    click.option("--retain-old-count", type=Clearable(click.IntRange(min=0)), help="Keep so many old versions."),
    click.option("--only-newest", is_flag=True, help="Keep only the newest versions: the same as 0 old ones."),
)


_ENDED: Final = ["finished", "error", "canceled", "skipped"]
_FORCE_FULL: Final = click.option("--force-full", is_flag=True, help="Do all the work, even if nothing changed.")


def sync_group(importer_id: str) -> click.Group:
    """Return the section `sync`, for the importer with this id."""

    @click.group("sync", cls=Group, help="Fetch what the feed has.")
    def sync() -> None:
        """Hold the commands."""

    @sync.command("run", help="Sync now, or follow a running sync.")
    @REPO_ID
    @_FORCE_FULL
    @click.option("--allow-empty", is_flag=True, help="Allow a feed without any content to empty the repository.")
    @BACKGROUND
    @with_session
    def run_sync(session: Session, /, *, repo_id: str, in_background: bool, **flags: bool) -> None:
        body = {"override_config": {name: True for name, is_set in flags.items() if is_set} or None}
        _run(session, repo_id, "sync", body, in_background=in_background)

    @sync.command("status", help="Follow the running sync.")
    @REPO_ID
    @with_session
    def sync_status(session: Session, /, *, repo_id: str) -> None:
        _status(session, repo_id, "sync")

    sync.add_command(schedules_group("sync", "importers", importer_id))
    return sync


def publish_group(distributor_id: str) -> click.Group:
    """Return the section `publish`, for the distributor with this id."""

    @click.group("publish", cls=Group, help="Serve what the repository has.")
    def publish() -> None:
        """Hold the commands."""

    @publish.command("run", help="Publish now, or follow a running publish.")
    @REPO_ID
    @_FORCE_FULL
    @BACKGROUND
    @with_session
    def run_publish(session: Session, /, *, repo_id: str, force_full: bool, in_background: bool) -> None:
        body = {"id": distributor_id, "override_config": {"force_full": True} if force_full else None}
        _run(session, repo_id, "publish", body, in_background=in_background)

    @publish.command("status", help="Follow the running publish.")
    @REPO_ID
    @with_session
    def publish_status(session: Session, /, *, repo_id: str) -> None:
        _status(session, repo_id, "publish")

    publish.add_command(schedules_group("publish", "distributors", distributor_id))
    return publish


def delete_command() -> click.Command:
    """Return the command `delete`."""

    @click.command("delete", cls=Group.command_class, help="Delete a repository and what it published.")
    @REPO_ID
    @BACKGROUND
    @with_session
    def delete(session: Session, /, *, repo_id: str, in_background: bool) -> None:
        report = session.server.delete(path_of("repositories", repo_id))
        session.follow_report(report, in_background=in_background)
        if not in_background:
            session.screen.say(f"Repository {repo_id} deleted.")

    return delete


def _run(session: Session, repo_id: str, action: str, body: dict[str, Any], *, in_background: bool) -> None:
    running = _running(session, repo_id, action)
    if running:
        session.screen.say(f"A {action} of {repo_id} is under way already.")
        report = {"spawned_tasks": [{"task_id": task_id} for task_id in running]}
    else:
        report = session.server.post(path_of("repositories", repo_id, "actions", action), body)
    session.follow_report(report, in_background=in_background)


def _status(session: Session, repo_id: str, action: str) -> None:
    session.server.get(path_of("repositories", repo_id))
    running = _running(session, repo_id, action)
    if running or session.screen.as_json:
        session.follow(running)
    else:
        session.screen.say(f"No {action} of {repo_id} is under way.")


def _running(session: Session, repo_id: str, action: str) -> list[str]:
    filters = {
        "state": {"$nin": _ENDED},
        "tags": {"$all": [f"pulp:repository:{repo_id}", f"pulp:action:{action}"]},
    }
    found = session.server.post(path_of("tasks", "search"), {"criteria": {"filters": filters}})
    return [str(task["task_id"]) for task in sorted(found, key=lambda task: str(task.get("id") or ""))]


_TYPE: Final = "_repo-type"


@dataclass(frozen=True, kw_only=True, slots=True)
class RepositoryKind:
    """A kind of repository: its importer and distributor, the note that marks it, and the options of each part."""

    importer: str
    distributor: str
    distributor_id: str
    note: str
    importer_options: tuple[Decorator, ...]
    distributor_options: tuple[Decorator, ...]
    lists: Collection[str] = ()
    """The options that are lists: names separated by commas."""
    sent_as: Mapping[str, str] = field(default_factory=dict)
    """The server's keys of options with another name, because both parts have a key of that name."""

    @property
    def options(self) -> Decorator:
        """All options of `create` and `update`."""
        return with_options(*REPOSITORY_OPTIONS, *self.importer_options, *self.distributor_options)

    def settings(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Divide the options that were used into those of importer, distributor, and repository."""
        options["proxy_password"] = secret(options["proxy_password"], options.pop("proxy_pass_file"))
        options["basic_auth_password"] = secret(options["basic_auth_password"], options.pop("basicauth_pass_file"))
        reader, file = options.pop("reader_user"), options.pop("reader_pass_file")
        password = CLEAR if reader is CLEAR else secret(None, file)
        readers = given(basic_auth_username=reader, basic_auth_password=password)  # without a user all may read it
        options |= {name: listed(options[name]) for name in ("ssl_client_cert_hosts", *self.lists)}
        if options.pop("only_newest", False) and options["retain_old_count"] is None:
            options["retain_old_count"] = 0
        used = given(**options)
        importer, distributor = (
            {self.sent_as.get(key, key): used.pop(key) for key in names_of(*part) if key in used}
            for part in (self.importer_options, self.distributor_options)
        )
        return importer, {**distributor, **readers}, used

    def commands(self) -> Iterator[click.Command]:
        """Yield the commands for repositories of every kind."""
        yield self._create_command()
        yield self._update_command()
        of_kind = listing(lambda repository: (repository.get("notes") or {}).get(_TYPE) == self.note)
        yield click.command("list", cls=Group.command_class)(of_kind)
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
            importer, distributor, delta = self.settings(options)
            publisher = {
                "distributor_id": self.distributor_id,
                "distributor_type_id": self.distributor,
                "auto_publish": True,
                "distributor_config": distributor,
            }
            body = {
                "id": repo_id,
                **delta,
                "notes": {**(note_pairs(notes) or {}), _TYPE: self.note},
                "importer_type_id": self.importer,
                "importer_config": importer,
                "distributors": [publisher],
            }
            answer = session.server.post(path_of("repositories"), body)
            session.screen.succeeded(f"Repository {repo_id} created.", answer)

        return create

    def _update_command(self) -> click.Command:
        @click.command("update", cls=Group.command_class, help='Change a repository; an option given as "" is cleared.')
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


def search_command(ours: Mapping[str, Any]) -> click.Command:
    """Return the command `search`, which searches repositories of `ours` unless `--filters` are given."""

    @click.command("search", cls=Group.command_class, help="Find repositories.")
    @CONDITIONS
    @click.option("--fields", help="Show only these keys (and the id), separated by commas.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    @click.option("--skip", type=click.IntRange(min=1), help="Skip so many at the beginning.")
    @TABLE
    @with_session
    def search(session: Session, /, *, fields: str | None, limit: int | None, skip: int | None, **choice: Any) -> None:
        criteria: dict[str, Any] = {"filters": conditions(choice, dict(ours))}
        criteria |= {key: value for key, value in (("limit", limit), ("skip", skip)) if value}
        found = session.server.post(path_of("repositories", "search"), {"criteria": criteria})
        show(session, found, details=False, fields=fields)

    return search


def units_command(name: str, type_ids: Sequence[str], shown: Sequence[str], summary: str) -> click.Command:
    """Return a command that lists a repository's units of these types, by the first of the keys that it shows."""

    @click.command(name, cls=Group.command_class, help=summary)
    @REPO_ID
    @click.option("--name", "wanted", help=f"Only with this {shown[0]}.")
    @CHOICE
    @click.option("--fields", help="Show only these keys, separated by commas.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    @click.option("--skip", type=click.IntRange(min=0), help="Skip so many at the beginning.")
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
        session.screen.show(
            found, ({key: item["metadata"][key] for key in keys if key in item["metadata"]} for item in found)
        )

    return command
