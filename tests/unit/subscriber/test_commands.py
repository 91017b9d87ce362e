"""Commands for events: order within a lane, retries until success or the dead letters, and the position behind them."""

import asyncio
import json
import stat
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pulpit.client.failures import BrokenStream, WrongSettings
from pulpit.subscriber.commands import Lanes, Letters, Position, Runner, find_command, variables

EVENT: dict[str, Any] = {"number": 7, "event_type": "ci.done", "repo_id": "zoo", "result": None, "payload": {"a": "ä"}}


def runner(folder: Path, command: Sequence[str], *, give_up_after: float = 60, time_limit: float = 60) -> Runner:
    return Runner(
        command=command,
        letters=Letters(folder / "state" / "letters"),
        give_up_after=give_up_after,
        time_limit=time_limit,
        tell=said.append,
        random=lambda: 0.0,
        slots=asyncio.Semaphore(1),
        first_pause=timedelta(seconds=0.01),
    )


said: list[str] = []


@pytest.fixture(autouse=True)
def _silence() -> None:
    said.clear()


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


async def handled(made: Runner, event: dict[str, Any] | None = None) -> list[str]:
    settled: list[str] = []
    await made.handle(EVENT if event is None else event, lambda: settled.append("settled"))
    return settled


def test_the_command_gets_the_event_and_its_fields(tmp_path: Path) -> None:
    fields = "$PULPIT_EVENT_NUMBER-$PULPIT_REPO_ID-$PULPIT_RESULT-$PULPIT_ATTEMPT"
    script = f'cat > {tmp_path}/in; echo "{fields}" > {tmp_path}/env'
    assert asyncio.run(handled(runner(tmp_path, shell(script)))) == ["settled"]
    assert json.loads((tmp_path / "in").read_text()) == EVENT
    assert (tmp_path / "env").read_text() == "7-zoo--1\n"


def test_a_command_that_reads_nothing_succeeds_too(tmp_path: Path) -> None:
    big = {**EVENT, "payload": {"text": "x" * 2_000_000}}
    assert asyncio.run(handled(runner(tmp_path, ["true"]), big)) == ["settled"]


def test_it_is_tried_again_until_it_succeeds(tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 3"
    assert asyncio.run(handled(runner(tmp_path, shell(script)))) == ["settled"]
    assert (tmp_path / "tries").read_text() == "x\n" * 3
    assert "exit code 1; retrying" in said[0]


def test_what_fails_too_long_is_put_aside_for_its_owner_alone(tmp_path: Path) -> None:
    made = runner(tmp_path, ["false"], give_up_after=0)
    assert asyncio.run(handled(made)) == ["settled"]
    [letter] = made.letters.every()
    assert (letter["event"], letter["reason"], letter["attempts"]) == (EVENT, "exit code 1", 1)
    assert stat.S_IMODE(made.letters.path.stat().st_mode) == 0o600
    made.letters.add({**EVENT, "number": 8}, "exit code 2", 3)
    made.letters.drop(letter)
    assert [letter["event"]["number"] for letter in made.letters.every()] == [8]


def test_an_event_that_cannot_be_put_aside_is_not_given_up(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    script = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 3"
    assert asyncio.run(handled(runner(tmp_path, shell(script), give_up_after=0))) == ["settled"]
    assert "cannot be kept" in said[0]


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; wait"
    made = runner(tmp_path, shell(script), give_up_after=0, time_limit=1)
    assert asyncio.run(handled(made)) == ["settled"]
    assert made.letters.every()[0]["reason"] == "it did not end within 1s"
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("command", "reason"), [(shell("kill -9 $$"), "a signal ended it (SIGKILL)"), (["/"], "cannot be started")]
)
def test_the_reason_is_told(tmp_path: Path, command: list[str], reason: str) -> None:
    made = runner(tmp_path, command, give_up_after=0)
    asyncio.run(handled(made))
    assert reason in made.letters.every()[0]["reason"]


def test_a_run_that_was_begun_ends_before_the_program_does(tmp_path: Path) -> None:
    async def stopped() -> list[str]:
        settled: list[str] = []
        made = runner(tmp_path, shell(f"touch {tmp_path}/begun; while ! test -e {tmp_path}/go; do sleep 0.01; done"))
        task = asyncio.ensure_future(made.handle(EVENT, lambda: settled.append("settled")))
        while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0)
        (tmp_path / "go").touch()
        with pytest.raises(asyncio.CancelledError):
            await task
        return settled

    assert asyncio.run(stopped()) == ["settled"]


def test_lanes_keep_their_order_and_do_not_wait_for_each_other() -> None:
    async def run() -> list[str]:
        lanes, done, gate = Lanes(), list[str](), asyncio.Event()

        async def work(name: str, *, waits: bool = False) -> None:
            if waits:
                await gate.wait()
            done.append(name)

        await lanes.put("a", lambda: work("a1", waits=True))
        await lanes.put("a", lambda: work("a2"))
        await lanes.put("b", lambda: work("b1"))
        while "b1" not in done:  # noqa: ASYNC110 - what is tested is who is not waited for
            await asyncio.sleep(0)
        gate.set()
        await lanes.idle()
        return done

    assert asyncio.run(run()) == ["b1", "a1", "a2"]


def test_a_bug_in_a_lane_is_told() -> None:
    async def run() -> None:
        lanes = Lanes()

        async def broken() -> None:
            raise ZeroDivisionError

        await lanes.put("a", broken)
        await lanes.broken

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())


def test_a_position_passes_nothing_that_is_not_settled() -> None:
    position = Position(3)
    first, second = position.take(5), position.take(8)
    position.take(9, settled=True)
    second()
    assert (position.number, len(position)) == (3, 3)
    first()
    assert (position.number, len(position)) == (9, 0)


def test_fields_become_variables_that_a_process_can_be_given() -> None:
    found = variables({"event_type": "a\0b", "repo_id": None}, 2)
    assert (found["PULPIT_EVENT_TYPE"], found["PULPIT_REPO_ID"], found["PULPIT_ATTEMPT"]) == ("ab", "", "2")


def test_a_command_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    find_command([sys.executable])
    for name in ("no-such-program", str(tmp_path)):
        with pytest.raises(WrongSettings, match="There is no program"):
            find_command([name])


def test_a_file_with_other_lines_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("{}\n")
    with pytest.raises(BrokenStream, match="no dead letter"):
        Letters(path).every()
    assert path.read_text() == "{}\n"
