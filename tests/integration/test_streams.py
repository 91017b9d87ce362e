"""Standard streams that are full or closed: one sentence, and exit code 74."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.server import Server
from support.waiting import until

PULPIT = f"{sys.executable} -m pulpit.cli"
ADMIN = f"{sys.executable} -c 'from pulpit.admin.main import main; main()'"


def run(command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "command", [f"{PULPIT} --help", f"{PULPIT} --version", f"{ADMIN} --help", f"{ADMIN} --version"]
)
@pytest.mark.parametrize(("redirection", "reason"), [(">/dev/full", "No space left"), (">&-", "Bad file descriptor")])
def test_b7_output_that_cannot_be_written_is_told(command: str, redirection: str, reason: str) -> None:
    done = run(f"{command} {redirection}")

    assert done.returncode == 74
    assert done.stderr.count("\n") == 1
    assert "Standard output cannot be written" in done.stderr
    assert reason in done.stderr
    assert run(f"{command} {redirection} 2>/dev/full").returncode == 74
    assert run(f"{command} {redirection} 2>&-").returncode == 74


@pytest.mark.parametrize("command", [f"{PULPIT} --help", f"{ADMIN} --help"])
def test_a_reader_that_leaves_is_no_failure(command: str) -> None:
    done = run(f"{{ {command}; echo code $? >&2; }} | true")

    assert done.stderr == "code 0\n"


def test_b7_letters_that_the_encoding_lacks_are_replaced() -> None:
    done = run(f"{PULPIT} fire --help", {"PYTHONIOENCODING": "iso8859-1:strict"})

    assert done.returncode == 0
    assert "\\u2026" in done.stdout


def test_b7_input_that_cannot_be_read_is_told() -> None:
    done = run(f"{PULPIT} broker hash <&-")

    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr.startswith("pulpit: Standard input cannot be read: ")
    assert done.stderr.count("\n") == 1


def test_a_password_that_is_no_text_is_told() -> None:
    done = run(f"printf '\\377\\n' | {PULPIT} broker hash")

    assert (done.returncode, done.stderr) == (65, "pulpit: Standard input is no text in UTF-8.\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("streams") / "data")
    server.start()
    yield server
    assert server.stop() == 0


def at(server: Server) -> dict[str, str]:
    return {"PULPIT_URL": server.url, "PULPIT_DATA_DIR": str(server.data_dir)}


@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
@pytest.mark.parametrize("as_json", ["", "--json"])
def test_b7_fire_says_that_the_event_is_in_the_log(output: str, as_json: str, server: Server) -> None:
    alone = run(f"{PULPIT} fire a.b {as_json} {output}", at(server))
    many = run(f'printf \'{{"event_type": "a.b"}}\\n\' | {PULPIT} fire - {as_json} {output}', at(server))

    assert (alone.returncode, many.returncode) == (74, 74)
    assert alone.stderr.startswith("pulpit: Standard output cannot be written: ")
    assert "is in the log." in alone.stderr
    assert "1 event is in the log." in many.stderr


@pytest.mark.parametrize(
    "command",
    [
        f"{PULPIT} tail --after 0 --count 1",
        f"{PULPIT} tail --after 0 --json",
        f"{PULPIT} broker status",
        f"{PULPIT} broker queues --json",
        f"{ADMIN} status",
        f"{ADMIN} --json repo list",
        f"{ADMIN} event log list --table",
        f"{ADMIN} event tail --after 0",
        f"{ADMIN} tasks list --all --table",
    ],
)
@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
def test_b7_every_command_tells_what_it_cannot_write(command: str, output: str, server: Server) -> None:
    run(f"{PULPIT} fire a.b", at(server))

    done = run(f"{command} {output}", at(server))

    assert done.returncode == 74, done.stderr
    assert "Standard output cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [f"{PULPIT} tail", f"{PULPIT} tail --json", f"{ADMIN} event tail"])
@pytest.mark.parametrize("background", ["", " & wait"])
def test_b8_tail_ends_with_its_reader(command: str, background: str, server: Server) -> None:
    run(f"{PULPIT} fire a.b", at(server))

    done = run(f"{{ {command} --after 0 | head -1 ; }} {background}", at(server))

    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_b13_tail_tells_a_gap_and_goes_on(server: Server) -> None:
    run(f"{PULPIT} fire a.b", at(server))
    command = f"{PULPIT} tail --after 1000000 --count 1"
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        env={**os.environ, **at(server)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stderr is not None
        assert "following the log after event 1000000" in tail.stderr.readline()
        gap = tail.stderr.readline()
        run(f"{PULPIT} fire after.gap", at(server))
        out, _ = tail.communicate(timeout=60)
    assert gap.startswith("There is a gap: ")
    assert "after.gap" in out
    listed = run(f"{ADMIN} event log list --after 1000000", at(server))
    assert listed.returncode == 65


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", ">&-"])
def test_b7_a_server_needs_no_streams(closed: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    options = f"--data-dir {tmp_path / 'data'} --port 0 --broker-port 0"
    with subprocess.Popen(["/bin/sh", "-c", f"exec {PULPIT} serve {options} {closed} 2>{log}"]) as server:
        until(lambda: "ready: " in log.read_text(), what="the server to be ready")
        streams = [str(Path(f"/proc/{server.pid}/fd/{number}").readlink()) for number in range(2)]
        server.terminate()
        assert server.wait(60) == 0
    assert os.devnull in streams
    assert "Traceback" not in log.read_text()
