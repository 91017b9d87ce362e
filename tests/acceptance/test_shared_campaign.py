"""Three servers on one PostgreSQL and one storage, and readers, while servers and workers are killed at random.

Every start must have one finish, and a reader who goes from server to server never sees an error or a mixture.
`PULPIT_SHARED_CAMPAIGN_SECONDS` makes it longer, `PULPIT_SHARED_CAMPAIGN_SEED` repeats one.
"""

import hashlib
import http.client
import os
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import createrepo_c as cr
import pytest

from support import postgresql as pg
from support import upstream, yum
from support.chaos import seeded
from support.processes import workers_of
from support.server import API, ENDED, Server
from support.shared import Shared, Workers, beside, check, read, shared_by
from support.upstream import Upstream
from support.waiting import until

SECONDS = float(os.environ.get("PULPIT_SHARED_CAMPAIGN_SECONDS", "8"))
SEED = int(os.environ.get("PULPIT_SHARED_CAMPAIGN_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
LEAST_ROUNDS = 3
LARGE = bytes(range(256)) * 12_000
"""More than is fetched at once for a reader: from an object store it is streamed."""
PACKAGES = 6

pytestmark = pytest.mark.skipif(
    bool(pg.why_not() or yum.tools("rpmbuild")), reason=str(pg.why_not() or yum.tools("rpmbuild"))
)


@dataclass(kw_only=True)
class Member:
    """A server; `lives` is odd while it is killed or starts, so that a reader knows whether it may be gone."""

    server: Server
    lives: int = 1

    def start(self) -> None:
        self.server.start()
        self.lives += 1

    def kill(self) -> None:
        self.lives += 1
        self.server.kill()


@dataclass(kw_only=True)
class Fleet:
    """The servers, the workers beside them, and what their readers saw."""

    members: list[Member]
    workers: Workers
    chance: random.Random
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    is_over: threading.Event = field(default_factory=threading.Event)

    def alive(self, chance: random.Random) -> Member:
        """One that is not down now."""
        return chance.choice([member for member in self.members if not member.lives % 2])

    def get(self, path: str, chance: random.Random) -> bytes:
        """What any server says; one that was killed meanwhile is passed over."""
        while True:
            member = self.alive(chance)
            lives = member.lives
            try:
                status, body = read(member.server, path)
            except (OSError, http.client.HTTPException) as error:
                if member.lives == lives:
                    raise AssertionError(f"{path} of {member.server.data_dir.name}: {error!r}") from None
                continue
            assert status == 200, f"{path} of {member.server.data_dir.name}: {status} {body[:200]!r}"
            self.counts["reads"] += 1
            return body

    def strike(self) -> None:
        """Kill somebody, and start him again."""
        victim = self.chance.choice(["server", "server", "server's worker", "pulpit worker"])
        self.counts[f"{victim} killed"] += 1
        if victim == "pulpit worker":
            self.workers.kill()
            self.workers.start()
            return
        member = self.chance.choice(self.members)
        if victim == "server":
            member.kill()
            time.sleep(self.chance.random())
            member.start()
            return
        for pid in workers_of(member.server):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask any server that is alive."""
        return self.alive(self.chance).server.call(method, path, body)


def read_files(fleet: Fleet, chance: random.Random) -> None:
    """The manifest names two files of one state of the upstream, and each file is whole."""
    lines = dict(line.split(",")[:2] for line in fleet.get("isos/files/PULP_MANIFEST", chance).decode().splitlines())
    small = fleet.get("isos/files/small.iso", chance)
    large = fleet.get("isos/files/large.iso", chance)
    assert small.isdigit()
    assert large[: len(LARGE)] == LARGE
    assert large[len(LARGE) :].isdigit()
    numbers = [n for n in range(fleet.counts["states"] + 1) if sha256(b"%d" % n) == lines["small.iso"]]
    assert [sha256(LARGE + b"%d" % number) for number in numbers] == [lines["large.iso"]], f"a mixture: {lines}"


def read_packages(fleet: Fleet, chance: random.Random) -> None:
    """What a client of yum reads: the lists that `repomd.xml` names, and the packages that those name."""
    repomd = fleet.get("repos/zoo/repodata/repomd.xml", chance).decode()
    lists = {path: fleet.get(f"repos/zoo/{path}", chance) for path in re.findall(r'<location href="([^"]+)"', repomd)}
    assert lists
    for path, content in lists.items():
        assert sha256(content) in path
    for path, digest in packages_of(lists).items():
        assert sha256(fleet.get(f"repos/zoo/{path}", chance)) == digest


def packages_of(lists: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of the packages of a primary list by their paths."""
    (primary,) = (content for path, content in lists.items() if "primary.xml" in path)
    found: dict[str, str] = {}
    with tempfile.NamedTemporaryFile() as file:
        file.write(primary)
        file.flush()
        cr.xml_parse_primary(
            file.name, pkgcb=lambda package: found.update({package.location_href: package.pkgId}), do_files=False
        )
    assert found
    return found


@contextmanager
def readers(fleet: Fleet) -> Iterator[None]:
    """Readers of both repositories, until the end or the first fault of each."""

    def run(reading: Any, seed: int) -> None:
        chance = seeded(seed)
        while not fleet.is_over.is_set():
            try:
                reading(fleet, chance)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test looks for
                fleet.wrong.append(f"{reading.__name__}: {error!r}")
                return
            fleet.is_over.wait(0.05)

    threads = [threading.Thread(target=run, args=(reading, SEED)) for reading in (read_files, read_packages)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        fleet.is_over.set()
        for thread in threads:
            thread.join(120)


@contextmanager
def fleet_on(shared: Shared) -> Iterator[Fleet]:
    """Three servers with a worker each, and `pulpit worker` with another."""
    chance, few = seeded(SEED), "[tasks]\nworkers: 1\n"
    one = Server(shared.folder / "one", shared.conf + few)
    one.start()
    members = [Member(server=one, lives=2)]
    workers = Workers(shared, few)
    try:
        for name in ("two", "three"):
            members.append(Member(server=beside(shared, one, name, few)))
            members[-1].start()
        workers.start()
        yield Fleet(members=members, workers=workers, chance=chance)
    finally:
        codes = [member.server.stop() for member in members]
        code = workers.stop()
    assert [*codes, code] == [0] * 4, [member.server.said for member in members]


def go_on(fleet: Fleet, files: Upstream, packages: Upstream, rpms: list[Path]) -> None:
    """The next state of both upstreams; packages are only ever added."""
    number = fleet.counts["states"] = fleet.counts["states"] + 1
    files.put("small.iso", b"%d" % number)
    files.put("large.iso", LARGE + b"%d" % number)
    files.manifest()
    shown = rpms[: 1 + number % len(rpms)]
    yum.serve(packages, yum.listed(yum.packages(shown), updateinfo=yum.UPDATEINFO), shown)


def order_syncs(fleet: Fleet) -> None:
    """Ask any server for both; one that is killed right now is passed over."""
    for repo_id in ("files", "zoo"):
        with suppress(OSError, http.client.HTTPException):
            fleet.call("POST", f"{API}/repositories/{repo_id}/actions/sync/", {"override_config": None})


def synced(fleet: Fleet) -> None:
    for repo_id in ("files", "zoo"):
        server = fleet.alive(fleet.chance).server
        report = server.ended(server.sync(repo_id), seconds=240)
        assert report["state"] == "finished", report


def begun_and_ended(fleet: Fleet) -> dict[str, Counter[str]]:
    """How many starts and finishes each task has fired."""
    seen: dict[str, Counter[str]] = {}
    page: dict[str, Any] = {"events": [], "next": 0, "head": 1}
    while page["next"] < page["head"]:
        page = fleet.call("GET", f"/pulpit/v1/events?after={page['next']}&limit=1000")
        for event in page["events"]:
            words = event["event_type"].split(".")
            if words[0] == "repo" and words[-1] in {"start", "finish"}:
                seen.setdefault(event["call_report"]["task_id"], Counter())[words[-1]] += 1
    return seen


@pytest.mark.timeout(400 + SECONDS * 2)
@pytest.mark.parametrize("kind", ["shared folder", "object store"])
def test_readers_of_three_servers_see_no_error_and_no_mixture_whoever_is_killed(kind: str, tmp_path: Path) -> None:
    rpms = [yum.build(tmp_path, f"animal{number}", "1.0") for number in range(PACKAGES)]
    with (
        upstream.running() as files,
        upstream.running() as packages,
        shared_by(kind, tmp_path) as shared,
        fleet_on(shared) as fleet,
    ):
        create(fleet, files, packages)
        go_on(fleet, files, packages, rpms)
        synced(fleet)
        for path in ("isos/files/PULP_MANIFEST", "repos/zoo/repodata/repomd.xml"):  # publishes follow the syncs
            until(lambda at=path: read(fleet.members[0].server, at)[0] == 200, what=path)  # type: ignore[misc]
        begun = time.monotonic()
        with readers(fleet):
            while fleet.counts["rounds"] < LEAST_ROUNDS or time.monotonic() - begun < SECONDS:
                fleet.counts["rounds"] += 1
                go_on(fleet, files, packages, rpms)
                order_syncs(fleet)
                time.sleep(fleet.chance.random() * 1.5)
                fleet.strike()
                if fleet.wrong:
                    break
        until(
            lambda: all(task["state"] in ENDED for task in fleet.call("GET", f"{API}/tasks/")),
            what="every task to end",
            seconds=240,
        )
        go_on(fleet, files, packages, rpms)
        synced(fleet)
        pairs = begun_and_ended(fleet)
        print(f"seed {SEED}: {dict(fleet.counts)}, {len(pairs)} starts")  # noqa: T201 - shown by `pytest -s`
        said = [line for member in fleet.members for line in member.server.said]
        assert fleet.wrong == [], "\n".join(said[-200:])
        errors = [str(task["error"]) for task in fleet.call("GET", f"{API}/tasks/") if task["state"] == "error"]
        assert [error for error in errors if "could not be written" in error] == []
        for member in fleet.members:
            assert read(member.server, "isos/files/small.iso") == (200, b"%d" % fleet.counts["states"])
        assert {task: ends for task, ends in pairs.items() if ends != {"start": 1, "finish": 1}} == {}
        for member in fleet.members:
            check(member.server)
    assert not [line for line in said if "Traceback" in line], "\n".join(said[-200:])


def create(fleet: Fleet, files: Upstream, packages: Upstream) -> None:
    fleet.members[0].server.create_iso("files", files.url)
    distributor = {"distributor_id": "yum_distributor", "distributor_type_id": "yum_distributor", "auto_publish": True}
    body: dict[str, Any] = {"id": "zoo", "importer_type_id": "yum_importer", "notes": {"_repo-type": "rpm-repo"}}
    body["importer_config"] = {"feed": packages.url}
    body["distributors"] = [{**distributor, "distributor_config": {"http": True, "https": False}}]
    fleet.members[0].server.call("POST", f"{API}/repositories/", body)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
