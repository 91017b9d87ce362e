"""A real delivery engine whose notifier returns what a test says."""

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pulpit.clock import system_clock
from pulpit.delivery.dispatcher import Dispatcher
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.delivery.notifiers.port import DELIVERED, Outcome, Pace, Retry
from pulpit.events import Event
from pulpit.listener_options import ListenerKind
from pulpit.store import dead_letters, listeners
from pulpit.store.database import Database
from pulpit.store.listeners import Listener
from pulpit.store.wakeups import WakeupSocket

SOON: Final = timedelta(milliseconds=1)


class Story:
    """A notifier type whose notifiers answer what the test says and remember what they were handed."""

    kind: Final = ListenerKind(id="story", summary="Told.", options=())

    def __init__(self, *, batch: int = 3, overlap: int = 2) -> None:
        self.pace = Pace(batch=batch, overlap=overlap, first_retry=SOON, longest_retry=SOON)
        self.handed: list[tuple[str, int]] = []
        self.answer: Callable[[Event], Outcome | Awaitable[Outcome]] = lambda _: DELIVERED
        self.gate: asyncio.Event | None = None
        self.waiting = 0
        self.closed: list[str] = []
        """Who handed over no more, in order."""

    def numbers(self, name: str = "one") -> list[int]:
        return [number for who, number in self.handed if who == name]

    def check_config(self, config: Mapping[str, Any]) -> None:
        pass

    def open(self, config: Mapping[str, Any]) -> "Teller":
        return Teller(self, config.get("name", "one"))

    async def close(self) -> None:
        pass


class Teller:
    def __init__(self, story: Story, name: str) -> None:
        self._story, self._name = story, name

    async def prepare(self) -> None:
        pass

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        if self._story.gate:
            self._story.waiting += 1
            await self._story.gate.wait()
        outcomes: list[Outcome] = []
        for event in events:
            self._story.handed.append((self._name, event.number))
            answer = self._story.answer(event)
            outcomes.append(await answer if inspect.isawaitable(answer) else answer)
            if isinstance(outcomes[-1], Retry):
                break
        return outcomes

    def describe(self, event: Event) -> dict[str, Any]:
        return {"number": event.number}

    async def close(self) -> None:
        self._story.closed.append(self._name)


class Engine:
    """A database with a dispatcher that runs while a test's coroutine does."""

    def __init__(self, database: Database, wakeups: WakeupSocket) -> None:
        self.database, self._wakeups = database, wakeups
        self.story = Story()
        self.now: Callable[[], datetime] = system_clock
        self.monotonic: Callable[[], float] = time.monotonic

    def listener(self, *event_types: str, name: str = "one", give_up_after: int = 3600, **config: Any) -> str:
        with self.database.write() as tx:
            types = list(event_types) or ["*"]
            told = {"name": name, **config}
            made = listeners.add(tx, "story", told, types, now=self.now(), give_up_after=give_up_after)
        return made.id

    def state(self, listener_id: str) -> Listener:
        with self.database.read() as connection:
            return listeners.get(connection, listener_id)

    def letters(self, listener_id: str) -> list[tuple[int, str]]:
        with self.database.read() as connection:
            return [
                (letter.event_number, letter.reason) for letter in dead_letters.of_listener(connection, listener_id)
            ]

    @contextlib.asynccontextmanager
    async def delivering(self) -> Any:
        kinds = NotifierTypes({"story": self.story})
        dispatcher = Dispatcher(
            self.database,
            kinds,
            lambda: self.now(),  # noqa: PLW0108 - `now` changes in a test
            monotonic=lambda: self.monotonic(),  # noqa: PLW0108 - so does this
        )
        with self._wakeups.handled_by(dispatcher.wakeup_handlers):
            async with running(dispatcher):
                yield


@contextlib.asynccontextmanager
async def running(dispatcher: Dispatcher) -> AsyncIterator[None]:
    task = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what it waits for is in the database
            await asyncio.sleep(0.005)
