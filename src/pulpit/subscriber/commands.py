# SPDX-License-Identifier: Apache-2.0
"""What `pulpit on` does with events: it runs a command for each, in order, until it succeeds or is given up.

Lanes       events of one repository in order, other repositories concurrently
Runner      one event: the command, retried with back-off, then a dead letter
Letters     the file of dead letters, which can be run again by hand
Position    up to where all events are settled, in whatever order that happens
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pulpit.backoff import delay
from pulpit.client.failures import BrokenStream, WrongSettings
from pulpit.clock import iso
from pulpit.intervals import span_text
from pulpit.text import clean, system_reason

MOST_AHEAD: Final = 1_000
"""Events that are accepted beyond the oldest unsettled one."""
FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=5)
_LAST_CHANCE_S: Final = 10.0
"""Between the signal to stop and SIGKILL."""

Event = Mapping[str, Any]
Tell = Callable[[str], None]


def variables(event: Event, attempt: int) -> dict[str, str]:
    """Return the fields of an event as environment variables; a missing field is empty."""
    found = {
        "PULPIT_EVENT_TYPE": event.get("event_type"),
        "PULPIT_EVENT_NUMBER": event.get("number"),
        "PULPIT_EVENT_ID": event.get("id"),
        "PULPIT_REPO_ID": event.get("repo_id"),
        "PULPIT_REPO_NUMBER": event.get("repo_number"),
        "PULPIT_RESULT": event.get("result"),
        "PULPIT_OCCURRED_AT": event.get("occurred_at"),
        "PULPIT_ATTEMPT": attempt,
        "TRACEPARENT": event.get("traceparent"),
    }
    return {name: "" if value is None else str(value).replace("\0", "") for name, value in found.items()}


class Letters:
    """A file of dead letters, one JSON object per line, with mode 0600."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def add(self, event: Event, reason: str, attempts: int) -> None:
        """Add an event; it is on disk when this returns.

        Raises:
            BrokenStream: it cannot be written.
        """
        letter = {"at": iso(datetime.now(UTC)), "attempts": attempts, "reason": reason, "event": event}
        line = json.dumps(letter, separators=(",", ":")).encode("ascii") + b"\n"
        with self._locked() as descriptor:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            try:
                view = memoryview(line)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise

    def every(self) -> list[dict[str, Any]]:
        """Return all dead letters, the oldest first.

        Raises:
            BrokenStream: the file cannot be read, or has a foreign line.
        """
        if not self.path.exists():
            return []
        with self._locked() as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
            lines = file.read().splitlines()
        try:
            letters = [json.loads(line) for line in lines if line.strip()]
            if all(isinstance(letter["event"], dict) for letter in letters):
                return letters
        except (ValueError, TypeError, KeyError):
            pass
        raise BrokenStream(f"{self.path} has a line that is no dead letter; take it out first.")

    def drop(self, letter: Mapping[str, Any]) -> None:
        """Remove a letter whose event was handled.

        Raises:
            BrokenStream: the file cannot be written.
        """
        with self._locked() as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
            kept = [
                line for line in file.read().splitlines(keepends=True) if line.strip() and json.loads(line) != letter
            ]
            new = self.path.with_name(f"{self.path.name}.new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
                copy.writelines(kept)
                copy.flush()
                os.fsync(copy.fileno())
            new.replace(self.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file, creating it if needed, and lock it against other processes of this machine."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.fstat(descriptor).st_ino == self.path.stat().st_ino:
                        break
                os.close(descriptor)  # it has been replaced by another file
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise BrokenStream(f"The dead letters cannot be kept in {self.path}: {system_reason(error)}.") from None


@dataclass(kw_only=True, slots=True)
class Runner:
    command: Sequence[str]
    letters: Letters
    give_up_after: float
    """Seconds since the first try of an event."""
    time_limit: float
    """Seconds for one run."""
    tell: Tell
    random: Callable[[], float]
    slots: asyncio.Semaphore
    """Limits concurrent commands; one that waits for its next try holds none."""
    first_pause: timedelta = FIRST_PAUSE
    processes: set[asyncio.subprocess.Process] = field(default_factory=set)

    async def handle(self, event: Event, settle: Callable[[], None]) -> None:
        """Run the command until it succeeds, or write a dead letter; then settle the event.

        When cancelled, it lets a running command finish, and settles the event if that succeeded.
        """
        clock = asyncio.get_running_loop().time
        began, attempts = clock(), 0
        while True:
            attempts += 1
            async with self.slots:
                running = asyncio.ensure_future(self.run(event, attempts))
                try:
                    reason = await asyncio.shield(running)
                except asyncio.CancelledError:
                    if await running is None:
                        settle()
                    raise
            if reason is None:
                settle()
                return
            which = clean(f"event {event.get('number')} ({event.get('event_type')})")
            pause = delay(attempts, first=self.first_pause, longest=LONGEST_PAUSE, random=self.random()).total_seconds()
            if clock() - began + pause > self.give_up_after:
                try:
                    await asyncio.to_thread(self.letters.add, event, reason, attempts)
                except BrokenStream as failure:
                    self.tell(f"{failure} The event is tried again.")
                else:
                    self.tell(
                        f"{which} is given up after {attempts} attempts and written to {self.letters.path}: {reason}"
                    )
                    settle()
                    return
            else:
                self.tell(f"{which}: {reason}; retrying in {pause:.0f} s")
            await asyncio.sleep(pause)

    def end_all(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    async def run(self, event: Event, attempt: int) -> str | None:
        """Run the command once; return why it failed, or nothing."""
        text = json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, **variables(event, attempt)},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"the command cannot be started: {system_reason(error) if isinstance(error, OSError) else error}"
        self.processes.add(process)
        try:
            async with asyncio.timeout(self.time_limit):
                await process.communicate(text)
        except TimeoutError:
            await _end(process)
            return f"it did not end within {span_text(int(self.time_limit))}"
        except asyncio.CancelledError:
            await asyncio.shield(_end(process))
            raise
        finally:
            self.processes.discard(process)
        code = process.returncode or 0
        if code < 0:
            return f"a signal ended it ({signal.Signals(-code).name})"
        return f"exit code {code}" if code else None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a command with all processes of its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CHANCE_S):
                await process.wait()
                return


class Lanes:
    """Runs work in order within a lane, and in any order across lanes."""

    def __init__(self) -> None:
        self.ahead: Callable[[], int] = lambda: 0
        """Returns the number of items to count besides those that wait."""
        self._lanes: Final[dict[str, deque[Callable[[], Awaitable[None]]]]] = {}
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._count = 0
        self._room: Final = asyncio.Condition()
        self.broken: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        """Fails when work fails through a bug."""

    async def put(self, lane: str, work: Callable[[], Awaitable[None]]) -> None:
        """Append work to a lane; waits while too much is pending."""
        async with self._room:
            await self._room.wait_for(lambda: max(self._count, self.ahead()) < MOST_AHEAD)
            self._count += 1
        if lane in self._lanes:
            self._lanes[lane].append(work)
            return
        self._lanes[lane] = deque([work])
        task = asyncio.create_task(self._drain(lane))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def idle(self) -> None:
        """Wait until all is done."""
        async with self._room:
            await self._room.wait_for(lambda: self._count == 0)

    async def stop(self) -> None:
        """Start nothing more, and wait for what has started."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)

    async def _drain(self, lane: str) -> None:
        waiting = self._lanes[lane]
        while waiting:
            await waiting.popleft()()
            async with self._room:
                self._count -= 1
                self._room.notify_all()
        del self._lanes[lane]


class Position:
    """The number up to which everything is settled, in whatever order that happens."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._open: Final[deque[list[int]]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def take(self, number: int, *, settled: bool = False) -> Callable[[], None]:
        """Add a number, greater than those before; returns the function that settles it."""
        entry = [number, int(settled)]
        self._open.append(entry)

        def settle() -> None:
            entry[1] = 1
            while self._open and self._open[0][1]:
                self.number = self._open.popleft()[0]

        if settled:
            settle()
        return settle


def find_command(command: Sequence[str]) -> None:
    """Reject a command that does not exist.

    Raises:
        WrongSettings: there is no executable program of that name.
    """
    import shutil  # noqa: PLC0415 - help texts do not need it

    if not command or shutil.which(command[0]) is None:
        name = clean(command[0]) if command else ""
        raise WrongSettings(f"There is no program {name} that can be run; name one behind --.")
