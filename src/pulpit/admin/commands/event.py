"""`event`: who is told of events, what became of it, and the log of them all."""

import click

from pulpit.admin.commands import dead_letters, event_log, listener_kinds, listener_verbs
from pulpit.admin.commands.listener import listener
from pulpit.admin.grammar import Group


@click.group("event", cls=Group)
def event() -> None:
    """Events and who is told of them."""


for kind in (listener_kinds.amqp, listener_kinds.email, listener_kinds.http):
    listener.add_command(kind)
for verb in listener_verbs.VERBS:
    listener.add_command(verb)
for section in (listener, dead_letters.dead_letters, event_log.log, event_log.tail):
    event.add_command(section)
