"""`pulpit demo`: a sync fires four events, and three subscribers print those that they subscribed to.

Everything is real and on free ports of this machine: an upstream of wheels with a PULP_MANIFEST, a server with its own
broker and an empty data folder, the administrator's commands, three subscribers. The output is compared with what is
expected, and everything is removed at the end; any difference ends the demo with a sentence and exit code 1.
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
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from pulpit.client.failures import Failure
from pulpit.client.streams import write_line

PATIENCE: Final = 180.0
"""Timeout in seconds for each step: a busy machine takes more than thirty to start the server."""
FOUR: Final = (
    "pulp.server.repo.sync.start",
    "pulp.server.repo.sync.finish",
    "pulp.server.repo.publish.start",
    "pulp.server.repo.publish.finish",
)
SUBSCRIBERS: Final = {
    "": FOUR,
    "pulp.server.repo.publish.*": FOUR[2:],
    "pulp.server.repo.*.finish": FOUR[1::2],
}
PACKAGES: Final = ("bear-4.1", "camel-0.1", "duck-0.6")
"""The upstream's files if no folder is given: empty wheels that pip would install."""


@click.command("demo")
@click.option(
    "--files",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of files for the upstream to offer [default: three small wheels made on the spot].",
)
@click.option("--listen-program", hidden=True, help="Subscribe by this program instead of `pulpit listen`.")
def demo(files: Path | None, listen_program: str | None) -> None:
    """Demonstrate the main feature: a sync fires four events and three subscribers print theirs.

    Starts an upstream, a server with its broker and three subscribers on free ports of this machine, syncs, publishes,
    compares everything with what is expected, and removes it all.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # by way of every `finally`
    try:
        with tempfile.TemporaryDirectory(prefix="pulpit-demo-") as scratch, contextlib.ExitStack() as stack:
            play(files, listen_program, Path(scratch), stack)
    except OSError as error:
        raise DemoFailed(f"this machine refuses what the demo needs: {error.strerror or error}.") from None
    write_line("\nDone: everything arrived, in order, and nothing is left behind.")


def play(files: Path | None, listen_program: str | None, scratch: Path, stack: contextlib.ExitStack) -> None:
    """Start everything, sync, and compare."""
    listen = [str(Path(listen_program).resolve())] if listen_program else [sys.executable, "-m", "pulpit.cli", "listen"]
    listen_title = listen_program or "pulpit listen"
    data_dir, upstream_dir = scratch / "data", scratch / "upstream"
    try:
        names = prepare_upstream(files, upstream_dir)
    except OSError as error:
        raise DemoFailed(f"the files cannot be copied to {upstream_dir}: {error.strerror}.") from None
    feed = stack.enter_context(upstream(upstream_dir))
    write_line(f"An upstream serves {len(names)} files and a PULP_MANIFEST at {feed}")
    port = free_port()
    url = stack.enter_context(server(data_dir, port))
    admin = functools.partial(pulp_admin, url, data_dir)

    def subscribe(*options: str) -> Program:
        return stack.enter_context(running(listen_title, *listen, "-e", "pulp", "-p", str(port), *options))

    subscribers = [subscribe("-q", *(["-s", pattern] if pattern else [])) for pattern in SUBSCRIBERS]
    whole = subscribe("--json", "--count", "1", "-s", "pulp.server.repo.sync.finish")
    admin("event", "listener", "amqp", "create", "--event-type", "*", "--exchange", "pulp")
    admin("iso", "repo", "create", "--repo-id", "wheels", "--feed", feed, "--serve-http", "true")
    for program in [*subscribers, whole]:
        program.wait_for(lambda it: "listening on" in it.errors, "subscribe to the exchange pulp")
    admin("iso", "repo", "sync", "run", "--repo-id", "wheels")
    show_listings(listen_title, subscribers)
    show_message(whole)
    check_published(f"{url}/pulp/isos/wheels/", upstream_dir, names)


class DemoFailed(Failure):
    """The demo failed; the text says why."""


def prepare_upstream(files: Path | None, folder: Path) -> list[str]:
    """Create a file repository: the files, and a line `name,sha256,size` for each.

    Returns:
        the names of the files.
    """
    folder.mkdir()
    if files is None:
        for package in PACKAGES:
            write_wheel(folder, package)
    else:
        for path in files.iterdir():
            if path.is_file() and path.stat().st_size:
                shutil.copy(path, folder)
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    if not contents:
        raise DemoFailed(f"there are no files in {files}.")
    lines = [f"{name},{hashlib.sha256(content).hexdigest()},{len(content)}" for name, content in contents.items()]
    (folder / "PULP_MANIFEST").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(contents)


def write_wheel(folder: Path, package: str) -> None:
    """Write a wheel without modules (PEP 427)."""
    name, version = package.split("-")
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: A {name} for a demo\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: pulpit demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{package}-py3-none-any.whl", "w") as wheel:
        for file, text in texts.items():
            wheel.writestr(f"{package}.dist-info/{file}", text)


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP, and yield its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the original
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{web.server_port}/"
        finally:
            web.shutdown()


class Program:
    """A running program and its output so far."""

    def __init__(self, title: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self.title: Final = title
        self.lines: list[str] = []
        self.errors = ""
        self._process = subprocess.Popen(  # noqa: S603 - programs of this installation
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

        def read_lines() -> None:
            for line in self._process.stdout or ():
                self.lines.append(line.rstrip("\n"))

        def read_errors() -> None:
            for line in self._process.stderr or ():
                self.errors += line

        self._readers = [threading.Thread(target=read) for read in (read_lines, read_errors)]
        for reader in self._readers:
            reader.start()

    def wait_for(self, happened: Callable[["Program"], bool], what: str) -> None:
        """Wait for output.

        Raises:
            DemoFailed: it timed out, or ended instead.
        """
        deadline = time.monotonic() + PATIENCE
        while not happened(self):
            if self._process.poll() not in (None, 0):
                raise DemoFailed(f"{self.title} ended with {self._process.returncode}: {self.errors.strip()}")
            if time.monotonic() > deadline:
                heard = " ".join([*self.lines, self.errors.strip()])
                raise DemoFailed(f"{self.title} did not {what} in {PATIENCE:.0f} s; it said: {heard or 'nothing'}")
            time.sleep(0.02)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def end(self, number: signal.Signals) -> None:
        """Stop it.

        Raises:
            DemoFailed: it failed, and there is no earlier error.
        """
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        if code and not sys.exc_info()[0]:
            raise DemoFailed(f"{self.title} ended with {code}: {self.errors.strip()}")


@contextlib.contextmanager
def running(
    title: str, *command: str, stop_by: signal.Signals = signal.SIGINT, environment: dict[str, str] | None = None
) -> Iterator[Program]:
    """Run a program until the block ends, whatever ends it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script's background job passes that on to its programs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    program: Program | None = None
    try:
        with held_signals():
            program = Program(title, command, environment or {})
        yield program
    finally:
        if program is not None:
            program.end(stop_by)


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """Let no signal end the demo while a program starts, which nobody would end then."""
    held: list[int] = []
    handlers = {
        number: signal.signal(number, lambda caught, _: held.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


@contextlib.contextmanager
def server(data_dir: Path, broker_port: int) -> Iterator[str]:
    """Run `pulpit serve`, without any configuration of this machine, and yield its URL."""
    options = ["--data-dir", str(data_dir), "--port", "0", "--broker-port", str(broker_port)]
    command = [sys.executable, "-m", "pulpit.cli", "serve", *options]
    bare = {"PULP_SERVER_CONF": os.devnull}
    started = time.monotonic()
    with running("pulpit serve", *command, stop_by=signal.SIGTERM, environment=bare) as program:
        program.wait_for(lambda it: "ready: " in it.errors, "get ready")
        url = program.errors.partition("ready: ")[2].split()[0]
        seconds = time.monotonic() - started
        write_line(f"`pulpit serve` was ready at {url} in {seconds:.1f} s; its broker listens on port {broker_port}")
        yield url


def pulp_admin(url: str, data_dir: Path, *words: str) -> None:
    """Run one command of the administrator and show it."""
    write_line("\n$ pulp-admin " + " ".join(f"'{word}'" if "*" in word else word for word in words))
    try:
        done = subprocess.run(  # noqa: S603 - a program of this installation
            [sys.executable, "-m", "pulpit.admin", "--url", url, *words],
            env={**os.environ, "PULPIT_DATA_DIR": str(data_dir)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"`pulp-admin {' '.join(words)}` did not end in {PATIENCE:.0f} s.") from None
    write_line("\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines() if line.strip()))
    if done.returncode:
        raise DemoFailed(f"`pulp-admin {' '.join(words)}` ended with {done.returncode}.")


def show_listings(listen_title: str, subscribers: Sequence[Program]) -> None:
    """Show what each subscriber printed, and check it."""
    for subscriber, (pattern, expected) in zip(subscribers, SUBSCRIBERS.items(), strict=True):
        count = len(expected)
        subscriber.wait_for(lambda it, count=count: len(it.lines) >= count, f"print {count} subjects")  # type: ignore[misc]
        write_line(f"\n$ {listen_title} -e pulp -q{f' -s {pattern}' if pattern else ''}")
        write_line("\n".join(f"  {line}" for line in subscriber.lines))
        if subscriber.lines != list(expected):
            raise DemoFailed(f"expected {', '.join(expected)}, and {', '.join(subscriber.lines)} arrived.")


def show_message(subscriber: Program) -> None:
    """Show one whole message, and check what consumers rely on."""
    subscriber.wait_for(lambda it: len(it.lines) == 1, "print a message")
    subscriber.wait_for(lambda it: it.has_ended, "end by itself")  # a signal in its last moments would kill it
    message = json.loads(subscriber.lines[0])
    write_line("\nOne whole message:")
    write_line("\n".join(f"  {line}" for line in json.dumps(message, indent=2).splitlines()))
    body = message["body"]
    if set(body) != {"event_type", "payload", "call_report"} or body["payload"]["result"] != "success":
        raise DemoFailed("the message is not that of a sync that succeeded.")
    if body["call_report"]["state"] != "finished":
        raise DemoFailed(f"the call report says {body['call_report']['state']}, not finished.")


def check_published(url: str, upstream_dir: Path, names: Sequence[str]) -> None:
    """Compare every published file with the upstream's."""
    no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for name in [*names, "PULP_MANIFEST"]:
        with no_proxy.open(url + name, timeout=PATIENCE) as response:
            published = response.read()
        if sorted(published.splitlines()) != sorted((upstream_dir / name).read_bytes().splitlines()):
            raise DemoFailed(f"{url}{name} is not what the upstream has.")
    write_line(f"\nAll {len(names)} files and a PULP_MANIFEST are published at {url}")


def free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
