"""`pulpit on` with real commands: every event is handled, in order, whatever is killed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from support.processes import clean_environment
from support.server import Server, pulpit
from support.upstream import running
from support.waiting import until

pytestmark = pytest.mark.timeout(300)
V1 = "/pulpit/v1"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("on") / "data") as server:
        yield server


class On:
    """The program in a separate process, whose command writes the numbers of the events into a file."""

    def __init__(self, server: Server, folder: Path, *words: str, script: str = "") -> None:
        self._server = server
        self.out = folder / "out"
        self.out.touch()
        self.letters = folder / "letters"
        self._words = [*words, "--dead-letters", str(self.letters), "--", "sh", "-c"]
        self._script = script or f'echo "$PULPIT_EVENT_NUMBER" >> {self.out}'
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        known = clean_environment()
        known |= {"PULPIT_URL": self._server.url, "PULPIT_DATA_DIR": str(self._server.data_dir)}
        known["PULPIT_AMQP_URL"] = self._server.amqp_url
        command = [sys.executable, "-m", "pulpit.cli", "on", *self._words, self._script]
        self.process = subprocess.Popen(command, env=known, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=60)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, and return the exit code and what was said."""
        assert self.process
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def ended(self) -> tuple[int, str]:
        assert self.process
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said

    def has_more_than(self, count: int) -> bool:
        return len(self.numbers) > count

    @property
    def numbers(self) -> list[int]:
        return [int(line) for line in self.out.read_text().split()]


def fire(server: Server, *repo_ids: str, event_type: str = "ci.on") -> list[int]:
    events = [{"event_type": event_type, "repo_id": repo_id} for repo_id in repo_ids]
    numbers: list[int] = server.call("POST", f"{V1}/events", events)["numbers"]
    return numbers


def position(server: Server, name: str) -> int:
    found: int = server.call("GET", f"{V1}/consumers/{name}")["position"]
    return found


def created(server: Server, name: str) -> str:
    server.call("PUT", f"{V1}/consumers/{name}", {})
    return name


def test_each_event_is_handled_in_order_and_acknowledged(served: Server, tmp_path: Path) -> None:
    name = created(served, "order")
    before = fire(served, "zoo", "bear")
    fire(served, "zoo", event_type="cd.other")
    with On(served, tmp_path, "ci.on", "--name", name) as program:
        until(lambda: program.numbers == before, what="the events of before")
        after = fire(served, "zoo", "zoo")
        until(lambda: program.numbers == before + after, what="the events of after")
        until(lambda: position(served, name) >= after[-1], what="the acknowledgement")
        code, said = program.end()
    assert code == 0, said
    with On(served, tmp_path, "ci.on", "--name", name, "--once") as program:
        assert program.ended()[0] == 0
    assert program.numbers == before + after


def test_what_was_killed_on_the_way_comes_again_and_nothing_is_lost(served: Server, tmp_path: Path) -> None:
    name = created(served, "kills")
    wanted: list[int] = []
    script = f'sleep 0.05; echo "$PULPIT_EVENT_NUMBER" >> {tmp_path}/out'
    for _ in range(4):
        with On(served, tmp_path, "ci.on", "--name", name, script=script) as program:
            seen = len(program.numbers)
            wanted += fire(served, *["zoo"] * 10)
            until(partial(program.has_more_than, seen + 3), what="some events")
            program.end(signal.SIGKILL)
    with On(served, tmp_path, "ci.on", "--name", name, "--once", script=script) as program:
        assert program.ended()[0] == 0
    assert sorted(set(program.numbers)) == wanted
    firsts = sorted(set(program.numbers), key=program.numbers.index)
    assert firsts == wanted


