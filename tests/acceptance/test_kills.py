"""`kill -9` at random moments of syncs and publishes: afterwards everything agrees, and the next sync heals it.

`PULPIT_KILLS` makes it longer, `PULPIT_KILLS_SEED` repeats one.
"""

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import published, yum
from support import upstream as serving
from support.chaos import seeded
from support.processes import workers_of
from support.published import look_beside
from support.server import ENDED, Server, pulpit
from support.upstream import Upstream
from support.waiting import until

KILLS = int(os.environ.get("PULPIT_KILLS", "20"))
SEED = int(os.environ.get("PULPIT_KILLS_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
VICTIMS = ("worker", "worker", "server")
FILES = 30
LATEST = 0.7
"""Seconds after the orders within which the blow falls; syncs and publishes take about as long."""
TAKEN_OVER = {"files.stray"}
"""What a kill may leave: whole files that were not recorded yet.

The next sync reuses files that it would download again unchanged; lists of a killed publish are written again
with a new time, and the first ones wait a day for `orphan remove`.
"""
CHANGED = 10
"""Files that are others in the next state of the upstream."""

pytestmark = pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason="rpmbuild is not installed")

Tree = Mapping[str, str]
"""SHA-256 of files by path."""


@dataclass(kw_only=True)
class Feed:
    """An upstream that goes from one state to the next, and the published tree that comes of it."""

    repo_id: str
    upstream: Upstream
    data_dir: Path
    place: str
    states: Iterator[Mapping[str, bytes]]
    suffix: str
    """What the files end in that are taken over as they are; the others are written again."""
    is_whole: Callable[[Mapping[str, bytes]], bool]
    """Whether the lists of a tree fit its files."""
    state: Tree

    def go_on(self) -> Tree:
        """Serve the next state and return what a tree of it holds."""
        files = next(self.states)
        self.upstream.files.clear()
        for path, content in files.items():
            self.upstream.put(path, content)
        self.state = self._taken(files)
        return self.state

    def published(self) -> Tree:
        """What readers see, which must be whole."""
        with published.beside(self.data_dir) as context:
            found = published.contents(context, self.place)
        assert self.is_whole(found), sorted(found)
        return self._taken(found)

    def _taken(self, files: Mapping[str, bytes]) -> Tree:
        return {path.rpartition("/")[2]: _sha256(files[path]) for path in files if path.endswith(self.suffix)}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fits_manifest(found: Mapping[str, bytes]) -> bool:
    """Whether the manifest names every file with its checksum and size."""
    lines = found["PULP_MANIFEST"].decode().splitlines()
    return sorted(lines) == sorted(serving.line(path, found[path]) for path in found if path != "PULP_MANIFEST")


def _fits_repomd(found: Mapping[str, bytes]) -> bool:
    """Whether every list that `repomd.xml` names is there, named after its checksum."""
    lists = [path for path in found if path.startswith("repodata/") and "-" in path]
    repomd = found["repodata/repomd.xml"].decode()
    named = all(path in repomd and _sha256(found[path]) in path for path in lists)
    return named and len(lists) == repomd.count("<location ")


def _file_states() -> Iterator[Mapping[str, bytes]]:
    """Small files, which come in one piece, and larger ones, which are gone on with."""
    files: dict[str, bytes] = {}
    number = 0
    while True:
        for index in range(FILES if number == 0 else CHANGED):
            name = f"{(index * 7 + number) % FILES}.iso"
            files[name] = f"{number} {index} ".encode() * (200 if index % 3 else 200_000)
        listed = "".join(f"{serving.line(name, content)}\n" for name, content in files.items())
        yield {**files, "PULP_MANIFEST": listed.encode()}
        number += 1


def _package_states(folder: Path) -> Iterator[Mapping[str, bytes]]:
    """Two sets of packages in turn."""
    old = [yum.build(folder, name, version) for name, version in (("bear", "4.1"), ("camel", "1.0"), ("dodo", "1.0"))]
    new = [yum.build(folder, "bear", "4.2"), old[1], yum.build(folder, "emu", "2.0")]
    while True:
        for rpms in (old, new):
            contents = {rpm.name: rpm.read_bytes() for rpm in rpms}
            yield {**contents, **yum.listed(yum.packages(rpms), updateinfo=yum.UPDATEINFO, group=yum.COMPS)}


@contextlib.contextmanager
def _feeds(folder: Path, data_dir: Path) -> Iterator[list[Feed]]:
    with serving.running() as files, serving.running() as packages:
        isos = {"suffix": ".iso", "is_whole": _fits_manifest, "states": _file_states()}
        rpms = {"suffix": ".rpm", "is_whole": _fits_repomd, "states": _package_states(folder)}
        one: dict[str, Any] = {"repo_id": "files", "upstream": files, "place": "isos/files", **isos}
        two: dict[str, Any] = {"repo_id": "zoo", "upstream": packages, "place": "repos/zoo", **rpms}
        yield [Feed(**one, data_dir=data_dir, state={}), Feed(**two, data_dir=data_dir, state={})]


def _create(server: Server, feeds: list[Feed]) -> None:
    server.create_iso("files", feeds[0].upstream.url, remove_missing=True)
    distributor = {"distributor_id": "yum_distributor", "distributor_type_id": "yum_distributor", "auto_publish": True}
    body: dict[str, Any] = {"id": "zoo", "importer_type_id": "yum_importer", "notes": {"_repo-type": "rpm-repo"}}
    body["importer_config"] = {"feed": feeds[1].upstream.url, "remove_missing": True}
    body["distributors"] = [{**distributor, "distributor_config": {"http": True, "https": False}}]
    server.call("POST", "/pulp/api/v2/repositories/", body)


def _strike(server: Server, victim: str) -> None:
    if victim == "server":
        server.kill()
        server.start()
        return
    for pid in workers_of(server):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


def _all_end(server: Server) -> None:
    def done() -> bool:
        return all(task["state"] in ENDED for task in server.call("GET", "/pulp/api/v2/tasks/"))

    until(done, what="every task to end")


def _synced(server: Server, feeds: list[Feed]) -> None:
    for task_id in [server.sync(feed.repo_id) for feed in feeds]:
        report = server.ended(task_id)
        assert report["state"] == "finished", report


def _leftovers(server: Server) -> set[str]:
    """The rules by which `pulpit check --deep` finds something left over; it must find nothing wrong."""
    findings = look_beside(server.data_dir)
    assert [one.line() for one in findings if one.stands] == []
    return {one.rule for one in findings}


def _check(server: Server) -> str:
    """The same as a command, which must succeed, and the last line that it says."""
    command = [sys.executable, "-m", "pulpit.cli", "check", "--deep", "--data-dir", str(server.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def _pairs(server: Server) -> dict[str, Counter[str]]:
    """How many starts and finishes each sync or publish has fired."""
    seen: dict[str, Counter[str]] = {}
    page: dict[str, Any] = {"events": [], "next": 0, "head": 1}
    while page["next"] < page["head"]:
        page = server.call("GET", f"/pulpit/v1/events?after={page['next']}&limit=1000")
        for event in page["events"]:
            words = event["event_type"].split(".")
            if words[0] == "repo" and words[-1] in {"start", "finish"}:
                seen.setdefault(event["call_report"]["task_id"], Counter())[words[-1]] += 1
    return seen


def _round(server: Server, feeds: list[Feed], chance: random.Random) -> Iterator[str]:
    """Let the upstreams go on, strike while that is taken over, look, and let it be healed; tells what was hit."""
    before, after = [feed.state for feed in feeds], [feed.go_on() for feed in feeds]
    syncs = [server.sync(feed.repo_id) for feed in feeds]
    time.sleep(chance.uniform(0, LATEST))
    victim = chance.choice(VICTIMS)
    _strike(server, victim)
    _all_end(server)
    assert _leftovers(server) <= TAKEN_OVER, f"after a kill of the {victim}"
    for feed, old, new, sync in zip(feeds, before, after, syncs, strict=True):
        found, state = feed.published(), server.task(sync)["state"]
        assert found in (old, new), f"after a kill of the {victim}: {feed.repo_id}"
        yield f"{victim} killed: sync {state}, {'new' if found == new else 'old'} tree"
    _synced(server, feeds)
    for feed, new in zip(feeds, after, strict=True):
        assert feed.published() == new, f"{feed.repo_id} is not healed after a kill of the {victim}"


@pytest.mark.timeout(90 + KILLS * 15)
def test_killed_at_any_moment_everything_agrees_and_the_next_sync_heals_it(tmp_path: Path) -> None:
    _say(f"\nkills: seed {SEED}, {KILLS} of them")
    chance, seen = seeded(SEED), Counter[str]()
    with _feeds(tmp_path, tmp_path / "data") as feeds, pulpit(tmp_path / "data") as server:
        for feed in feeds:
            feed.go_on()
        _create(server, feeds)
        _synced(server, feeds)
        for _ in range(KILLS):
            seen.update(_round(server, feeds, chance))
        assert _leftovers(server) <= TAKEN_OVER
        assert _check(server).startswith("Database, storage and publications agree.")
        pairs = _pairs(server)
        said = list(server.said)
    _say(f"kills: {dict(sorted(seen.items()))}, {len(pairs)} starts with their finish")
    assert {task_id: counts for task_id, counts in pairs.items() if counts != {"start": 1, "finish": 1}} == {}
    assert len(pairs) > KILLS
    assert not [line for line in said if "Traceback" in line], "\n".join(said[-200:])


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the numbers of a campaign are its second result, shown by `pytest -s`
