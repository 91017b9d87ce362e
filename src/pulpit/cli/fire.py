"""`pulpit fire`: fires events of other systems, one by options or many from standard input.

Lines of JSON are read as they come and sent in batches, each exactly once, however often the connection breaks.
"""

import json
import os
import random
import select
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from pulpit.backoff import delay
from pulpit.client.failures import (
    EXIT_INTERRUPTED,
    BrokenStream,
    Busy,
    Failure,
    NoConnection,
    NotSent,
    ServerTrouble,
    WrongData,
    WrongUse,
)
from pulpit.client.options import Duration, connect, connection_options
from pulpit.client.screen import clean_lines
from pulpit.client.server import Server, v1_path
from pulpit.client.settings import Options
from pulpit.client.streams import write_line
from pulpit.intervals import span_text

STDIN: Final = "-"
_MINUTE: Final = 60
LARGEST_BATCH: Final = 1_000
"""Events; the server accepts 10,000 per request."""
LARGEST_BATCH_BYTES: Final = 4 * 1024 * 1024
"""The server accepts 16 MiB per request, and one further line may be added."""
LONGEST_LINE: Final = 4 * 1024 * 1024
KEYS: Final = frozenset({"event_type", "repo_id", "payload"})
_PIECE: Final = 64 * 1024
_QUIET_SECONDS: Final = 0.2
_FIRST_PAUSE: Final = timedelta(seconds=0.2)
_LONGEST_PAUSE: Final = timedelta(seconds=5)
_HEADERS: Final = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyEvent:
    """One encoded event, and its line number."""

    number: int
    content: bytes


@dataclass(kw_only=True, slots=True)
class Sending:
    """Sends one batch after another and counts what the server has acknowledged."""

    server: Server
    patience: float
    """Seconds for which one batch is retried while nobody responds."""
    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    numbers: list[int] = field(default_factory=list)
    """The event numbers of the last batch."""
    count: int = 0

    def send(self, batch: Sequence[ReadyEvent]) -> None:
        """Send a batch; if it is rejected, send the part before the first invalid event.

        Raises:
            WrongData: the server rejects an event; its line is named.
            Failure: the batch could not be sent.
        """
        try:
            self._send_whole(batch)
        except WrongData as refusal:
            if len(batch) == 1:
                reason = str(refusal).replace("event 1: ", "", 1)  # the server counts within the batch
                raise WrongData(f"Line {batch[0].number} is refused: {reason}") from None
            middle = len(batch) // 2
            self.send(batch[:middle])
            self.send(batch[middle:])

    def _send_whole(self, batch: Sequence[ReadyEvent]) -> None:
        """Retry with the same idempotency key: a server that has the batch already only confirms it."""
        body = b"".join(entry.content + b"\n" for entry in batch)
        headers = {**_HEADERS, "Idempotency-Key": str(uuid.uuid4())}
        deadline = self.clock() + self.patience
        failures = 0
        was_sent = False
        while True:
            try:
                answer = self.server.call("POST", v1_path("events"), body=body, headers=headers).body
                break
            except (NoConnection, Busy) as failure:
                failures += 1
                was_sent = was_sent or not isinstance(failure, NotSent)
                self._wait(failure, failures, deadline, batch, was_sent=was_sent)
        self._acknowledge(answer, len(batch))

    def _wait(
        self,
        failure: NoConnection | Busy,
        failures: int,
        deadline: float,
        batch: Sequence[ReadyEvent],
        *,
        was_sent: bool,
    ) -> None:
        jitter = random.random()  # noqa: S311 - no secret
        pause = delay(failures, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE, random=jitter).total_seconds()
        if self.clock() + pause > deadline:
            first, last = batch[0].number, batch[-1].number
            which = f"line {first} is" if first == last else f"lines {first} to {last} are"
            outcome = f"whether {which} in the log is not known" if was_sent else f"{which} not in the log"
            raise type(failure)(f"{failure}\nGiven up; {outcome}.")
        if failures == 1:
            self.tell(f"{failure} Retrying for {span_text(self.patience)}.")
        self.sleep(pause)

    def _acknowledge(self, answer: object, expected: int) -> None:
        match answer:
            case {"count": int() as count, "numbers": list() as numbers} if count == expected:
                self.count += count
                self.numbers = numbers
            case _:
                raise ServerTrouble("The server's answer does not say that the events are in its log.")


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
    """Fire an event of TYPE, such as ci.build.finish, on a server.

    With - as TYPE, events come from standard input, each a line {"event_type": …, "repo_id": …, "payload": {…}}. They
    are fired in order; exit code 0 means that all are in the log.
    """
    server_options = Options(**options)
    in_bulk = event_type == STDIN
    if in_bulk and (repo_id is not None or payload is not None):
        raise WrongUse("With - as TYPE, each line has its own repo_id and payload.")
    server = _server(server_options, reads_stdin=in_bulk or payload == STDIN)
    sending = Sending(server=server, patience=retry_for, tell=_tell)
    if in_bulk:
        _fire_lines(sending, as_json=as_json)
    else:
        _fire_one(sending, event_type, repo_id, payload, as_json=as_json)


