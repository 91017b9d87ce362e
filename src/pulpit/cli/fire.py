"""`pulpit fire`: events of other systems into the log, one by options or many by standard input."""

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from pulpit.cli.lines import LONGEST_LINE, Entry, batches, encoded, lines, parsed
from pulpit.cli.sending import Sending
from pulpit.client.connecting import connect, connection_options
from pulpit.client.durations import Duration
from pulpit.client.failures import EXIT_INTERRUPTED, Failure, WrongData, WrongUse
from pulpit.client.output import write_line
from pulpit.client.render import clean_lines
from pulpit.client.server import Server
from pulpit.client.settings import Options

STDIN: Final = "-"

_MINUTE: Final = 60


@click.command("fire")
@click.argument("event_type", metavar="TYPE")
@click.option("--repo-id", help="The repository that it is about.")
@click.option("--payload", metavar="JSON", help="An object; @FILE reads it from a file, - from standard input.")
@click.option(
    "--retry-for",
    type=Duration(),
    default=_MINUTE,
    help="How long to try again while the server does not answer, such as 90s or 1h.  [default: 1m]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the server acknowledged as JSON.")
@connection_options
def fire(
    *, event_type: str, repo_id: str | None, payload: str | None, retry_for: int, as_json: bool, **options: Any
) -> None:
    """Put an event of TYPE, such as ci.build.finish, into the log of a server.

    With - as TYPE, events come from standard input, each a line {"event_type": …, "repo_id": …, "payload": {…}}.
    They are entered in order; 0 says that all are in the log.
    """
    wished = Options(**options)
    in_bulk = event_type == STDIN
    if in_bulk and (repo_id is not None or payload is not None):
        raise WrongUse("With - as TYPE, each line has its own repo_id and payload.")
    server = _server(wished, reads_stdin=in_bulk or payload == STDIN)
    sending = Sending(server=server, patience=retry_for, tell=_tell)
    if in_bulk:
        _fire_lines(sending, as_json=as_json)
    else:
        _fire_one(sending, event_type, repo_id, payload, as_json=as_json)


def _server(options: Options, *, reads_stdin: bool) -> Server:
    """Connect; a password cannot be read from where the events come from."""
    if not reads_stdin:
        return connect(options)
    if str(options.password_file) == STDIN:
        raise WrongUse("Standard input cannot hold both the password and events.")
    return connect(options, ask=_refuse_to_ask)


def _refuse_to_ask(user: str) -> str:
    raise WrongUse(f"Standard input holds events: give the password of {user} by --password-file or PULPIT_PASSWORD.")


def _fire_one(sending: Sending, event_type: str, repo_id: str | None, payload: str | None, *, as_json: bool) -> None:
    event = {"event_type": event_type, "payload": {} if payload is None else _payload(payload)}
    if repo_id is not None:
        event["repo_id"] = repo_id
    try:
        sending.send([Entry(number=1, content=encoded(event))])
    except KeyboardInterrupt:
        _tell("Whether the event is in the log is not known.")
        raise
    except Failure as failure:
        raise type(failure)(str(failure).removeprefix("Line 1 is refused: ").replace("line 1", "the event")) from None
    if as_json:
        write_line(json.dumps({"count": sending.count, "numbers": sending.numbers}))
    else:
        write_line(f"Event {sending.numbers[0]} is in the log.")


def _payload(text: str) -> dict[str, Any]:
    try:
        value = parsed(_source(text))
    except WrongData as failure:
        raise WrongData(f"--payload {failure}") from None
    if not isinstance(value, dict):
        raise WrongData("--payload is JSON, but no object.")
    return value


def _source(text: str) -> bytes | str:
    try:
        if text == STDIN:
            return sys.stdin.buffer.read(LONGEST_LINE)
        if text.startswith("@"):
            with Path(text[1:]).open("rb") as file:
                return file.read(LONGEST_LINE)
    except OSError as error:
        raise WrongData(f"cannot be read: {error.strerror}.") from None
    return text


def _fire_lines(sending: Sending, *, as_json: bool) -> None:
    try:
        for batch in batches(lines(sys.stdin.fileno())):
            sending.send(batch)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    finally:
        write_line(json.dumps({"count": sending.count}) if as_json else _told(sending.count))


def _told(count: int) -> str:
    return "1 event is in the log." if count == 1 else f"{count} events are in the log."


def _tell(sentence: str) -> None:
    click.echo(clean_lines(sentence), err=True)
