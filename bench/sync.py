"""Time and CPU of a sync, against the same files merely downloaded, from one nginx on loopback in one run.

    python bench/sync.py [--rounds N] [--folder FOLDER]

`curl --parallel` and `aria2c` only download: they are the limit, not rivals, for they verify, record and flush nothing.
"""

import argparse
import contextlib
import hashlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvloop

from pulpit.content.iso import Iso
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.repositories.sync import sync
from pulpit.storage.folder import FolderStorage
from pulpit.storage.port import Storage
from pulpit.store import repositories
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket

KIB = 1024
MIB = 1024 * KIB
AT_ONCE = 16
SETS = {"1,000 files of 4 KiB": (1000, 4 * KIB), "20 files of 20 MiB": (20, 20 * MIB)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to work; by default the temporary folder")
    arguments = parser.parse_args()
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists():
        print("skipped: nginx is not installed (Debian: nginx-light)")
        return
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-", dir=arguments.folder) as folder:
        for name, (count, size) in SETS.items():
            here = Path(folder, f"{count}")
            make_files(here / "upstream", count, size)
            with served(nginx, here) as url:
                compare(name, here, url, arguments.rounds)
            os.sync()


def make_files(folder: Path, count: int, size: int) -> None:
    folder.mkdir(parents=True)
    lines = []
    for number in range(count):
        content = os.urandom(size)
        (folder / f"{number:04}.bin").write_bytes(content)
        lines.append(f"{number:04}.bin,{hashlib.sha256(content).hexdigest()},{size}\n")
    (folder / "PULP_MANIFEST").write_text("".join(lines))


@contextlib.contextmanager
def served(nginx: str, here: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = here / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; sendfile on; keepalive_requests 100000; client_body_temp_path {here}/t1;\n"
        f"proxy_temp_path {here}/t2; fastcgi_temp_path {here}/t3;\n"
        f"uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;\n"
        f"server {{ listen 127.0.0.1:{port}; root {here}/upstream; }} }}\n"
    )
    for path in (here.parent, here, here / "upstream"):
        path.chmod(path.stat().st_mode | 0o755)  # nginx serves as another user
    server = subprocess.Popen([nginx, "-c", config, "-e", here / "error.log"])
    try:
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert time.monotonic() < deadline, "nginx did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(10)


def compare(name: str, here: Path, url: str, rounds: int) -> None:
    ways: dict[str, Callable[[Path], tuple[Cost, ...]]] = {"pulpit": lambda folder: pulpit(folder, url)}
    if shutil.which("curl"):
        ways["curl --parallel"] = lambda folder: (tool(curl(here, folder, url), folder),)
    if shutil.which("aria2c"):
        ways["aria2c"] = lambda folder: (tool(aria2c(here, folder, url), folder),)
    costs: dict[str, list[tuple[Cost, ...]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, run in ways.items():
            target = here / f"{way.split()[0]}-{number}"
            target.mkdir()
            os.sync()
            costs[way].append(run(target))  # nothing is deleted before the end: ext4 is slow to make files after that
    print_costs(name, costs)


def print_costs(name: str, costs: dict[str, list[tuple[Cost, ...]]]) -> None:
    print(f"{name} (medians of {len(costs['pulpit'])} rounds, {AT_ONCE} downloads at a time)")
    medians = {
        way: Cost(
            wall=statistics.median(run[0].wall for run in runs), cpu=statistics.median(run[0].cpu for run in runs)
        )
        for way, runs in costs.items()
    }
    ours = medians["pulpit"]
    for way, cost in medians.items():
        ratio = "" if way == "pulpit" else f"   pulpit takes {ours.wall / cost.wall:.2f} times as long"
        print(f"  {way:<16} {cost.wall:7.3f} s wall {cost.cpu:7.3f} s CPU{ratio}")
    again = statistics.median(run[1].wall for run in costs["pulpit"])
    print(f"  {'pulpit again':<16} {again:7.3f} s wall for a sync without change")


def pulpit(folder: Path, url: str, storage: Storage | None = None) -> tuple[Cost, ...]:
    with WakeupSocket(folder) as wakeups, contextlib.closing(Database.open(folder, wakeups)) as database:
        context = TaskContext(
            database=database,
            storage=storage or FolderStorage(folder / "content"),
            data_dir=folder,
            content_types=by_plugin(Iso()),
        )
        with database.write() as tx:
            now = context.clock()
            repositories.add(tx, "bench", display_name=None, description=None, notes={}, now=now)
            config = {"feed": url, "max_downloads": AT_ONCE}
            repositories.add_importer(tx, "bench", "iso_importer", config, now=now)
        return uvloop.run(twice(context))


async def twice(context: TaskContext) -> tuple[Cost, ...]:
    costs = []
    for _ in range(2):
        began, cpu = time.perf_counter(), cpu_of(resource.RUSAGE_SELF)
        outcome = await sync(context, "bench", None, lambda _: None)
        assert outcome.result == "success", outcome.error_message
        costs.append(Cost(wall=time.perf_counter() - began, cpu=cpu_of(resource.RUSAGE_SELF) - cpu))
    return tuple(costs)


def curl(here: Path, folder: Path, url: str) -> list[str]:
    listing = here / "curl.list"
    names = file_names(here)
    listing.write_text("".join(f'url = "{url}{name}"\noutput = "{folder}/{name}"\n' for name in names))
    options = ["-sS", "--no-progress-meter", "--parallel", "--parallel-max", str(AT_ONCE)]
    return ["curl", *options, "--config", str(listing)]


def aria2c(here: Path, folder: Path, url: str) -> list[str]:
    listing = here / "aria2c.list"
    listing.write_text("".join(f"{url}{name}\n" for name in file_names(here)))
    options = ["-q", f"-j{AT_ONCE}", "-x1", "--file-allocation=none", "--no-conf"]
    return ["aria2c", *options, "-d", str(folder), "-i", str(listing)]


def tool(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> Cost:
    began, cpu = time.perf_counter(), cpu_of(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    return Cost(wall=time.perf_counter() - began, cpu=cpu_of(resource.RUSAGE_CHILDREN) - cpu)


def file_names(here: Path) -> list[str]:
    return sorted(path.name for path in (here / "upstream").glob("*.bin"))


def cpu_of(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
