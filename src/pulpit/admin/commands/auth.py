"""`auth user`: who may use the server."""

from pathlib import Path
from typing import Any, Final

import click

from pulpit.admin.grammar import NOTHING_TO_CHANGE, TABLE, Group, given, secret
from pulpit.admin.session import Session, with_session
from pulpit.client.connecting import ask_password
from pulpit.client.failures import WrongData
from pulpit.client.server import path_of

_SHOWN: Final = ("login", "name", "role")

_LOGIN: Final = click.option("--login", required=True, help="The name to log in with.")
_NAME: Final = click.option("--name", help="The name for people.")
_ROLE: Final = click.option(
    "--role", type=click.Choice(["admin", "reader"]), help="admin may do everything, a reader may look and search."
)
_PASSWORD: Final = click.option("--password", help="The password, visible to others; better --password-file.")
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
    if session.screen.as_json:
        session.screen.data(found)
    else:
        session.screen.documents({key: item.get(key) for key in _SHOWN} for item in found)


@user.command("create")
@_LOGIN
@_NAME
@_ROLE
@_PASSWORD
@_PASSWORD_FILE
@with_session
def create(session: Session, /, *, login: str, password: str | None, password_file: Path | None, **more: Any) -> None:
    """Create a user, a reader unless --role says otherwise; without a password you are asked for one."""
    chosen = secret(password, password_file) or ask_password(login)
    if not chosen:
        raise WrongData("A user needs a password.")
    made = session.server.post(path_of("users"), {"login": login, "password": chosen, **given(**more)})
    session.screen.succeeded(f"User {login} created.", made)


@user.command("update")
@_LOGIN
@_NAME
@_ROLE
@_PASSWORD
@_PASSWORD_FILE
@with_session
def update(session: Session, /, *, login: str, password: str | None, password_file: Path | None, **more: Any) -> None:
    """Change a user; who is not an administrator may change their own name and password."""
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
    """Delete a user, but never the last administrator."""
    answer = session.server.delete(path_of("users", login))
    session.screen.succeeded(f"User {login} deleted.", answer)
