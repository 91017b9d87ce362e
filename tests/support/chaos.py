"""Two processes of a campaign, one that fires events and one that receives them, and a plan of what is killed when.

Run as a script the file is one of the two processes; it then needs nothing but the standard library.
"""

import base64
import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BATCH = 20
PAUSE = 0.1
"""Seconds between two batches."""
GIVES_UP = 4
"""One batch in so many is not repeated when its outcome is unknown: it may be there or not."""

TARGETS = ("worker", "worker", "worker", "receiver", "receiver", "server", "server", "broker")
"""What is hit, by how often."""
SIGNALS = ("kill", "kill", "stop")


@dataclass(frozen=True, kw_only=True, slots=True)
class Blow:
    """One thing that is done to one process."""

    target: str
    signal: str
    seconds: float
    """How long it stays stopped, or dead."""


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - nothing secret is drawn


def blows(chance: random.Random, count: int) -> Iterator[Blow]:
    """So many blows; each target is hit in each way before anything is left to chance."""
    certain = [(target, how) for target in dict.fromkeys(TARGETS) for how in dict.fromkeys(SIGNALS)]
    chance.shuffle(certain)
    drawn = [(chance.choice(TARGETS), chance.choice(SIGNALS)) for _ in range(count - len(certain))]
    for target, how in [*certain, *drawn][:count]:
        yield Blow(target=target, signal=how, seconds=chance.uniform(1, 3) if how == "stop" else chance.uniform(0, 0.5))


class Running:
    """One of the two processes, which can be killed and started again; it writes what it knows into a file."""

    def __init__(self, file: Path, *words: str) -> None:
        self._file = file
        self._command = [sys.executable, __file__, *words, str(file)]
        self._process: subprocess.Popen[bytes] | None = None
        file.touch()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process
        self._process.kill()
        self._process.wait(60)

    def end(self, *, seconds: float) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process
        self._process.terminate()
        return self._process.wait(seconds)

    def lines(self) -> list[dict[str, Any]]:
        """What it has written in whole lines."""
        return [json.loads(line) for line in self._file.read_text().split("\n")[:-1]]


@contextlib.contextmanager
def started(running: Running) -> Iterator[Running]:
    """Run a process, and leave none behind."""
    running.start()
    try:
        yield running
    finally:
        running.kill()


def stopped(pid: int, seconds: float, *, group: bool = False) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    send = os.killpg if group else os.kill
    with contextlib.suppress(ProcessLookupError):
        send(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            send(pid, signal.SIGCONT)


def fire(url: str, password: str, seed: str, file: str) -> None:
    """Post batches until SIGTERM; each line of the file tells a batch and whether it was acknowledged."""
    chance, going = seeded(int(seed)), [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    login = base64.b64encode(f"admin:{password}".encode()).decode()
    number = 0
    with Path(file).open("a", buffering=1) as record:
        while going:
            steps = list(range(number, number + BATCH))
            number += BATCH
            headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
            headers["Idempotency-Key"] = f"batch-{seed}-{number}"
            request = urllib.request.Request(f"{url}/pulpit/v1/events", _batch(steps), headers, method="POST")
            repeats = chance.randrange(GIVES_UP) > 0
            known = _post(request, repeats=repeats)
            record.write(json.dumps({"steps": steps, "acknowledged": known}) + "\n")
            time.sleep(PAUSE)


def _batch(steps: list[int]) -> bytes:
    return json.dumps([{"event_type": "campaign.step", "payload": {"step": step}} for step in steps]).encode()


def _post(request: urllib.request.Request, *, repeats: bool) -> bool:
    while True:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            urllib.request.urlopen(request, timeout=60) as answer,
        ):
            if answer.status == 201:
                return True
        if not repeats:
            return False
        time.sleep(0.1)


def receive(port: str, file: str) -> None:
    """Take webhooks on a port; each line of the file is one, written before it is answered."""
    record = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): text for name, text in self.headers.items()}
            os.write(record, (json.dumps({"headers": headers, "body": body}) + "\n").encode())
            self.send_response_only(204)
            self.end_headers()

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Servers that are killed are no news."""

    Server(("127.0.0.1", int(port)), Receiver).serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "fire":
        fire(*sys.argv[2:])
    else:
        receive(*sys.argv[2:])
