"""`event hook`: URLs to which other systems post their events."""

from typing import Any, Final

import click

from pulpit.admin.grammar import TABLE, Group, given, secret
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongData
from pulpit.client.server import v1_path

_SHOWN: Final = (
    "id",
    "name",
    "provider",
    "fires",
    "repo_id",
    "starts_sync",
    "received",
    "last_received_at",
    "last_problem",
)


@click.group("hook", cls=Group)
def hook() -> None:
    """URLs to which GitHub, GitLab, Gitea and others post, to fire events and start syncs."""


@hook.command("create")
@click.option("--name", required=True, help="Its name, unique.")
@click.option(
    "--provider",
    type=click.Choice(["github", "gitlab", "gitea", "generic"]),
    default="generic",
    show_default=True,
    help="Who posts to it.",
)
@click.option(
    "--fires",
    metavar="TYPE",
    help="Type of its events, with {event}, {action}, {repository}, {ref}.  [default: PROVIDER.{event}.{action}]",
)
@click.option(
    "--repo-id", metavar="ID", help="The repository that its events are about; may contain the same placeholders."
)
@click.option("--starts-sync", metavar="ID", help="Sync this repository at each request.")
@click.option(
    "--only", multiple=True, metavar="EVENT", help="Accept only this event of the provider, such as push; repeatable."
)
@click.option("--secret-file", type=click.Path(), help="File (mode 0600) with the secret.  [default: a new one]")
@with_session
def create(session: Session, /, *, secret_file: str | None, only: tuple[str, ...], **options: Any) -> None:
    """Create a hook, and print its URL and its secret, which is shown only once."""
    body = given(secret=secret(None, secret_file), only=list(only) or None, **options)
    made = session.server.post(v1_path("hooks"), body)
    if session.screen.as_json:
        session.screen.data(made)
        return
    url = f"{session.server.settings.server_name}{made['path']}"
    session.screen.succeeded(f"Hook {made['name']} created.")
    session.screen.documents([{"url": url, "secret": made["secret"]}])


@hook.command("list")
@TABLE
@with_session
def list_hooks(session: Session, /) -> None:
    """List the hooks, with their last use and its error."""
    found = session.server.get(v1_path("hooks"))["hooks"]
    shown = ({key: item[key] for key in _SHOWN if item.get(key) is not None} for item in found)
    session.screen.show(found, shown, nothing="There are no hooks.")


@hook.command("delete")
@click.option("--name", required=True, help="The hook's name.")
@with_session
def delete(session: Session, /, *, name: str) -> None:
    """Delete a hook; the events that it fired stay in the log."""
    found = session.server.get(v1_path("hooks"))["hooks"]
    ids = [item["id"] for item in found if item["name"] == name]
    if not ids:
        raise WrongData(f"There is no hook {name}.")
    answer = session.server.delete(v1_path("hooks", ids[0]))
    session.screen.succeeded(f"Hook {name} deleted.", answer)
