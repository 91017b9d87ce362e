"""`auth user`, `auth token`: who may use the server, and credentials for programs.

`login` and `logout`: a certificate that replaces the password for a while.
"""

import os
from pathlib import Path
from typing import Any, Final

import click

from pulpit import intervals
from pulpit.admin.grammar import NOTHING_TO_CHANGE, TABLE, Command, Group, given, secret
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import ServerTrouble, WrongData, WrongSettings, WrongUse
from pulpit.client.options import ask_password
from pulpit.client.server import path_of, v1_path
from pulpit.client.settings import session_file
from pulpit.clock import iso

_SHOWN: Final = ("login", "name", "role", "repo_ids")
_TOKEN_SHOWN: Final = ("id", "name", "user", "scopes", "expires_at", "last_used_at")
NEVER: Final = "never"

_LOGIN: Final = click.option("--login", required=True, help="The name to log in with.")
_NAME: Final = click.option("--name", help="The display name.")
_ROLE: Final = click.option(
    "--role",
    type=click.Choice(["admin", "operator", "reader"]),
    help="admin may do everything, a reader list and search, an operator also sync, publish and have listeners.",
)
_REPO_IDS: Final = click.option(
    "--repo-id",
    "repo_ids",
    multiple=True,
    metavar="PATTERN",
    help='Only in repositories that match, such as fedora-*; may be repeated. "" is all.',
)
_PASSWORD: Final = click.option(
    "--password", help="The password, visible to other users of this machine; better --password-file."
)
_PASSWORD_FILE: Final = click.option(
    "--password-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with the password."
)


@click.group("auth", cls=Group)
def auth() -> None:
    """Who may use the server."""


@auth.group("user")
def user() -> None:
    """Manage users."""


@user.command("list")
@TABLE
@with_session
def list_users(session: Session, /) -> None:
    """List the users."""
    found = session.server.get(path_of("users"))
    session.screen.show(found, ({key: item[key] for key in _SHOWN if item.get(key) is not None} for item in found))


@user.command("create")
@_LOGIN
@_NAME
@_ROLE
@_REPO_IDS
@_PASSWORD
@_PASSWORD_FILE
@with_session
def create(session: Session, /, *, login: str, password: str | None, password_file: Path | None, **more: Any) -> None:
    """Create a user, a reader unless --role says otherwise; without a password you are asked for one."""
    more["repo_ids"] = _patterns(more["repo_ids"])
    chosen = secret(password, password_file) or ask_password(login)
    if not chosen:
        raise WrongData("A user needs a password.")
    made = session.server.post(path_of("users"), {"login": login, "password": chosen, **given(**more)})
    session.screen.succeeded(f"User {login} created.", made)


@user.command("update")
@_LOGIN
@_NAME
@_ROLE
@_REPO_IDS
@_PASSWORD
@_PASSWORD_FILE
@with_session
def update(session: Session, /, *, login: str, password: str | None, password_file: Path | None, **more: Any) -> None:
    """Change a user; users who are not administrators may change their own name and password."""
    more["repo_ids"] = _patterns(more["repo_ids"])
    delta = given(password=secret(password, password_file), **more)
    if delta:
        changed = session.server.put(path_of("users", login), {"delta": delta})
        session.screen.succeeded(f"User {login} updated.", changed)
    else:
        session.screen.warn(NOTHING_TO_CHANGE)


@user.command("delete")
@_LOGIN
@with_session
def delete(session: Session, /, *, login: str) -> None:
    """Delete a user with the user's tokens, but never the last administrator; the user's listeners are paused."""
    answer = session.server.delete(path_of("users", login))
    session.screen.succeeded(f"User {login} deleted.", answer)


def _patterns(repo_ids: tuple[str, ...]) -> list[str] | None:
    """Return the patterns that were given; a lone "" clears them."""
    return None if not repo_ids else [pattern for pattern in repo_ids if pattern]


@auth.group("token")
def token() -> None:
    """Manage tokens, which programs use instead of a password."""


