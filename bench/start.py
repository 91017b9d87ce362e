"""How long people wait for the programs to start, with the bytecode that pip writes when it installs them."""

import compileall
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pulpit
from support.ports import free_port

ROUNDS = 7
PROGRAMS = Path(sys.executable).parent


def main() -> None:
    """Start everything some times, and print medians."""
    compileall.compile_dir(Path(pulpit.__file__).parent, quiet=2)
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder:
        line("pulpit serve to `ready:`, new data folder", lambda number: to_ready(Path(folder, f"new{number}")), "1.5")
        there = Path(folder, "new0")
        line("  one that is there", lambda _: to_ready(there), "1")
        line("  the same to the first response", lambda _: to_response(there))
        with serving(there) as url:
            password = str(there / "admin-password")
            repo_list = ["pulp-admin", "--url", url, "-u", "admin", "--password-file", password, "repo", "list"]
            line("pulp-admin repo list", lambda _: to_end(repo_list), "0.35")
    line("pulp-admin --help", lambda _: to_end(["pulp-admin", "--help"]), "0.2")
    line("pulpit --help", lambda _: to_end(["pulpit", "--help"]), "0.2")
    line("  Python alone", lambda _: to_end(["python", "-c", "pass"]))


def to_ready(folder: Path) -> float:
    """The seconds until a server says that it is ready."""
    started = time.perf_counter()
    with serving(folder):
        return time.perf_counter() - started


def to_response(folder: Path) -> float:
    """The seconds until the response to a request that is sent as soon as the server says that it is ready."""
    started = time.perf_counter()
    with serving(folder) as url, urllib.request.urlopen(f"{url}/pulp/api/v2/status/"):  # noqa: S310 - its own server
        return time.perf_counter() - started


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run a server from when it is ready, and tell its URL."""
    ports = ["--port", str(free_port()), "--broker-port", str(free_port())]
    command = [str(PROGRAMS / "pulpit"), "serve", "--data-dir", str(folder), *ports]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        try:
            yield next(said.split()[1] for said in server.stderr if said.startswith("ready: "))
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()


def to_end(command: list[str]) -> float:
    """The seconds until a command has ended."""
    started = time.perf_counter()
    subprocess.run([PROGRAMS / command[0], *command[1:]], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def line(title: str, measured: Callable[[int], float], aim: str = "") -> None:
    """Measure some times, and print the median and what it is to be."""
    median = statistics.median(measured(number) for number in range(ROUNDS))
    print(f"{title:<52}{median:>10.2f} s  {f'   (aim: {aim})' if aim else ''}", flush=True)


if __name__ == "__main__":
    main()
