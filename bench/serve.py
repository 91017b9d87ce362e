"""Downloads of published files from Pulpit, against nginx serving the same files on loopback in the same run."""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bench.sync import SETS, Cost, curl, make_files, served, tool
from support.server import Server, pulpit

ROUNDS: Final = 5


def main() -> None:
    """Serve each set from both, by turns."""
    with sets(__doc__, ROUNDS) as (rounds, each):
        for name, here, url in each:
            with pulpit(here / "data") as server:
                publish(server, here.name, url)
                compare(name, server, here, url, rounds)


@contextlib.contextmanager
def sets(what: str | None, rounds: int) -> Iterator[tuple[int, Iterator[tuple[str, Path, str]]]]:
    """The rounds that the command line asks for, and each set of files: its name, its folder, where nginx serves it."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--folder", type=Path, help="Where to put the files (default: the system's place).")
    arguments = parser.parse_args()
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists() or shutil.which("curl") is None:
        parser.exit(message="skipped: nginx and curl are needed (tests/install-packages installs them)\n")

    def each(folder: Path) -> Iterator[tuple[str, Path, str]]:
        for name, (count, size) in SETS.items():
            here = folder / str(count)
            make_files(here / "upstream", count, size)
            with served(nginx, here) as url:
                yield name, here, url

    with tempfile.TemporaryDirectory(prefix="pulpit-bench-", dir=arguments.folder) as folder:
        Path(folder).chmod(0o755)
        yield arguments.rounds, each(Path(folder))


def publish(server: Server, repo_id: str, url: str) -> None:
    """Mirror the files, and have them published."""
    server.create_iso(repo_id, url)
    ended = server.ended(server.sync(repo_id))
    assert ended["state"] == "finished", ended


def compare(name: str, server: Server, here: Path, url: str, rounds: int) -> None:
    """Download everything by turns, and print the medians."""
    costs: dict[str, list[Cost]] = {"pulpit": [], "nginx": []}
    urls = {"pulpit": f"{server.url}/pulp/isos/{here.name}/", "nginx": url}
    for number in range(rounds):
        for way, where in urls.items():
            with emptied(here / f"got-{way}-{number}") as target:
                command = curl(here, target, where)
                before = cpu_of(server.pid)
                cost = tool(command, target)
                costs[way].append(Cost(wall=cost.wall, cpu=cpu_of(server.pid) - before))
    medians = {way: statistics.median(cost.wall for cost in found) for way, found in costs.items()}
    size = sum(path.stat().st_size for path in (here / "upstream").glob("*.bin"))
    count = len(list((here / "upstream").glob("*.bin")))
    print(f"{name} (medians of {rounds} rounds)")
    for way, wall in medians.items():
        ratio = f"   takes {wall / medians['nginx']:.2f} times as long as nginx" if way == "pulpit" else ""
        print(f"  {way:<8} {wall:7.3f} s   {count / wall:8.0f} files/s   {size / wall / 2**20:8.0f} MiB/s{ratio}")
    print(f"  CPU of the server: {statistics.median(cost.cpu for cost in costs['pulpit']):.3f} s")


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """A folder for downloads, away again before the next round."""
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    time.sleep(0.1)


if __name__ == "__main__":
    main()
