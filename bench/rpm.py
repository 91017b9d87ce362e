"""Time and CPU of a sync of real RPMs, against dnf and against mere downloads, from one nginx on loopback in one run.

    python -m bench.rpm [--rounds N] [--packages N] [--kib SIZE] [--folder FOLDER]

`dnf reposync` is the rival: it fetches the lists and the packages and checks them. `curl --parallel` only downloads the
packages: it is the limit, for it verifies, records and flushes nothing. Pulpit's CPU is that of this whole process.
"""

import argparse
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.sync import AT_ONCE, Cost, cpu_of, served, tool
from pulpit.content.rpm.yum import Yum
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.repositories.publish import publish
from pulpit.repositories.sync import sync
from pulpit.storage.folder import FolderStorage
from pulpit.store import repositories
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from support.yum import DNF_PLUGINS, reposync

HEAD = """\
Name: zoo
Version: 1.0
Release: 1
Summary: A zoo
License: MIT
BuildArch: noarch
%description
A zoo.
%install
mkdir -p %{{buildroot}}/usr/share/zoo
cp {payload}/* %{{buildroot}}/usr/share/zoo/
"""
PACKAGE = """\
%package -n animal{number}
Summary: Animal {number}
Requires: animal{other}
%description -n animal{number}
The animal of number {number}.
%files -n animal{number}
/usr/share/zoo/{number}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packages", type=int, default=300)
    parser.add_argument("--kib", type=int, default=64, help="size of each package's payload, which cannot be packed")
    parser.add_argument("--folder", help="where to work; by default the temporary folder")
    arguments = parser.parse_args()
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    missing = [name for name in ("rpmbuild", "dnf", "curl") if shutil.which(name) is None]
    if missing or not Path(nginx).exists() or not DNF_PLUGINS.exists():
        needed = ", ".join([*missing, "nginx", "dnf reposync"])
        print(f"skipped: not all is installed of: {needed} (tests/install-packages installs them)")
        return
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-", dir=arguments.folder) as folder:
        here = Path(folder)
        make_packages(here, arguments.packages, arguments.kib)
        with served(nginx, here) as url:
            compare(here, url, arguments.rounds)
        os.sync()


def make_packages(here: Path, count: int, kib: int) -> None:
    payload, upstream = here / "payload", here / "upstream"
    payload.mkdir()
    upstream.mkdir()
    for number in range(count):
        (payload / str(number)).write_bytes(os.urandom(kib * 1024))
    parts = [PACKAGE.format(number=number, other=number // 2) for number in range(count)]
    (here / "zoo.spec").write_text(HEAD.format(payload=payload) + "".join(parts))
    define = ["--define", f"_topdir {here}/top", "--define", "_binary_payload w1.gzdio"]
    subprocess.run(["rpmbuild", "--quiet", *define, "-bb", here / "zoo.spec"], check=True, capture_output=True)
    for path in (here / "top").rglob("*.rpm"):
        path.rename(upstream / path.name)
    program = Path(sys.executable).with_name("createrepo_c")
    subprocess.run([program, "--quiet", upstream], check=True)


def compare(here: Path, url: str, rounds: int) -> None:
    ways: dict[str, Callable[[Path], tuple[Cost, ...]]] = {
        "pulpit": lambda folder: pulpit(folder, url),
        "dnf reposync": lambda folder: (tool(*dnf_reposync(folder, url)),),
        "curl --parallel": lambda folder: (tool(curl(here, folder, url), folder),),
    }
    costs: dict[str, list[tuple[Cost, ...]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, run in ways.items():
            target = here / f"{way.split()[0]}-{number}"
            target.mkdir()
            os.sync()
            costs[way].append(run(target))
            came = {path.stat().st_ino for path in target.rglob("*") if path.is_file() and path.stat().st_size > 0}
            assert len(came) >= len(names(here)), f"{way} did not bring everything"
    print_costs(here, costs)


def print_costs(here: Path, costs: dict[str, list[tuple[Cost, ...]]]) -> None:
    total = sum((here / "upstream" / name).stat().st_size for name in names(here))
    rounds = len(costs["pulpit"])
    print(f"{len(names(here))} RPMs of {total / 1e6:.0f} MB in all (medians of {rounds} rounds, {AT_ONCE} at a time)")
    ours = median(costs["pulpit"], 0)
    for way, runs in costs.items():
        cost = median(runs, 0)
        ratio = "" if way == "pulpit" else f"   pulpit takes {ours.wall / cost.wall:.2f} times as long"
        print(f"  {way:<16} {cost.wall:7.3f} s wall {cost.cpu:7.3f} s CPU{ratio}")
    for position, what in ((1, "a sync without change"), (2, "the publish")):
        cost = median(costs["pulpit"], position)
        print(f"  {'pulpit':<16} {cost.wall:7.3f} s wall {cost.cpu:7.3f} s CPU   {what}")


def median(runs: list[tuple[Cost, ...]], position: int) -> Cost:
    return Cost(
        wall=statistics.median(run[position].wall for run in runs),
        cpu=statistics.median(run[position].cpu for run in runs),
    )


def pulpit(folder: Path, url: str) -> tuple[Cost, ...]:
    with WakeupSocket(folder) as wakeups, contextlib.closing(Database.open(folder, wakeups)) as database:
        context = TaskContext(
            database=database,
            storage=FolderStorage(folder / "content"),
            data_dir=folder,
            content_types=by_plugin(Yum()),
        )
        with database.write() as tx:
            now = context.clock()
            repositories.add(tx, "bench", display_name=None, description=None, notes={}, now=now)
            config = {"feed": url, "max_downloads": AT_ONCE}
            repositories.add_importer(tx, "bench", "yum_importer", config, now=now)
            yum = "yum_distributor"
            repositories.add_distributor(tx, "bench", yum, yum, {}, auto_publish=False, now=now)
        return uvloop.run(work(context))


async def work(context: TaskContext) -> tuple[Cost, ...]:
    costs = []
    for step in ("sync", "sync", "publish"):
        began, cpu = time.perf_counter(), cpu_of(resource.RUSAGE_SELF)
        if step == "sync":
            synced = await sync(context, "bench", None, lambda _: None)
            assert synced.result == "success", synced.error_message
        else:
            publication = await publish(context, "bench", "yum_distributor", None, lambda _: None)
            assert publication.show, publication.error_message
            with context.database.write() as tx:
                publication.show(tx)
        costs.append(Cost(wall=time.perf_counter() - began, cpu=cpu_of(resource.RUSAGE_SELF) - cpu))
    return tuple(costs)


def dnf_reposync(folder: Path, url: str) -> tuple[list[str], Path, dict[str, str]]:
    command, environment = reposync(folder, url)
    return [*command, f"--setopt=max_parallel_downloads={AT_ONCE}"], folder, environment


def curl(here: Path, folder: Path, url: str) -> list[str]:
    listing = here / "curl.list"
    listing.write_text("".join(f'url = "{url}{name}"\noutput = "{folder}/{name}"\n' for name in names(here)))
    options = ["-sS", "--no-progress-meter", "--parallel", "--parallel-max", str(AT_ONCE)]
    return ["curl", *options, "--config", str(listing)]


def names(here: Path) -> list[str]:
    return sorted(path.name for path in (here / "upstream").glob("*.rpm"))


if __name__ == "__main__":
    main()