def _server(options: Options, *, reads_stdin: bool) -> Server:
    """Connect; the password cannot come from standard input together with events."""
    if not reads_stdin:
        return connect(options)
    if STDIN in (str(options.password_file), str(options.token_file)):
        raise WrongUse("Standard input cannot hold both the password or token and events.")

    def refuse(user: str) -> str:
        raise WrongUse(
            f"Standard input holds events: give the password of {user} by --password-file or PULPIT_PASSWORD."
        )

    return connect(options, ask=refuse)


def _fire_one(sending: Sending, event_type: str, repo_id: str | None, payload: str | None, *, as_json: bool) -> None:
    event = {"event_type": event_type, "payload": {} if payload is None else _payload(payload)}
    if repo_id is not None:
        event["repo_id"] = repo_id
    try:
        sending.send([ReadyEvent(number=1, content=encoded(event))])
    except KeyboardInterrupt:
        _tell("Whether the event is in the log is not known.")
        raise
    except Failure as failure:
        raise type(failure)(str(failure).removeprefix("Line 1 is refused: ").replace("line 1", "the event")) from None
    sentence = f"Event {sending.numbers[0]} is in the log."
    _report(json.dumps({"count": sending.count, "numbers": sending.numbers}) if as_json else sentence, sentence)


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
        sentence = "1 event is in the log." if sending.count == 1 else f"{sending.count} events are in the log."
        _report(json.dumps({"count": sending.count}) if as_json else sentence, sentence)


def _report(text: str, sentence: str) -> None:
    """Report what is in the log.

    On standard error if standard output fails, because the events are in the log anyway.
    """
    try:
        write_line(text)
    except BrokenStream as failure:
        raise BrokenStream(f"{failure} {sentence}") from None


def _tell(sentence: str) -> None:
    click.echo(clean_lines(sentence), err=True)


def lines(descriptor: int) -> Iterator[bytes | None]:
    """Yield lines as they come; None if nothing has arrived for a moment, so that pending lines can be sent.

    Raises:
        BrokenStream: standard input cannot be read.
    """
    rest = b""
    said_so = True
    while True:
        if not said_so and not select.select([descriptor], [], [], _QUIET_SECONDS)[0]:
            yield None
            said_so = True
        try:
            piece = os.read(descriptor, _PIECE)
        except OSError as error:
            raise BrokenStream(f"Standard input cannot be read: {error.strerror}.") from None
        *whole, rest = (rest + piece).split(b"\n") if b"\n" in piece else [rest + piece]
        yield from whole
        said_so = said_so and not whole
        if not piece or len(rest) > LONGEST_LINE:
            yield rest
            return


def batches(raw_lines: Iterable[bytes | None]) -> Iterator[list[ReadyEvent]]:
    """Gather lines into batches of bounded size; events before an invalid line are still yielded.

    Raises:
        WrongData: a line is not an event; its number is named, and nothing after it is yielded.
    """
    batch: list[ReadyEvent] = []
    size = number = 0
    wrong: WrongData | None = None
    for raw in raw_lines:
        number += raw is not None
        try:
            entry = None if raw is None or not raw.strip() else ReadyEvent(number=number, content=_checked(raw, number))
        except WrongData as failure:
            wrong = failure
            break
        if entry is not None:
            batch.append(entry)
            size += len(entry.content)
        if batch and (raw is None or len(batch) >= LARGEST_BATCH or size >= LARGEST_BATCH_BYTES):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
    if wrong:
        raise wrong


def _checked(raw: bytes, number: int) -> bytes:
    if len(raw) > LONGEST_LINE:
        raise WrongData(f"Line {number} is longer than {LONGEST_LINE} bytes.")
    try:
        event = parsed(raw)
    except WrongData as failure:
        raise WrongData(f"Line {number} {failure}") from None
    complaint = _complaint(event)
    if complaint:
        raise WrongData(f"Line {number} {complaint}")
    return encoded(event)


def parsed(raw: bytes | str) -> Any:
    """Parse strict JSON.

    Raises:
        WrongData: it is not JSON.
    """

    def refuse_constant(name: str) -> None:
        raise json.JSONDecodeError(f"{name} is no number of JSON", "", 0)

    try:
        return json.loads(raw, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise WrongData(f"is not JSON: {reason}.") from None


def encoded(event: Mapping[str, Any]) -> bytes:
    """Encode one event on one line of plain ASCII, without a line end."""
    return json.dumps(event, separators=(",", ":")).encode("ascii")


def _complaint(event: Any) -> str | None:
    if not isinstance(event, dict):
        return "is JSON, but no object."
    unknown = sorted(event.keys() - KEYS)
    if unknown:
        return f"has the unknown key {unknown[0][:40]!r}; there are event_type, repo_id and payload."
    if not isinstance(event.get("event_type"), str):
        return "has no event_type."
    if not isinstance(event.get("repo_id"), str | None):
        return "has a repo_id that is no text."
    return None if isinstance(event.get("payload"), dict | None) else "has a payload that is no object."