@token.command("create")
@click.option("--name", required=True, help="What it is for; unique among the tokens of its user.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="What it may do: fire, read, sync, publish or listen, each perhaps with a pattern (fire:ci.#, sync:fedora-*),"
    " or admin; may be repeated.",
)
@click.option("--expires", metavar="TIME", default="90d", show_default=True, help="How long it is valid, or never.")
@click.option("--login", help="The user who owns the token; it ends with the user.  [default: who asks]")
@with_session
def create_token(session: Session, /, *, name: str, scopes: tuple[str, ...], expires: str, login: str | None) -> None:
    """Create a token and print it; it is shown only once, so keep it in a file of mode 0600."""
    seconds = None if expires == NEVER else intervals.span_seconds(expires)
    if seconds is None and expires != NEVER:
        raise WrongData(f"--expires is a time such as 12h or 90d, or {NEVER}; {expires!r} is none.")
    body = {"name": name, "scopes": list(scopes), "expires_in": seconds}
    made = session.server.post(v1_path("tokens"), body if login is None else {**body, "user": login})
    if session.screen.as_json:
        session.screen.data(made)
    else:
        session.screen.warn(f"Token {name} created; it is not shown again:")
        click.echo(made["token"])


@token.command("list")
@TABLE
@with_session
def list_tokens(session: Session, /) -> None:
    """List your tokens, or as an administrator all, with the time of their last use."""
    found = session.server.get(v1_path("tokens"))["tokens"]
    session.screen.show(found, ({key: item.get(key) for key in _TOKEN_SHOWN} for item in found))


@token.command("revoke")
@click.option("--name", help="The token's name.")
@click.option("--login", help="Its user, where several have a token of that name.")
@click.option("--token-id", help="The token's id instead, as shown by `list`.")
@with_session
def revoke_token(session: Session, /, *, name: str | None, login: str | None, token_id: str | None) -> None:
    """Revoke a token; the next request with it is rejected."""
    if (name is None) == (token_id is None):
        raise WrongUse("Give either --name or --token-id.")
    if token_id is None:
        found = session.server.get(v1_path("tokens"))["tokens"]
        ids = [item["id"] for item in found if item["name"] == name and login in (None, item["user"])]
        if len(ids) != 1:
            raise WrongData(f"There are several tokens {name}; give --login." if ids else f"There is no token {name}.")
        token_id = ids[0]
    answer = session.server.delete(v1_path("tokens", token_id))
    session.screen.succeeded("Token revoked.", answer)


@click.command("login", cls=Command)
@click.option("-u", "--username", help="Who logs in; -u and -p may also come before `login`.")
@click.option(
    "-p",
    "--password",
    help="The password, visible to other users of this machine; better --password-file, or being asked.",
)
@_PASSWORD_FILE
@with_session
def login(session: Session, /, *, username: str | None, password: str | None, password_file: Path | None) -> None:
    """Log in over https: later commands need no -u until the session expires or you log out."""
    user, server = session.server_of(username, password, password_file)
    if server.settings.url.scheme != "https":
        raise WrongUse("A session is a certificate, which needs https; over http give -u USER before each command.")
    answer = server.post(path_of("actions", "login"))
    from cryptography import x509  # noqa: PLC0415 - other commands do not need it

    try:
        text = answer["key"] + answer["certificate"]
        until = iso(x509.load_pem_x509_certificate(answer["certificate"].encode()).not_valid_after_utc)
    except (KeyError, TypeError, ValueError):
        raise ServerTrouble("The server's answer is no key and certificate.") from None
    _keep(text)
    session.screen.succeeded(f"Logged in as {user} until {until}.", {"username": user, "expires": until})


@click.command("logout", cls=Command)
@with_session
def logout(session: Session, /) -> None:
    """Delete the session of `login`."""
    try:
        session_file().unlink()
    except FileNotFoundError:
        session.screen.warn("Nobody is logged in.")
    except OSError as error:
        raise WrongSettings(f"{session_file()} cannot be removed: {error.strerror}") from None
    else:
        session.screen.succeeded("Logged out.")


def _keep(text: str) -> None:
    """Write the file atomically with mode 0600."""
    path = session_file()
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        new.rename(path)
    except OSError as error:
        raise WrongSettings(f"The session cannot be kept in {path}: {error.strerror}") from None
