"""`pulpit on`: runs a command for each event, from a server's log by a stored position, or from a durable queue."""

import asyncio
import concurrent.futures
import contextlib
import os
import random
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from pulpit.client import log
from pulpit.client.failures import Busy, Failure, NoConnection, WorkNotDone, WrongData, WrongUse
from pulpit.client.options import Duration, connect, connection_options
from pulpit.client.server import Query, Server, v1_path
from pulpit.client.settings import Options
from pulpit.clock import iso_micro
from pulpit.net.config_files import home_dir
from pulpit.subscriber.commands import Event, Lanes, Letters, Position, Runner, find_command
from pulpit.subscriber.event import Event as Message
from pulpit.subscriber.event import plain
from pulpit.subscriber.listen import URL_VARIABLE, choose
from pulpit.subscriber.source import Binding
from pulpit.subscriber.subscribe import REMEMBERED, Identity, make
from pulpit.subscriber.subscription import Subscription
from pulpit.text import clean
from pulpit.topics import ANY_WORD, ANY_WORDS, matches

SUBJECTS: Final = "pulp.server."
"""Prefix of the subjects of events."""
PREFETCH: Final = 100
_HOUR: Final = 3600
_ASKED_EVERY_S: Final = 2.0
_ACKNOWLEDGED_EVERY_S: Final = 0.2
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")


