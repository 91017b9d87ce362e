"""Memory and time of the metadata of many packages: generated lists, synced and published.

    python -m bench.rpm_large [--packages N] [--folder FOLDER]

The packages themselves are a few bytes each and stand in the storage beforehand, so that what is measured is what the
lists cost. Peak memory is that of this process, which does what a worker does; the generator runs in one of its own.
"""

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import multiprocessing
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import createrepo_c as cr
import uvloop

from bench.sync import Cost, cpu_of
from pulpit.content.rpm.yum import Yum
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.repositories.promotion import Promotion, promote
from pulpit.repositories.publish import publish
from pulpit.repositories.sync import sync
from pulpit.storage.folder import FolderStorage
from pulpit.store import holdings, repositories, units
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket

ROOTS = {
    "primary": '<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"',
    "filelists": '<filelists xmlns="http://linux.duke.edu/metadata/filelists"',
    "other": '<otherdata xmlns="http://linux.duke.edu/metadata/other"',
}
DUMPS = {"primary": cr.xml_dump_primary, "filelists": cr.xml_dump_filelists, "other": cr.xml_dump_other}
FILES = 60
DEPENDENCIES = 12
LIMIT_MIB = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=50_000)
    parser.add_argument("--folder", help="where to work; by default the temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-", dir=arguments.folder) as name:
        folder = Path(name)
        generator = multiprocessing.get_context("spawn").Process(target=generate, args=(folder, arguments.packages))
        generator.start()
        generator.join()
        assert generator.exitcode == 0
        uvloop.run(measure(folder, arguments.packages))


def generate(folder: Path, count: int) -> None:
    (folder / "content").mkdir()
    with contextlib.ExitStack() as stack:
        lists = {
            kind: stack.enter_context(gzip.open(folder / f"{kind}.xml.gz", "wb", compresslevel=1)) for kind in ROOTS
        }
        for kind, root in ROOTS.items():
            lists[kind].write(f'<?xml version="1.0" encoding="UTF-8"?>\n{root} packages="{count}">\n'.encode())
        for number in range(count):
            one = package(folder, number)
            for kind, dump in DUMPS.items():
                lists[kind].write(dump(one).encode())
        for kind, root in ROOTS.items():
            lists[kind].write(f"</{root.split()[0][1:]}>\n".encode())
    records = "".join(record(folder, kind) for kind in ROOTS)
    text = f'<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>{records}</repomd>'
    (folder / "repomd.xml").write_text(text)


def record(folder: Path, kind: str) -> str:
    content = (folder / f"{kind}.xml.gz").read_bytes()
    return (
        f'<data type="{kind}"><checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
        f'<location href="{kind}.xml.gz"/><size>{len(content)}</size></data>'
    )


def package(folder: Path, number: int) -> Any:
    content = b"package %d" % number
    digest = hashlib.sha256(content).hexdigest()
    place = folder / "content" / digest[:2]
    place.mkdir(exist_ok=True)
    (place / digest).write_bytes(content)
    one = cr.Package()
    one.name, one.arch, one.epoch, one.version, one.release = f"package{number}", "x86_64", "0", "1.2", "3"
    one.pkgId, one.checksum_type, one.size_package = digest, "sha256", len(content)
    one.location_href = f"Packages/package{number}-1.2-3.x86_64.rpm"
    one.summary, one.description = "A package", "It is there to be counted, and says so at some length. " * 8
    one.rpm_license, one.rpm_vendor, one.url = "MIT", "Nobody", "https://example.org/"
    one.requires = [
        (f"library{(number * 7 + i) % 5000}.so", "GE", "0", f"{i}", None, False) for i in range(DEPENDENCIES)
    ]
    one.provides = [(f"package{number}", "EQ", "0", "1.2", "3", False)]
    one.files = [("", f"/usr/share/package{number}/part{i % 7}/", f"file{i}.txt") for i in range(FILES)]
    one.changelogs = [
        ("Nobody <nobody@example.org>", 1_700_000_000 + i, f"- change {i} of {number}") for i in range(10)
    ]
    return one


async def measure(folder: Path, count: int) -> None:
    server = await asyncio.start_server(lambda reader, writer: answer(folder, reader, writer), "127.0.0.1", 0)
    feed = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    before = peak()
    with WakeupSocket(folder) as wakeups, contextlib.closing(Database.open(folder, wakeups)) as database:
        context = TaskContext(
            database=database,
            storage=FolderStorage(folder / "content"),
            data_dir=folder,
            content_types=by_plugin(Yum()),
        )
        with database.write() as tx:
            moment = context.clock()
            repositories.add(tx, "bench", display_name=None, description=None, notes={}, now=moment)
            repositories.add_importer(tx, "bench", "yum_importer", {"feed": feed}, now=moment)
            yum = "yum_distributor"
            repositories.add_distributor(tx, "bench", yum, yum, {}, auto_publish=False, now=moment)
        reports: list[Any] = []
        began = now()
        outcome = await sync(context, "bench", None, reports.append)
        assert outcome.result == "success", outcome.error_message
        assert outcome.added_count == count
        say(f"sync of {count:,} packages", began, f"{len(reports)} reports, peak {peak()} MiB")
        began = now()
        again = await sync(context, "bench", None, reports.append)
        assert again.result == "success"
        say("sync without a change", began, "")
        reports.clear()
        began = now()
        await published(context, "first", reports)
        say("publish", began, f"{len(reports)} reports, peak {peak()} MiB")
        with database.write() as tx:
            one = next(units.held(tx.connection, "bench")).unit.id
            holdings.let_go(tx, "bench", [one], now=context.clock(), recorder=replace(context, task_id="one").recorder)
        began = now()
        await published(context, "second", reports)
        say("publish with one package less", began, "")
        for number, path, what in (
            (2, "repos/prod", "promotion to a new place"),
            (1, "repos/bench", "rollback"),
            (2, "repos/bench", "and forwards again"),
        ):
            began = now()
            order = Promotion(repo_id="bench", number=number, path=path, protect=False)
            show = promote(replace(context, task_id=what), order)
            with database.write() as tx:
                show(tx)
            say(what, began, "")
    server.close()
    verdict = "within" if peak() < LIMIT_MIB else "NOT within"
    print(f"peak memory {peak()} MiB ({before} MiB before anything was read): {verdict} the bound of {LIMIT_MIB} MiB")


async def published(context: TaskContext, task_id: str, reports: list[Any]) -> None:
    """Publish as a task of this name does, to the end."""
    outcome = await publish(replace(context, task_id=task_id), "bench", "yum_distributor", None, reports.append)
    assert outcome.show, outcome.error_message
    with context.database.write() as tx:
        outcome.show(tx)


async def answer(folder: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The least web server that a conditional request can be shown with."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = folder / request.split()[1].rpartition("/")[2]
            if not path.is_file():
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            tag = f'"{path.stat().st_mtime_ns}"'
            if f"if-none-match: {tag}" in request.lower():
                writer.write(f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode())
                continue
            size = path.stat().st_size
            writer.write(f"HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {size}\r\n\r\n".encode())
            with path.open("rb") as file:
                while piece := file.read(1 << 18):
                    writer.write(piece)
                    await writer.drain()
    writer.close()


def now() -> Cost:
    return Cost(wall=time.perf_counter(), cpu=cpu_of(resource.RUSAGE_SELF))


def say(what: str, began: Cost, more: str) -> None:
    ended = now()
    print(f"{what:<26} {ended.wall - began.wall:7.3f} s wall {ended.cpu - began.cpu:7.3f} s CPU  {more}")


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