def test_a_server_that_is_killed_is_waited_for(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        name = created(server, "server")
        with On(server, tmp_path, "ci.on", "--name", name) as program:
            before = fire(server, "zoo")
            until(lambda: program.numbers == before, what="the first event")
            server.kill()
            time.sleep(0.5)
            server.start()
            after = fire(server, "zoo")
            until(lambda: program.numbers[-1:] == after, what="the next event")
            until(lambda: position(server, name) >= after[-1], what="the acknowledgement")
            assert program.end()[0] == 0


def test_a_repository_that_fails_delays_itself_alone_and_ends_in_the_dead_letters(
    served: Server, tmp_path: Path
) -> None:
    name = created(served, "lanes")
    script = f'test "$PULPIT_REPO_ID" != bad && echo "$PULPIT_EVENT_NUMBER" >> {tmp_path}/out'
    options = ["--name", name, "--concurrency", "4", "--give-up-after", "3s"]
    bad, *good = fire(served, "bad", "zoo", "bear", "zoo")
    with On(served, tmp_path, "ci.on", *options, script=script) as program:
        until(lambda: sorted(program.numbers) == sorted(good), what="the others")
        assert position(served, name) < bad
        until(lambda: position(served, name) >= good[-1], what="the dead letter")
        program.end()
    assert [number for number in program.numbers if number in (good[0], good[2])] == [good[0], good[2]]
    [letter] = [json.loads(line) for line in program.letters.read_text().splitlines()]
    assert (letter["event"]["number"], letter["reason"]) == (bad, "exit code 1")
    again = On(served, tmp_path, "ci.on", "--name", name, "--again", script=f"cat >> {tmp_path}/again")
    with again:
        code, said = again.ended()
    assert (code, "1 dead letters are done, 0 are left" in said) == (0, True)
    assert json.loads((tmp_path / "again").read_text())["number"] == bad
    assert program.letters.read_text() == ""


def test_a_command_that_hangs_is_ended(served: Server, tmp_path: Path) -> None:
    name = created(served, "hang")
    [number] = fire(served, "zoo")
    options = ["--name", name, "--time-limit", "1s", "--give-up-after", "1s", "--once"]
    with On(served, tmp_path, "ci.on", *options, script="sleep 600") as program:
        code, said = program.ended()
    assert code == 0
    assert "it did not end within 1s" in said
    assert position(served, name) >= number


def test_events_come_from_a_durable_queue_too(served: Server, tmp_path: Path) -> None:
    served.listen("on-exchange", "ci.#")
    options = ["--queue", "on-queue", "--exchange", "on-exchange", "--repo-id", "z*"]
    with On(served, tmp_path, "ci.on", *options) as program:
        until(lambda: fire(served, "zoo") and program.numbers, what="a first event")
        program.end(signal.SIGKILL)
    numbers = fire(served, "zoo", "bear", "zoo")
    with On(served, tmp_path, "ci.on", *options) as program:
        until(lambda: program.numbers[-2:] == [numbers[0], numbers[2]], what="what came meanwhile")
        assert program.end()[0] == 0


def test_a_package_narrows_the_events(served: Server, tmp_path: Path) -> None:
    name = created(served, "packages")
    for repo_id, file in (("without", "camel.iso"), ("with-bear", "bear.iso")):
        with running() as feed:
            feed.put(file, b"content")
            feed.manifest()
            served.create_iso(repo_id, feed.url)
            served.ended(served.sync(repo_id))
    options = ["--name", name, "--package", "bear*"]
    script = f'echo "$PULPIT_REPO_ID $PULPIT_EVENT_TYPE" >> {tmp_path}/seen'
    with On(served, tmp_path, "repo.sync.finish", *options, script=script):
        until((tmp_path / "seen").exists, what="the event")
    assert (tmp_path / "seen").read_text() == "with-bear repo.sync.finish\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ci.on"], 64, "--name"),
        (["ci.on", "--name", "a b"], 65, "--name has 1 to 100 letters"),
        (["no-such-type", "--name", "x"], 65, "is one word"),
        (["ci.on", "--name", "x", "--queue", "q", "--once"], 64, "are for the log"),
        (["ci.on", "--name", "x", "-u", "reader", "-p", "wrong"], 77, "does not accept"),
        (["ci.on", "--name", "x", "--give-up-after", "soon"], 2, "is no time"),
        (["ci.on", "--name", "x", "--concurrency", "0"], 2, "0 is not in the range"),
    ],
)
def test_what_cannot_be_right_is_refused(
    served: Server, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    with On(served, tmp_path, *words) as program:
        ended = program.ended()
    assert (ended[0], said in ended[1]) == (code, True), ended
    assert served.reply("GET", f"{V1}/consumers/x")[0] == 404


def test_a_pattern_of_arguments_is_no_shell(served: Server, tmp_path: Path) -> None:
    """What an event says is never read as a command."""
    name = created(served, "shell")
    served.call("POST", f"{V1}/events", {"event_type": "ci.on", "repo_id": f"$(touch {tmp_path}/bad)", "payload": {}})
    with On(
        served, tmp_path, "ci.on", "--name", name, "--once", script=f'echo "$PULPIT_REPO_ID" > {tmp_path}/id'
    ) as it:
        assert it.ended()[0] == 0
    assert (tmp_path / "id").read_text() == f"$(touch {tmp_path}/bad)\n"
    assert not (tmp_path / "bad").exists()