def _tell(sentence: str) -> None:
    click.echo(f"pulpit on: {clean(sentence)}", err=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The events that the command is run for."""

    pattern: str
    repo_ids: Sequence[str]
    packages: Sequence[str]
    results: Sequence[str]

    @property
    def topic(self) -> str:
        return ANY_WORDS if self.pattern == ANY_WORD else self.pattern

    def query(self) -> Query:
        """Return the same as a query for the log of a server."""
        asked = {
            "event_type": [self.pattern],
            "repo_id": self.repo_ids,
            "package": self.packages,
            "result": self.results,
        }
        return {key: list(values) for key, values in asked.items() if values}

    def has(self, event: Event) -> bool:
        """Whether an event matches, as far as the event itself tells."""
        if not matches(self.topic, str(event.get("event_type") or "")):
            return False
        if self.repo_ids and not any(
            fnmatchcase(str(event.get("repo_id") or ""), pattern) for pattern in self.repo_ids
        ):
            return False
        return not self.results or event.get("result") in self.results


@click.command("on")
@click.argument("pattern")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", help="Name of the position that the server stores; the same name continues there.")
@click.option(
    "--repo-id",
    "repo_ids",
    multiple=True,
    metavar="PATTERN",
    help="Only events of repositories that match; repeatable.",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="PATTERN",
    help="Only events that changed a package with such a name; repeatable.",
)
@click.option("--result", "results", multiple=True, help="Only with this result, such as success; repeatable.")
@click.option(
    "--after", type=click.IntRange(min=-1), metavar="N", help="Where a new name begins: after event N.  [default: now]"
)
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=1, show_default=True, help="Commands that run at a time."
)
@click.option(
    "--give-up-after", type=Duration(), default=_HOUR, help="How long to try an event that fails.  [default: 1h]"
)
@click.option("--time-limit", type=Duration(), default=_HOUR, help="How long one run may take.  [default: 1h]")
@click.option(
    "--dead-letters",
    type=click.Path(path_type=Path),
    help="File of dead letters.  [default: on-NAME.dead-letters in $STATE_DIRECTORY or ~/.local/state/pulpit]",
)
@click.option("--again", is_flag=True, help="Run the command for the dead letters instead, once each.")
@click.option("--once", is_flag=True, help="End when the end of the log is reached.")
@click.option("--queue", metavar="NAME", help="Take events from this durable queue of a broker, not from the log.")
@click.option("--exchange", default="amq.topic", show_default=True, help="The exchange that the queue is bound to.")
@click.option(
    "--amqp-url-file",
    type=click.Path(path_type=Path),
    help=f"File (mode 0600) with the URL of the broker (or {URL_VARIABLE}).  [default: amqp://localhost]",
)
@connection_options
def on(
    *,
    pattern: str,
    command: tuple[str, ...],
    name: str | None,
    repo_ids: tuple[str, ...],
    packages: tuple[str, ...],
    results: tuple[str, ...],
    after: int | None,
    concurrency: int,
    give_up_after: int,
    time_limit: int,
    dead_letters: Path | None,
    again: bool,
    once: bool,
    queue: str | None,
    exchange: str,
    amqp_url_file: Path | None,
    **options: Any,
) -> None:
    """Run COMMAND for each event whose type matches PATTERN, such as repo.publish.finish, "ci.#" or "*".

    The event is on its standard input as one line of JSON, and in PULPIT_EVENT_TYPE, PULPIT_REPO_ID, PULPIT_RESULT and
    similar variables. Exit code 0 acknowledges it. Any other retries it, at growing intervals, until --give-up-after;
    then the event is written to a file of dead letters, and the next one follows. Nothing is lost when this ends or is
    killed: unacknowledged events come again. With --concurrency the events of one repository stay in order.
    """
    wanted = Wanted(pattern=pattern, repo_ids=repo_ids, packages=packages, results=results)
    which = queue if name is None else name
    if which is None:
        raise WrongUse("Give the position a --name, under which it is kept, or name a --queue.")
    if queue is not None and (packages or after is not None or once):
        raise WrongUse("--package, --after and --once are for the log; with --queue the listener's filters do it.")
    if queue is None and not _NAME.match(which):
        raise WrongData("--name has 1 to 100 letters, digits, '.', '-' and '_', and does not begin with '.'.")
    find_command(command)
    letters = Letters(dead_letters or _letters_file(which))

    def runner() -> Runner:
        return Runner(
            command=command,
            letters=letters,
            give_up_after=give_up_after,
            time_limit=time_limit,
            tell=_tell,
            random=random.random,
            slots=asyncio.Semaphore(concurrency),
        )

    if again:
        asyncio.run(_again(runner, letters, wanted))
    elif queue is not None:
        subscription = partial(_subscription, queue, exchange, wanted, amqp_url_file)
        asyncio.run(_until_stopped(runner, partial(_from_queue, subscription, wanted), in_lanes=concurrency > 1))
    else:
        server = connect(Options(**options))
        part = LogPart(server=server, name=which, after=after, wanted=wanted, once=once)
        asyncio.run(_until_stopped(runner, partial(_from_log, part), in_lanes=concurrency > 1))


def _letters_file(name: str) -> Path:
    folder = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if not folder:
        state = os.environ.get("XDG_STATE_HOME") or str(home_dir() / ".local" / "state")
        folder = f"{state}/pulpit"
    return Path(folder) / f"on-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.dead-letters"


async def _again(make_runner: Callable[[], Runner], letters: Letters, wanted: Wanted) -> None:
    """Run the command once for each dead letter, and remove those for which it succeeds.

    Raises:
        WorkNotDone: some are left.
    """
    runner, left, done = make_runner(), 0, 0
    for letter in letters.every():
        if not wanted.has(letter["event"]):
            continue
        reason = await runner.run(letter["event"], int(letter.get("attempts") or 0) + 1)
        if reason is None:
            letters.drop(letter)
            done += 1
        else:
            left += 1
            _tell(f"event {letter['event'].get('number')} stays a dead letter: {reason}")
    _tell(f"{done} dead letters are done, {left} are left in {letters.path}.")
    if left:
        raise WorkNotDone(f"{left} dead letters are left.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Handling:
    """Receives the events."""

    runner: Runner
    lanes: Lanes
    in_lanes: bool
    """Whether repositories are independent of each other."""

    async def take(self, event: Event, settle: Callable[[], None]) -> None:
        """Handle an event and then settle it; waits while too many are pending."""
        lane = str(event.get("repo_id") or "") if self.in_lanes else ""
        await self.lanes.put(lane, partial(self.runner.handle, event, settle))


Source = Callable[[Handling], Awaitable[None]]
"""Passes on events until it is cancelled or there are no more; it stops the lanes before it ends."""


async def _until_stopped(make_runner: Callable[[], Runner], source: Source, *, in_lanes: bool) -> None:
    """Handle events until a signal: the first lets running commands finish, the second kills them."""
    handling = Handling(runner=make_runner(), lanes=Lanes(), in_lanes=in_lanes)
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            handling.runner.end_all()
        elif handling.runner.processes:
            _tell("waiting for the running commands to end; interrupt again to kill them")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    reading = asyncio.ensure_future(source(handling))
    stopping = asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {reading, stopping, handling.lanes.broken}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    if handling.lanes.broken.done():
        handling.lanes.broken.result()


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPart:
    """What to read of a server's log."""

    server: Server
    name: str
    """The name of the consumer that stores the position."""
    after: int | None
    """Where a new consumer begins; `None` is the end."""
    wanted: Wanted
    once: bool
    """Whether to stop at the end of the log."""


async def _from_log(part: LogPart, handling: Handling) -> None:
    server, consumer = part.server, v1_path("consumers", part.name)
    body = {} if part.after is None else {"after": part.after}
    query = part.wanted.query()
    await _patiently(lambda: log.read(server, log.FROM_NOW_ON, query, limit=1))  # an invalid query creates nothing
    document = await _patiently(lambda: server.put(consumer, body))
    position = Position(int(document["position"]))
    handling.lanes.ahead = partial(len, position)
    _tell(f"{part.name} stands behind event {position.number}")
    changed = asyncio.Event()
    pages: asyncio.Queue[log.Page | Exception] = asyncio.Queue(2)
    _read_on(server, position.number, query, pages, wait=not part.once)
    acknowledging = asyncio.ensure_future(_acknowledge(server, consumer, position, changed, pages))
    try:
        while True:
            page = await pages.get()
            if isinstance(page, Exception):
                raise page
            for event in page.events:
                await handling.take(event, _both(position.take(event["number"]), changed.set))
            position.take(page.next, settled=True)
            changed.set()
            if part.once and page.next >= page.head:
                await handling.lanes.idle()
                return
    finally:
        await handling.lanes.stop()
        acknowledging.cancel()
        await asyncio.wait({acknowledging})
        try:
            await asyncio.to_thread(server.post, f"{consumer}/acknowledge", {"number": position.number})
        except Failure as failure:
            _tell(f"{failure} What was done after the last acknowledgement comes again.")


def _both(first: Callable[[], None], second: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        first()
        second()

    return call


def _read_on(
    server: Server, after: int, query: Query, pages: "asyncio.Queue[log.Page | Exception]", *, wait: bool
) -> None:
    """Read the log in a daemon thread."""
    loop = asyncio.get_running_loop()

    def put(found: log.Page | Exception) -> None:
        asyncio.run_coroutine_threadsafe(pages.put(found), loop).result()

    def read() -> None:
        with contextlib.suppress(RuntimeError, concurrent.futures.CancelledError):  # the loop has ended
            try:
                for page in log.pages(server, after, query, _tell, wait=wait):
                    put(page)
            except Failure as failure:
                put(failure)

    threading.Thread(target=read, name="log", daemon=True).start()


async def _acknowledge(
    server: Server,
    consumer: str,
    position: Position,
    changed: asyncio.Event,
    failed: "asyncio.Queue[log.Page | Exception]",
) -> None:
    """Acknowledge up to the settled position, repeatedly."""
    said = position.number
    while True:
        await changed.wait()
        changed.clear()
        number = position.number
        if number > said:
            try:
                await _patiently(lambda: server.post(f"{consumer}/acknowledge", {"number": number}))  # noqa: B023 - at once
            except Failure as failure:
                await failed.put(failure)
                return
            said = number
        await asyncio.sleep(_ACKNOWLEDGED_EVERY_S)


async def _patiently(ask: Callable[[], Any]) -> Any:
    """Retry until the server responds.

    Raises:
        Failure: it rejects the request.
    """
    told = False
    while True:
        try:
            return await asyncio.to_thread(ask)
        except (NoConnection, Busy) as failure:
            if not told:
                _tell(f"{failure} Retrying until it does.")
                told = True
        await asyncio.sleep(_ASKED_EVERY_S)


def _subscription(queue: str, exchange: str, wanted: Wanted, url_file: Path | None) -> Subscription:
    addresses = choose(url=None, url_file=url_file, host=None, port=None, environment=os.environ)
    binding = Binding(exchange=exchange, subject=SUBJECTS + wanted.topic, queue=queue, prefetch=PREFETCH)
    identity = Identity(name="pulpit on")
    return make(
        addresses,
        binding,
        identity=identity,
        on_news=lambda _level, sentence: _tell(sentence),
        remember=REMEMBERED,
        automatic=False,
    )


async def _from_queue(make_subscription: Callable[[], Subscription], wanted: Wanted, handling: Handling) -> None:
    async with make_subscription() as subscription:
        try:
            async for message in subscription:
                event = _document(message)
                settle = partial(subscription.acknowledge, message)
                if wanted.has(event):
                    await handling.take(event, settle)
                else:
                    settle()
        finally:
            await handling.lanes.stop()


def _document(message: Message) -> Event:
    """Convert a queue's event to the log's form."""
    return {
        "number": message.number,
        "id": message.id,
        "event_type": message.event_type,
        "repo_id": message.repo_id,
        "repo_number": message.repo_number,
        "result": plain(message.payload.get("result")),
        "occurred_at": None if message.occurred_at is None else iso_micro(message.occurred_at),
        "traceparent": plain(message.headers.get("traceparent")),
        "payload": plain(message.payload),
        "call_report": plain(message.call_report),
    }
