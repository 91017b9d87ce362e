"""`auth user`: who may use the server; `login` and `logout`: a certificate that stands for the password for a while."""

import os
from pathlib import Path
from typing import Any, Final

import click

from pulpit.admin.grammar import NOTHING_TO_CHANGE, TABLE, Command, Group, given, secret
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import ServerTrouble, WrongData, WrongSettings, WrongUse
from pulpit.client.options import ask_password
from pulpit.client.server import path_of
from pulpit.client.settings import session_file
from pulpit.clock import iso

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


@click.command("login", cls=Command)
@click.option("-u", "--username", required=True, help="Who logs in.")
@click.option("-p", "--password", help="The password, visible to others; better --password-file, or being asked.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with the password.")
@with_session
def login(session: Session, /, *, username: str, password: str | None, password_file: Path | None) -> None:
    """Log in over https: later commands need no -u until the session expires or you log out."""
    server = session.server_of(username, password, password_file)
    if server.settings.url.scheme != "https":
        raise WrongUse("A session is a certificate, which needs https; over http give -u with every command.")
    answer = server.post(path_of("actions", "login"))
    from cryptography import x509  # noqa: PLC0415 - the other commands need not wait for it

    try:
        text = answer["key"] + answer["certificate"]
        until = iso(x509.load_pem_x509_certificate(answer["certificate"].encode()).not_valid_after_utc)
    except (KeyError, TypeError, ValueError):
        raise ServerTrouble("The server's answer is no key and certificate.") from None
    _keep(text)
    session.screen.succeeded(f"Logged in as {username} until {until}.", {"username": username, "expires": until})


@click.command("logout", cls=Command)
@with_session
def logout(session: Session, /) -> None:
    """Forget the session of `login`."""
    try:
        session_file().unlink()
    except FileNotFoundError:
        session.screen.warn("Nobody is logged in.")
    except OSError as error:
        raise WrongSettings(f"{session_file()} cannot be removed: {error.strerror}") from None
    else:
        session.screen.succeeded("Logged out.")


def _keep(text: str) -> None:
    """Write the file for its owner alone, whole or not at all."""
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
