"""The main job on real input: `make demo`.

A real upstream (wheels and their PULP_MANIFEST over HTTP), a real server with its own broker and data folder on free
ports of this machine, the administrator's command, and three subscribers as in the announcement of Pulp's AMQP
notifications. Everything is checked; whatever is missing ends the demo with a sentence and a non-zero exit.
"""

import contextlib
import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
BIN: Final = Path(sys.executable).parent
PATIENCE: Final = 30.0
"""Seconds for which any one thing is waited for."""
FOUR: Final = [
    "pulp.server.repo.sync.start",
    "pulp.server.repo.sync.finish",
    "pulp.server.repo.publish.start",
    "pulp.server.repo.publish.finish",
]
SUBSCRIBERS: Final = {
    "": FOUR,
    "pulp.server.repo.publish.*": [subject for subject in FOUR if ".publish." in subject],
    "pulp.server.repo.*.finish": [subject for subject in FOUR if subject.endswith(".finish")],
}


def main() -> None:
    """Run the demo with the wheels in the folder of the first argument."""
    try:
        run(Path(sys.argv[1]))
    except DemoFailedError as error:
        sys.exit(f"demo: {error}")
    say("\nDone: everything arrived, in order, and nothing is left behind.")


class DemoFailedError(Exception):
    """Something that should have happened did not; the text says what."""


def run(wheels: Path) -> None:
    """Play the whole story."""
    with tempfile.TemporaryDirectory(prefix="pulpit-demo-") as scratch, contextlib.ExitStack() as stack:
        data_dir, upstream_dir = Path(scratch, "data"), Path(scratch, "upstream")
        names = prepare_upstream(wheels, upstream_dir)
        feed = stack.enter_context(upstream(upstream_dir))
        say(f"An upstream serves {len(names)} wheels and a PULP_MANIFEST at {feed}")
        port = free_port()
        url = stack.enter_context(server(data_dir, port))
        admin = functools.partial(pulp_admin, url, data_dir)
        listeners = [stack.enter_context(listening(port, "-q", *subject(pattern))) for pattern in SUBSCRIBERS]
        whole = stack.enter_context(listening(port, "--json", "--count", "1", "-s", "pulp.server.repo.sync.finish"))
        admin("event", "listener", "amqp", "create", "--event-type", "*", "--exchange", "pulp")
        admin("iso", "repo", "create", "--repo-id", "wheels", "--feed", feed, "--serve-http", "true")
        for each in [*listeners, whole]:
            each.wait_for(lambda one: "listening on" in one.errors, "subscribe to the exchange pulp")
        admin("iso", "repo", "sync", "run", "--repo-id", "wheels")
        show_listings(listeners)
        show_message(whole)
        check_published(f"{url}/pulp/isos/wheels/", upstream_dir, names)


def prepare_upstream(wheels: Path, folder: Path) -> list[str]:
    """Lay out the wheels as a file repository: the files, and a line `name,sha256,size` for each."""
    folder.mkdir()
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        shutil.copy(wheel, folder)
        lines.append(f"{wheel.name},{sha256(wheel.read_bytes())},{wheel.stat().st_size}")
    if not lines:
        raise DemoFailedError(f"there are no wheels in {wheels}; `make demo` fetches them.")
    (folder / "PULP_MANIFEST").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [line.split(",")[0] for line in lines]


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the original
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{web.server_port}/"
        finally:
            web.shutdown()


