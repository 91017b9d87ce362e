"""A worker is killed right before and right after each commit, and what it left behind is repaired."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.repositories.recovery import recover
from pulpit.store import repositories
from support import killed_at_commit, published
from support import upstream as serving
from support.mirror import DISTRIBUTOR, Mirror, mirror
from support.published import look
from support.upstream import Upstream

MOST = 20
"""Transactions that no piece of work reaches."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving.running() as one:
        serve(one, 1)
        yield one


@pytest.fixture
def here(tmp_path: Path, upstream: Upstream) -> Iterator[Mirror]:
    with mirror(tmp_path) as one:
        one.create("zoo", upstream.url)
        yield one


def serve(upstream: Upstream, number: int) -> None:
    for name in ("a.iso", "b.iso"):
        upstream.put(name, f"{name} {number}".encode())
    upstream.manifest()


def dies(here: Mirror, what: str, last: int, when: str) -> bool:
    """Do some of the work; false if it came to its end."""
    command = [sys.executable, "-m", "support.killed_at_commit", str(here.data_dir), "zoo", what, str(last), when]
    tests = Path(killed_at_commit.__file__).parents[1]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def findings(here: Mirror) -> set[str]:
    return {one.rule for one in look(here.context, deep=True)}


def move(here: Mirror, place: str) -> None:
    with here.context.database.write() as tx:
        repositories.change_distributor(tx, "zoo", DISTRIBUTOR, config={"relative_url": place})


def seen(here: Mirror) -> dict[str, bytes]:
    return {
        name: content
        for path in published.paths(here.context)
        for name, content in published.contents(here.context, path).items()
    }


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("moves", [False, True])
def test_a_publish_killed_at_any_commit_leaves_the_old_publication_or_the_new_one(
    here: Mirror, upstream: Upstream, when: str, *, moves: bool
) -> None:
    for last in range(1, MOST):
        serve(upstream, last)
        here.sync("zoo")
        old = seen(here)
        if moves:
            move(here, f"place-{last}")
        alive = not dies(here, "publish", last, when)
        recover(here.context)
        assert findings(here) <= {"files.stray"}
        found = seen(here)
        assert found == old or found["a.iso"] == f"a.iso {last}".encode()
        assert here.publish("zoo").result in ("success", "skipped")
        assert seen(here)["a.iso"] == f"a.iso {last}".encode()
        assert findings(here) <= {"files.stray"}
        if alive:
            return
    pytest.fail("the work never came to its end")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_removal_killed_at_any_commit_leaves_all_or_nothing(here: Mirror, upstream: Upstream, when: str) -> None:
    del upstream
    for last in range(1, MOST):
        here.sync("zoo")
        here.publish("zoo")
        old = seen(here)
        alive = not dies(here, "unpublish", last, when)
        recover(here.context)
        assert findings(here) == set()
        assert seen(here) in (old, {})
        if alive or not seen(here):
            return
    pytest.fail("the work never came to its end")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sync_killed_at_any_commit_is_gone_on_with(here: Mirror, upstream: Upstream, when: str) -> None:
    for last in range(1, MOST):
        serve(upstream, last)
        alive = not dies(here, "sync", last, when)
        recover(here.context)
        assert findings(here) <= {"files.stray"}
        assert here.sync("zoo").result == "success"
        assert findings(here) == set()
        if alive:
            return
    pytest.fail("the work never came to its end")
