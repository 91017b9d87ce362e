"""`status`: is the server well?"""

import click

from pulpit.admin.grammar import Command
from pulpit.admin.session import Session, with_session
from pulpit.client.render import unhidden
from pulpit.client.server import path_of


@click.command("status", cls=Command)
@with_session
def status(session: Session) -> None:
    """Show the state of the server and its parts."""
    answer = session.server.get(path_of("status"))
    if session.screen.as_json:
        session.screen.data(answer)
    else:
        session.screen.documents([unhidden(answer or {})])