class Running:
    """A program that runs, and what it has said so far."""

    def __init__(self, title: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
        self.title = title
        self.process = subprocess.Popen(
            [str(part) for part in command],
            cwd=CHECKOUT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.errors = ""
        self._readers = [threading.Thread(target=read) for read in (self._read_lines, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def wait_for(self, happened: Callable[["Running"], bool], what: str) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + PATIENCE
        while not happened(self):
            if self.process.poll() not in (None, 0):
                raise DemoFailedError(f"{self.title} ended with {self.process.returncode}: {self.errors.strip()}")
            if time.monotonic() > deadline:
                raise DemoFailedError(
                    f"{self.title} did not {what} in {PATIENCE:.0f} s; it said {self.lines} {self.errors}"
                )
            time.sleep(0.02)

    def end(self, number: signal.Signals) -> None:
        """End it and insist that it ends well."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        if code and not sys.exc_info()[0]:
            raise DemoFailedError(f"{self.title} ended with {code}: {self.errors.strip()}")

    def _read_lines(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))

    def _read_errors(self) -> None:
        for line in self.process.stderr or ():
            self.errors += line


@contextlib.contextmanager
def server(data_dir: Path, broker_port: int) -> Iterator[str]:
    """Run `pulpit serve` and answer its URL."""
    options = ["--data-dir", str(data_dir), "--port", "0", "--broker-port", str(broker_port)]
    running = Running("pulpit serve", BIN / "pulpit", "serve", *options, env={"PULP_SERVER_CONF": os.devnull})
    try:
        started = time.monotonic()
        running.wait_for(lambda one: "ready: " in one.errors, "get ready")
        url = running.errors.partition("ready: ")[2].split()[0]
        seconds = time.monotonic() - started
        say(f"`pulpit serve` was ready at {url} in {seconds:.1f} s; its broker listens on port {broker_port}")
        yield url
    finally:
        running.end(signal.SIGTERM)


@contextlib.contextmanager
def listening(port: int, *options: str) -> Iterator[Running]:
    """Run `playpen/listen.py` on the exchange `pulp`."""
    running = Running("listen.py", CHECKOUT / "playpen" / "listen.py", "-e", "pulp", "-p", str(port), *options)
    try:
        yield running
    finally:
        running.end(signal.SIGINT)


def subject(pattern: str) -> list[str]:
    """The option for a pattern."""
    return ["-s", pattern] if pattern else []


def pulp_admin(url: str, data_dir: Path, *words: str) -> None:
    """Run one command of the administrator and show it."""
    say("\n$ pulp-admin " + " ".join(f"'{word}'" if "*" in word else word for word in words))
    command = [str(BIN / "pulp-admin"), "--url", url, *words]
    done = subprocess.run(
        command,
        env={**os.environ, "PULPIT_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    say("\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines() if line.strip()))
    if done.returncode:
        raise DemoFailedError(f"`pulp-admin {' '.join(words)}` ended with {done.returncode}.")


def show_listings(listeners: list[Running]) -> None:
    """Show what each subscriber printed, and check it."""
    for running, (pattern, expected) in zip(listeners, SUBSCRIBERS.items(), strict=True):
        count = len(expected)
        running.wait_for(lambda one, count=count: len(one.lines) >= count, f"print {count} subjects")  # type: ignore[misc]
        say(f"\n$ ./playpen/listen.py -e pulp -q{f' -s {pattern}' if pattern else ''}")
        say("\n".join(f"  {line}" for line in running.lines))
        if running.lines != expected:
            raise DemoFailedError(f"expected {expected}, got {running.lines}.")


def show_message(running: Running) -> None:
    """Show one whole message, and check what consumers rely on."""
    running.wait_for(lambda one: len(one.lines) == 1, "print a message")
    message = json.loads(running.lines[0])
    say("\nOne whole message:")
    say("\n".join(f"  {line}" for line in json.dumps(message, indent=2).splitlines()))
    body = message["body"]
    if set(body) != {"event_type", "payload", "call_report"} or body["payload"]["result"] != "success":
        raise DemoFailedError("the message is not that of a sync that succeeded.")
    if body["call_report"]["state"] != "finished":
        raise DemoFailedError(f"the call report says {body['call_report']['state']}, not finished.")


def check_published(url: str, upstream_dir: Path, names: list[str]) -> None:
    """Compare every published file with the upstream's."""
    for name in [*names, "PULP_MANIFEST"]:
        with urllib.request.urlopen(url + name, timeout=PATIENCE) as answer:  # noqa: S310 - our own server
            published = answer.read()
        if sorted(published.splitlines()) != sorted((upstream_dir / name).read_bytes().splitlines()):
            raise DemoFailedError(f"{url}{name} is not what the upstream has.")
    say(f"\nAll {len(names)} files and a PULP_MANIFEST are published at {url}")


def sha256(content: bytes) -> str:
    """Digest of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def free_port() -> int:
    """A TCP port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)  # noqa: T201 - printing is what a demo does


if __name__ == "__main__":
    main()
