"""Upstreams with false lists: the sync ends with a finish event that says why, and publications stay as they were."""

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.server import Server, pulpit
from support.subscriber import Subscriber, subscribed
from support.upstream import Upstream, body, line, redirect, running, stall, status, truncated

GOOD = b"good" * 1000
NEXT = b"next" * 1000
CONF = "[tasks]\nstall_timeout: 1\ndownload_tries: 2\n"


@dataclass(frozen=True)
class System:
    """A server that has published one good file, and a subscriber of its events."""

    server: Server
    upstream: Upstream
    subscriber: Subscriber

    def published(self) -> dict[str, bytes]:
        return {name: self._get(name) for name in ("PULP_MANIFEST", "good.iso")}

    def _get(self, name: str) -> bytes:
        with urllib.request.urlopen(f"{self.server.url}/pulp/isos/files/{name}", timeout=60) as answer:
            content: bytes = answer.read()
            return content


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("bad-feeds")
    with (
        running() as upstream,
        pulpit(folder / "data", CONF) as server,
        subscribed(server.amqp_url, "pulp") as subscriber,
    ):
        server.listen("pulp")
        upstream.put("good.iso", GOOD)
        upstream.manifest()
        server.create_iso("files", upstream.url)
        server.ended(server.sync("files"))
        subscriber.wait_for(4)
        yield System(server, upstream, subscriber)


def lies(name: str, behaviour: Callable[[Upstream], None], words: str) -> object:
    return pytest.param(behaviour, words, id=name)


def misbehaving(name: str, how: Callable[[Upstream], None]) -> Callable[[Upstream], None]:
    def prepare(upstream: Upstream) -> None:
        upstream.put(name, NEXT)
        upstream.manifest()
        how(upstream)

    return prepare


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        lies("checksum", misbehaving("bad.iso", lambda up: up.misbehave("bad.iso", body(b"evil" * 1000))), "checksum"),
        lies("short", misbehaving("bad.iso", lambda up: up.misbehave("bad.iso", truncated(NEXT, 100))), "bad.iso"),
        lies("404", misbehaving("bad.iso", lambda up: up.misbehave("bad.iso", status(404))), "404"),
        lies("loop", misbehaving("bad.iso", lambda up: up.misbehave("bad.iso", redirect("/bad.iso"))), "redirect"),
        lies("stall", misbehaving("bad.iso", lambda up: up.misbehave("bad.iso", stall(NEXT, 10))), "bad.iso"),
        lies("absolute", lambda up: up.manifest(line("/etc/evil", b"x")), "evil"),
        lies("no manifest", lambda up: up.misbehave("PULP_MANIFEST", status(404)), "PULP_MANIFEST"),
    ],
)
def test_a_lying_feed_is_a_failed_finish_that_says_why_and_the_tree_stays(
    system: System, prepare: Callable[[Upstream], None], words: str
) -> None:
    before, seen = system.published(), len(system.subscriber.subjects)
    system.upstream.behaviours.clear()
    prepare(system.upstream)
    task = system.server.ended(system.server.sync("files"))
    system.subscriber.wait_for(seen + 2)
    start, finish = system.subscriber.arrived[seen:][:2]
    assert (start.subject, finish.subject) == ("pulp.server.repo.sync.start", "pulp.server.repo.sync.finish")
    assert finish.body["payload"]["result"] == "failed"
    assert words in finish.body["payload"]["error_message"]
    assert (task["state"], task["spawned_tasks"]) == ("error", [])
    assert words in task["error"]["description"]
    assert finish.body["call_report"]["state"] == "error"
    assert system.published() == before


def test_a11_an_odd_entry_is_left_out_and_named_in_event_task_and_command(system: System) -> None:
    before, seen = system.published(), len(system.subscriber.subjects)
    system.upstream.behaviours.clear()
    odd = [line("../../evil", b"x"), line("good.iso/beneath", b"x")]
    system.upstream.manifest(line("good.iso", GOOD), *odd)

    program = str(Path(sys.executable).with_name("pulp-admin"))
    own = ["--url", system.server.url, "--username", "admin", "--password", system.server.password]
    command = [program, *own, "iso", "repo", "sync", "run", "--repo-id", "files"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    system.subscriber.wait_for(seen + 2)
    finish = system.subscriber.arrived[seen + 1]
    assert finish.body["payload"]["result"] == "success"
    assert finish.body["payload"]["details"]["left_out_count"] == 2
    names = [entry["name"] for entry in finish.body["payload"]["details"]["left_out"]]
    assert names == ["../../evil", "good.iso/beneath"]
    assert all(f"Skipped: {name} " in told for name in names)
    assert system.published() == before
