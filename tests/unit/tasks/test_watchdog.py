"""The kernel ends a worker whose native code does not return; its task fails with a sentence."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pulpit.clock import system_clock
from pulpit.store import tasks
from pulpit.store.tasks import NewTask
from pulpit.tasks import watchdog
from pulpit.tasks.supervisor import Supervisor
from support.database import fresh, log
from support.waiting import PATIENCE

HELD = """
import asyncio, re, sys, threading
from pulpit.tasks.watchdog import watch

async def work(pieces):
    watching = asyncio.create_task(watch(1.0))
    await asyncio.sleep(0)
    for _ in range(pieces):  # each holds the interpreter's lock from beginning to end
        await asyncio.to_thread(re.match, r"(a+)+$", "a" * LETTERS + "b")
        await asyncio.sleep(0.2)
    watching.cancel()

asyncio.run(work(PIECES))
print("done")
"""


def run(letters: int, pieces: int) -> subprocess.CompletedProcess[str]:
    script = HELD.replace("LETTERS", str(letters)).replace("PIECES", str(pieces))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)


def test_a_process_that_native_code_holds_is_ended() -> None:
    assert run(60, 1).returncode == -signal.SIGPROF


def test_many_short_pieces_are_not_one_long_one() -> None:
    ended = run(20, 10)
    assert (ended.returncode, ended.stdout) == (0, "done\n")


@pytest.mark.parametrize(("code", "told"), [(-signal.SIGPROF, True), (-signal.SIGKILL, False), (1, False)])
def test_only_its_own_signal_is_explained(code: int, told: bool) -> None:
    reason = watchdog.reason_of(code, 90.0)
    assert (reason is not None) == told
    assert not told or "90 seconds" in str(reason)


def test_the_task_of_such_a_worker_ends_with_the_sentence_and_another_worker_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is a program that takes the oldest task, and is held by what it reads."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with fresh(tmp_path) as (database, _):
        with database.write() as tx:
            task = tasks.add(tx, NewTask(task_type="sync", arguments={"repo_id": "zoo"}, tags=[]), now=system_clock())

        async def story() -> None:
            supervisor = Supervisor(
                database,
                system_clock,
                node="here",
                count=1,
                module="support.held_worker",
                briefing={"data_dir": str(tmp_path), "native_limit": 1},
                stop_timeout=10,
                recover=lambda _: None,
            )
            supervising = asyncio.create_task(supervisor.run())
            async with asyncio.timeout(PATIENCE):
                while state() != tasks.ERROR or not supervisor.names:  # noqa: ASYNC110 - only the database tells
                    await asyncio.sleep(0.02)
            supervising.cancel()
            await asyncio.gather(supervising, return_exceptions=True)

        def state() -> str:
            with database.read() as connection:
                return tasks.get(connection, task.id).state

        asyncio.run(story())
        with database.read() as connection:
            error = tasks.get(connection, task.id).error or {}
        assert "kept a library busy for 1 seconds" in error["description"]
        [ended] = [event for event in log(database) if event.event_type == "tasks.error"]
        assert json.loads(ended.body)["call_report"]["error"] == error
