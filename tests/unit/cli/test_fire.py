"""`pulpit fire` and `pulpit tail` as programs, against a server with prepared responses."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.processes import clean_environment
from support.rest_wire import Reply, RestWire, rest_wire

EVENTS = "POST /pulpit/v1/events"
Pulpit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def wire() -> Iterator[RestWire]:
    with rest_wire() as wire:
        yield wire


@pytest.fixture
def environment(wire: RestWire, tmp_path: Path) -> dict[str, str]:
    kept = clean_environment()
    return {**kept, "HOME": str(tmp_path), "PULPIT_URL": wire.url, "PULPIT_DATA_DIR": str(tmp_path)}


@pytest.fixture
def pulpit(environment: dict[str, str]) -> Pulpit:
    def run(*words: str, stdin: str = "", code: int = 0) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pulpit.cli", *words]
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done

    return run


def accepted(*numbers: int) -> Reply:
    return Reply(status=201, body={"count": len(numbers), "numbers": list(numbers)})


def sent(wire: RestWire) -> list[list[str]]:
    """The event types of every request."""
    return [[json.loads(line)["event_type"] for line in asked.raw.splitlines()] for asked in wire.asked]


def fired(*event_types: str) -> str:
    return "".join(json.dumps({"event_type": event_type}) + "\n" for event_type in event_types)


def test_one_event(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, accepted(7))
    done = pulpit("fire", "ci.build.finish", "--repo-id", "zoo", "--payload", '{"commit": "é"}')
    assert done.stdout == "Event 7 is in the log.\n"
    [asked] = wire.asked
    assert json.loads(asked.raw) == {"event_type": "ci.build.finish", "repo_id": "zoo", "payload": {"commit": "é"}}
    assert asked.headers["Content-Type"] == "application/x-ndjson"
    assert asked.headers["Idempotency-Key"]


def test_the_payload_from_a_file_or_standard_input(pulpit: Pulpit, wire: RestWire, tmp_path: Path) -> None:
    wire.on(EVENTS, accepted(1))
    (tmp_path / "p.json").write_text('{"a": 1}')
    pulpit("fire", "a.b", "--payload", f"@{tmp_path}/p.json")
    pulpit("fire", "a.b", "--payload", "-", stdin='{\n"a": 1}')
    assert [json.loads(asked.raw)["payload"] for asked in wire.asked] == [{"a": 1}] * 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["a.b", "--payload", "{"], 65, "--payload is not JSON"),
        (["a.b", "--payload", "[]"], 65, "no object"),
        (["a.b", "--payload", '{"a": NaN}'], 65, "NaN is no number of JSON"),
        (["a.b", "--payload", "@/no/such"], 65, "--payload cannot be read"),
        (["-", "--repo-id", "zoo"], 64, "its own repo_id"),
        (["-", "--password-file", "-", "-u", "x"], 64, "both the password or token and events"),
        (["-", "--token-file", "-"], 64, "both the password or token and events"),
        (["a.b", "--token-file", "x", "-u", "y"], 64, "one or the other"),
        (["a.b", "--token-file", "/no/such"], 78, "cannot be read"),
        (
            ["a.b", "--url", "https://127.0.0.1:1", "--ca-path", "/no/such"],
            78,
            "/no/such: No such file or directory.\n",
        ),
        (["a.b", "--url", "https://127.0.0.1:1", "--ca-path", "/dev/null"], 78, "/dev/null: it holds none.\n"),
        (["-", "-u", "x"], 64, "--password-file or PULPIT_PASSWORD"),
        (["a.b", "--retry-for", "soon"], 2, "--retry-for"),
        ([], 2, "TYPE"),
    ],
)
def test_what_cannot_be_right_is_not_sent(
    pulpit: Pulpit, wire: RestWire, words: list[str], code: int, says: str
) -> None:
    assert says in pulpit("fire", *words, code=code).stderr
    assert wire.asked == []


def test_a_server_without_tls_is_named_as_such(pulpit: Pulpit, wire: RestWire) -> None:
    https = wire.url.replace("http", "https")
    done = pulpit("fire", "a.b", "--url", https, "--retry-for", "1s", code=74)
    assert f"{https} does not speak TLS; is it http://?" in done.stderr


def test_a_refusal_is_65_with_the_servers_reason(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, Reply(status=400, body={"error": {"description": "'a' is unknown"}, "property_names": ["x"]}))
    assert pulpit("fire", "a", code=65).stderr == "pulpit: 'a' is unknown\n"


def test_lines_are_acknowledged_by_count(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, accepted(1, 2, 3))
    assert pulpit("fire", "-", stdin=fired("a.a", "a.b", "a.c")).stdout == "3 events are in the log.\n"
    assert sent(wire) == [["a.a", "a.b", "a.c"]]
    assert json.loads(pulpit("fire", "-", "--json", stdin=fired("a.a", "a.b", "a.c")).stdout) == {"count": 3}


def test_no_lines_are_no_failure(pulpit: Pulpit, wire: RestWire) -> None:
    assert pulpit("fire", "-").stdout == "0 events are in the log.\n"
    assert wire.asked == []


def test_a_broken_connection_is_tried_again_under_the_same_key(pulpit: Pulpit, wire: RestWire) -> None:
    away = Reply(status=502, raw=b"<html>")
    wire.on(EVENTS, Reply(hang_up=True), away, accepted(1, 2))
    done = pulpit("fire", "-", stdin=fired("a.a", "a.b"))
    assert done.stdout == "2 events are in the log.\n"
    assert done.stderr.count("Retrying") == 1
    assert len({asked.headers["Idempotency-Key"] for asked in wire.asked}) == 1
    assert len({asked.raw for asked in wire.asked}) == 1
    assert len(wire.asked) == 3


def test_patience_has_an_end_which_tells_what_is_not_known(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, Reply(hang_up=True))
    done = pulpit("fire", "-", "--retry-for", "1s", stdin=fired("a.a", "a.b"), code=74)
    assert done.stdout == "0 events are in the log.\n"
    assert "Given up; whether lines 1 to 2 are in the log is not known.\n" in done.stderr
    assert "whether the event is in" in pulpit("fire", "a.a", "--retry-for", "1s", code=74).stderr


def test_what_no_server_received_is_not_in_the_log(pulpit: Pulpit) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        single = pulpit("fire", "a.a", "--retry-for", "1s", "--url", url, code=74)
        lines = pulpit("fire", "-", "--retry-for", "1s", "--url", url, stdin=fired("a.a", "a.b"), code=74)
    assert "Given up; the event is not in the log.\n" in single.stderr
    assert "Given up; lines 1 to 2 are not in the log.\n" in lines.stderr


def test_a_wrong_line_is_named_and_what_stands_before_it_is_sent(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, accepted(1, 2))
    done = pulpit("fire", "-", stdin=fired("a.a", "a.b") + "nonsense\n" + fired("a.d"), code=65)
    assert done.stdout == "2 events are in the log.\n"
    assert done.stderr.startswith("pulpit: Line 3 is not JSON")
    assert sent(wire) == [["a.a", "a.b"]]


def test_a_line_that_only_the_server_refuses_is_found(pulpit: Pulpit, wire: RestWire) -> None:
    no = Reply(status=400, body={"error": {"description": "unknown type"}})
    wire.on(EVENTS, no, accepted(1, 2), no, no)
    done = pulpit("fire", "-", stdin=fired("a.a", "a.b", "repo.x", "a.d"), code=65)
    assert sent(wire) == [["a.a", "a.b", "repo.x", "a.d"], ["a.a", "a.b"], ["repo.x", "a.d"], ["repo.x"]]
    assert done.stdout == "2 events are in the log.\n"
    assert done.stderr == "pulpit: Line 3 is refused: unknown type\n"
    assert len({asked.headers["Idempotency-Key"] for asked in wire.asked}) == 4


def test_a_full_disk_is_told_and_not_tried_again(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, Reply(status=507, body={"error_message": "There is no room left."}))
    assert "There is no room left." in pulpit("fire", "a.a", code=70).stderr
    assert len(wire.asked) == 1


def test_an_acknowledgement_of_less_is_none(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, accepted(1))
    assert "does not say" in pulpit("fire", "-", stdin=fired("a.a", "a.b"), code=70).stderr


def test_tail_prints_lines_and_ends_well_by_ctrl_c(wire: RestWire, environment: dict[str, str]) -> None:
    one = {"number": 5, "occurred_at": "T", "event_type": "a.b", "repo_id": None, "result": None}
    wire.on("GET /pulpit/v1/events?after=4&limit=1000&wait=30", Reply(body={"events": [one], "next": 5, "head": 5}))
    wire.on("GET /pulpit/v1/events?after=5&limit=1000&wait=30", Reply(hang_up=True))
    command = [sys.executable, "-m", "pulpit.cli", "tail", "--after", "4", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        assert tail.stdout
        assert json.loads(tail.stdout.readline()) == one
        tail.send_signal(signal.SIGINT)
        rest, _ = tail.communicate(timeout=60)
    assert (tail.returncode, rest) == (0, "")


def test_tail_ends_quietly_when_nobody_reads(wire: RestWire, environment: dict[str, str]) -> None:
    some = [{"number": number, "event_type": "a" * 1000} for number in range(1, 1000)]
    wire.on("GET /pulpit/v1/events?after=0&limit=1000&wait=30", Reply(body={"events": some, "next": 999, "head": 999}))
    command = [sys.executable, "-m", "pulpit.cli", "tail", "--after", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        assert tail.stdout
        tail.stdout.readline()
        tail.stdout.close()
        assert tail.wait(60) == 0
        assert tail.stderr
        assert tail.stderr.read() == "following the log after event 0\n"


def test_a_wrong_user_is_77(pulpit: Pulpit, wire: RestWire) -> None:
    wire.on(EVENTS, Reply(status=401, body={"auth_error_code": "authentication_failed"}))
    assert "does not accept" in pulpit("fire", "a.a", "-u", "u", "-p", "wrong", code=77).stderr


def test_ctrl_c_says_that_nobody_knows_whether_the_event_is_in_the_log(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pulpit.cli", "fire", "a.b", "--url", "http://127.0.0.1:1"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as fire:
        assert fire.stderr
        assert fire.stderr.readline().endswith("Retrying for 1m.\n")
        fire.send_signal(signal.SIGINT)
        _, rest = fire.communicate(timeout=60)
    assert (fire.returncode, rest) == (130, "Whether the event is in the log is not known.\n")
