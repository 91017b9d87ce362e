"""Batches on their way into the log, each exactly once, however often the connection breaks."""

import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from pulpit.backoff import delay
from pulpit.cli.lines import Entry
from pulpit.client.durations import spelled
from pulpit.client.failures import Busy, NoConnection, ServerTrouble, WrongData
from pulpit.client.server import Server, v1_path

_FIRST_PAUSE: Final = timedelta(seconds=0.2)
_LONGEST_PAUSE: Final = timedelta(seconds=5)
_HEADERS: Final = {"Content-Type": "application/x-ndjson"}


@dataclass(kw_only=True, slots=True)
class Sending:
    """Sends one batch after the other and counts what the server has acknowledged."""

    server: Server
    patience: float
    """Seconds for which one batch is tried again while nobody answers."""
    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    numbers: list[int] = field(default_factory=list)
    """The places in the log that the last batch got."""
    count: int = 0

    def send(self, batch: Sequence[Entry]) -> None:
        """Bring a batch into the log; of one that is refused, that which stands before the first wrong event.

        Raises:
            WrongData: the server refuses an event; its line is named.
            Failure: the batch could not be brought there.
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

    def _send_whole(self, batch: Sequence[Entry]) -> None:
        """The key stays the same from try to try: a server that has the batch already only says so."""
        body = b"".join(entry.content + b"\n" for entry in batch)
        headers = {**_HEADERS, "Idempotency-Key": str(uuid.uuid4())}
        deadline = self.clock() + self.patience
        failures = 0
        while True:
            try:
                answer = self.server.call("POST", v1_path("events"), body=body, headers=headers).body
                break
            except (NoConnection, Busy) as failure:
                failures += 1
                self._wait(failure, failures, deadline, batch)
        self._acknowledge(answer, len(batch))

    def _wait(self, failure: NoConnection | Busy, failures: int, deadline: float, batch: Sequence[Entry]) -> None:
        luck = random.random()  # noqa: S311 - no secret
        pause = delay(failures, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE, luck=luck).total_seconds()
        if self.clock() + pause > deadline:
            first, last = batch[0].number, batch[-1].number
            which = f"line {first} is" if first == last else f"lines {first} to {last} are"
            raise type(failure)(f"{failure}\nGiven up; whether {which} in the log is not known.")
        if failures == 1:
            self.tell(f"{failure} Trying again for {spelled(self.patience)}.")
        self.sleep(pause)

    def _acknowledge(self, answer: object, expected: int) -> None:
        match answer:
            case {"count": int() as count, "numbers": list() as numbers} if count == expected:
                self.count += count
                self.numbers = numbers
            case _:
                raise ServerTrouble("The server's answer does not say that the events are in its log.")
