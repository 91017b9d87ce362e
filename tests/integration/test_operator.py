"""An operator with a real server: failing listeners, dead letters, replays, the log, events of other systems."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.processes import clean_environment
from support.server import Server, pulpit
from support.waiting import until

ADMIN = [sys.executable, "-c", "from pulpit.admin.main import main; main()"]
PULPIT = [sys.executable, "-m", "pulpit.cli"]
CONF = "[messaging]\nurl =\n[server]\nwebhook_allow = 127.0.0.0/8\n"


class Receiver:
    """A receiver of webhooks that answers with `status` and keeps what came."""

    def __init__(self) -> None:
        self.status = 204
        self.bodies: list[Any] = []
        self.url = ""

    @property
    def types(self) -> list[str]:
        return [body["event_type"] for body in self.bodies]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(made.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


class Operator:
    def __init__(self, server: Server, home: Path) -> None:
        kept = clean_environment()
        where = {"PULPIT_URL": server.url, "PULPIT_DATA_DIR": str(server.data_dir)}
        self.environment = {**kept, "HOME": str(home), **where}

    def admin(self, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        return self._run([*ADMIN, *words], "", code)

    def json(self, *words: str) -> Any:
        return json.loads(self.admin("--json", *words).stdout)

    def pulpit(self, *words: str, stdin: str = "", code: int = 0) -> "subprocess.CompletedProcess[str]":
        return self._run([*PULPIT, *words], stdin, code)

    def listener(self, receiver: Receiver, *options: str, event_type: str = "*") -> str:
        words = ["event", "listener", "http", "create", "--event-type", event_type, "--url", receiver.url, *options]
        return self.admin(*words).stdout.split()[-1]

    def state(self, listener_id: str) -> dict[str, Any]:
        [found] = [item for item in self.json("event", "listener", "list") if item["id"] == listener_id]
        delivery: dict[str, Any] = found["_delivery"]
        return delivery

    def _run(self, command: list[str], stdin: str, code: int) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            command, input=stdin, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done
        return done


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("server") / "data", CONF) as server:
        yield server


@pytest.fixture
def operator(server: Server, tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(server, tmp_path)
    yield operator
    for item in operator.json("event", "listener", "list"):
        operator.admin("event", "listener", "delete", "--listener-id", item["id"])


def test_a_fired_event_reaches_the_log_the_listener_and_the_tail(operator: Operator, receiver: Receiver) -> None:
    operator.listener(receiver, "--repo-id", "zoo*")
    options = ["--repo-id", "zoo1", "--payload", '{"commit": "abc"}']
    number = int(operator.pulpit("fire", "ci.build.finish", *options).stdout.split()[1])
    operator.pulpit("fire", "ci.build.finish", "--repo-id", "other")
    until(lambda: receiver.bodies, what="the event")
    assert receiver.bodies == [
        {"event_type": "ci.build.finish", "payload": receiver.bodies[0]["payload"], "call_report": None}
    ]
    assert receiver.bodies[0]["payload"]["commit"] == "abc"
    shown = operator.json("event", "log", "show", "--number", str(number))
    assert (shown["event_type"], shown["repo_id"]) == ("ci.build.finish", "zoo1")
    listed = operator.json("event", "log", "list", "--limit", "5", "--event-type", "ci.#", "--repo-id", "zoo*")
    assert listed[-1] == shown
    assert listed == operator.json("event", "log", "list", "--after", str(number - 1), "--repo-id", "zoo*")
    line = operator.pulpit("tail", "--after", str(number - 1), "--count", "1").stdout
    assert line.split()[0] == str(number)
    assert json.loads(operator.admin("event", "tail", "--after", str(number - 1), "--count", "1", "--json").stdout)


def test_tail_waits_for_what_is_fired_next(operator: Operator) -> None:
    command = [*PULPIT, "tail", "--count", "2", "--json", "--event-type", "tailed.*"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=operator.environment, text=True, **pipes) as tail:  # type: ignore[call-overload]
        assert "following the log" in tail.stderr.readline()
        for event_type in ("tailed.a", "other.b", "tailed.c"):
            operator.pulpit("fire", event_type)
        out, _ = tail.communicate(timeout=60)
    assert [json.loads(line)["event_type"] for line in out.splitlines()] == ["tailed.a", "tailed.c"]


def test_lines_are_in_the_log_in_order_up_to_the_first_wrong_one(operator: Operator) -> None:
    before = operator.json("event", "log", "list", "--limit", "1")
    lines = [json.dumps({"event_type": "bulk.line", "payload": {"line": line}}) for line in range(2500)]
    assert operator.pulpit("fire", "-", stdin="\n".join(lines)).stdout == "2500 events are in the log.\n"
    after = str(before[-1]["number"] if before else 0)
    found = operator.json("event", "log", "list", "--after", after, "--limit", "3000", "--event-type", "bulk.line")
    assert [event["payload"]["line"] for event in found] == list(range(2500))
    lines[1200] = json.dumps({"event_type": "repo.unknown"})
    wrong = operator.pulpit("fire", "-", stdin="\n".join(lines), code=65)
    assert wrong.stdout == "1200 events are in the log.\n"
    assert wrong.stderr.startswith("pulpit: Line 1201 is refused: ")
    assert "repo.unknown" in wrong.stderr


def test_a_server_that_is_killed_meanwhile_doubles_nothing(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data", CONF) as server:
        operator = Operator(server, tmp_path)
        command = [*PULPIT, "fire", "-"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=operator.environment, text=True, **pipes) as fire:  # type: ignore[call-overload]
            for line in range(6000):
                fire.stdin.write(json.dumps({"event_type": "bulk.line", "payload": {"line": line}}) + "\n")
                if line in (1500, 4500):
                    server.kill()
                    threading.Thread(target=server.start).start()
            out, _ = fire.communicate(timeout=60)
        assert (fire.returncode, out) == (0, "6000 events are in the log.\n")
        found = operator.json("event", "log", "list", "--after", "0", "--limit", "10000")
    assert [event["payload"]["line"] for event in found] == list(range(6000))


def test_pause_holds_back_and_resume_goes_on(operator: Operator, receiver: Receiver) -> None:
    listener_id = operator.listener(receiver, event_type="paused.*")
    operator.admin("event", "listener", "pause", "--listener-id", listener_id)
    assert operator.state(listener_id)["state"] == "paused"
    operator.pulpit("fire", "paused.a")
    assert "State:         paused" in operator.admin("event", "listener", "list", "--details").stdout
    assert receiver.bodies == []
    operator.admin("event", "listener", "resume", "--listener-id", listener_id)
    until(lambda: receiver.types == ["paused.a"], what="the event that was held back")


def test_a_refused_event_waits_among_the_dead_letters(operator: Operator, receiver: Receiver) -> None:
    listener_id = operator.listener(receiver, event_type="dead.*")
    receiver.status = 400
    for event_type in ("dead.a", "dead.b", "dead.c"):
        operator.pulpit("fire", event_type)
    of = ["--listener-id", listener_id]
    until(lambda: operator.state(listener_id)["dead_letters"] == 3, what="the dead letters")
    assert "Dead Letters:  3" in operator.admin("event", "listener", "list", "--details").stdout
    first, second, third = operator.json("event", "deadletters", "list", *of)["dead_letters"]
    assert "Reason:" in operator.admin("event", "deadletters", "list", *of).stdout
    shown = operator.json("event", "deadletters", "show", *of, "--id", first["id"])
    assert shown["event"]["event_type"] == "dead.a"
    attempts = operator.json("event", "listener", "deliveries", *of)["deliveries"]
    assert {attempt["outcome"] for attempt in attempts} == {"refused"}
    assert "Outcome:  refused" in operator.admin("event", "listener", "deliveries", *of).stdout
    receiver.status = 204
    receiver.bodies.clear()
    operator.admin("event", "deadletters", "send-again", *of, "--id", second["id"])
    until(lambda: operator.state(listener_id)["dead_letters"] == 2, what="the letter to be gone")
    assert receiver.types == ["dead.b"]
    operator.admin("event", "deadletters", "drop", *of, "--id", third["id"])
    operator.admin("event", "deadletters", "send-again", *of, "--all")
    until(lambda: operator.state(listener_id)["dead_letters"] == 0, what="no dead letters")
    assert receiver.types == ["dead.b", "dead.a"]
    assert "There are no dead letters." in operator.admin("event", "deadletters", "list", *of).stdout
    operator.admin("event", "deadletters", "show", *of, "--id", first["id"], code=65)


def test_a_replay_delivers_the_past_again(operator: Operator, receiver: Receiver) -> None:
    listener_id = operator.listener(receiver, event_type="again.*")
    of = ["--listener-id", listener_id]
    number = operator.pulpit("fire", "again.a").stdout.split()[1]
    operator.pulpit("fire", "again.b")
    until(lambda: len(receiver.bodies) == 2, what="both events")
    happened = operator.json("event", "log", "show", "--number", number)["occurred_at"]
    operator.admin("event", "listener", "replay", *of, "--from-number", number)
    until(lambda: len(receiver.bodies) == 4, what="both events again")
    operator.admin("event", "listener", "replay", *of, "--from-time", happened, "--event-type", "again.b")
    until(lambda: len(receiver.bodies) == 5, what="one event again")
    assert receiver.types == ["again.a", "again.b", "again.a", "again.b", "again.b"]
    operator.admin("event", "listener", "replay", *of, "--from-time", "yesterday", code=65)


def test_a_test_says_what_the_receiver_said(operator: Operator, receiver: Receiver) -> None:
    listener_id = operator.listener(receiver)
    shown = operator.admin("event", "listener", "test", "--listener-id", listener_id).stdout
    assert "Outcome:      delivered" in shown
    assert receiver.types == ["event.test"]
    receiver.status = 503
    told = operator.admin("event", "listener", "test", "--listener-id", listener_id, code=1)
    assert "503" in told.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["listener", "pause"],
        ["listener", "resume"],
        ["listener", "test"],
        ["listener", "deliveries"],
        ["listener", "replay", "--from-number", "1"],
        ["deadletters", "list"],
        ["deadletters", "drop", "--all"],
        ["deadletters", "send-again", "--all"],
        ["deadletters", "show", "--id", "x"],
    ],
)
def test_an_unknown_listener_is_65(operator: Operator, words: list[str]) -> None:
    told = operator.admin("event", *words, "--listener-id", "unknown", code=65).stderr
    assert "do not exist" in told


def test_an_unknown_event_is_65(operator: Operator) -> None:
    operator.admin("event", "log", "show", "--number", "123456789", code=65)


def test_filters_and_secrets_are_changed_and_taken_away(operator: Operator, receiver: Receiver, tmp_path: Path) -> None:
    for name in ("new", "old"):
        made = subprocess.run(["openssl", "rand", "-base64", "32"], capture_output=True, text=True, check=True)
        (tmp_path / name).write_text(f"whsec_{made.stdout}")
        (tmp_path / name).chmod(0o600)
    secrets = ["--secret-file", str(tmp_path / "new"), "--old-secret-file", str(tmp_path / "old")]
    more = ["--header", "X-Token=t", "--timeout", "5", "--redirects", "true"]
    listener_id = operator.listener(receiver, *secrets, *more, "--result", "failed", "--give-up-after", "12h")
    update = ["event", "listener", "http", "update", "--listener-id", listener_id]
    [made_listener] = operator.json("event", "listener", "list")
    config = made_listener["notifier_config"]
    assert (config["secret"], config["old_secret"], config["timeout"]) == ("*****", "*****", 5)
    assert made_listener["_filters"] == {
        "repo_ids": None,
        "results": ["failed"],
        "packages": None,
        "give_up_after": 43200,
    }
    operator.admin(*update, "--result", "", "--give-up-after", "", "--old-secret-file", "", "--header", "")
    [changed] = operator.json("event", "listener", "list")
    assert changed["_filters"] == {"repo_ids": None, "results": None, "packages": None, "give_up_after": 259200}
    assert set(changed["notifier_config"]) == {"url", "secret", "timeout", "redirects"}


def test_an_empty_log_is_told(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data", CONF) as server:
        operator = Operator(server, tmp_path)
        assert operator.admin("event", "log", "list").stdout == "There are no such events.\n"
