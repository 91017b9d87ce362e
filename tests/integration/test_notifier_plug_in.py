"""A notifier of another distribution: installed by pip, found by its entry point, and as capable as a built-in one."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.error
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import pulpit
from support.server import API, Server
from support.type_checking import check_types
from support.waiting import until

CHECKOUT = Path(__file__).parents[2]
PLUG_IN = CHECKOUT / "plugins" / "pulpit-notifier-matrix"
TOKEN = "syt_hush-hush"
ROOM = "!releases:example.org"


class MatrixServer(http.server.ThreadingHTTPServer):
    """Takes messages as the client-server API of Matrix says, each transaction id once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.messages: dict[str, dict[str, Any]] = {}
        self.is_open = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: MatrixServer

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        start, transaction = self.path.rsplit("/", 1)
        assert unquote(start) == f"/_matrix/client/v3/rooms/{ROOM}/send/m.room.message"
        if not self.server.is_open or self.headers["Authorization"] != f"Bearer {TOKEN}":
            answer, status = {"errcode": "M_FORBIDDEN", "error": self.headers["Authorization"]}, 403
        else:
            self.server.messages[transaction] = body
            answer, status = {"event_id": f"${len(self.server.messages)}"}, 200
        said = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture(scope="module")
def matrix() -> Iterator[MatrixServer]:
    with MatrixServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of an environment in which Pulpit is, and the plug-in was installed by pip."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    (site,) = (folder / "lib").glob("python*/site-packages")
    # What is there already need not be fetched again; pip itself and Pulpit with all that it needs among it.
    (site / "here.pth").write_text(f"{Path(pulpit.__file__).parents[1]}\n{_own_site()}\n")
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"}
    installed = subprocess.run(
        [*command, str(PLUG_IN)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert installed.returncode == 0, installed.stderr
    assert list(site.glob("pulpit_notifier_matrix-*.dist-info"))
    return site


def _own_site() -> Path:
    return Path(pytest.__file__).parents[1]


@contextlib.contextmanager
def _distribution(site: Path, name: str, entry: str, code: str) -> Iterator[None]:
    """A distribution that brings a notifier which does not work."""
    information = site / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[pulpit.notifiers]\n{entry} = {name}:Kind\n")
    (site / f"{name}.py").write_text(code)
    try:
        yield
    finally:
        for path in (*information.iterdir(), site / f"{name}.py"):
            path.unlink()
        information.rmdir()


@pytest.fixture
def server(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that finds what is installed there."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    (tmp_path / "data").mkdir(mode=0o700)
    server = Server(tmp_path / "data")
    yield server
    server.stop()


def _run(server: Server, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "pulpit.admin", "--url", server.url, "-u", "admin"]
    command += ["--password-file", str(server.data_dir / "admin-password"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_a_plug_in_is_installed_told_of_and_delivers(server: Server, matrix: MatrixServer, tmp_path: Path) -> None:
    server.start()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    assert "pulpit-notifier-matrix 0.1.0" in _run(server, "event", "listener", "kinds")
    create = ["event", "listener", "matrix", "create", "--event-type", "ci.done", "--server", matrix.url]
    assert "must be a room's id" in _run(
        server, *create, "--room", "#alias:x", "--token-file", str(tmp_path / "token"), code=65
    )
    _run(server, *create, "--room", ROOM, "--token-file", str(tmp_path / "token"))
    (listener,) = server.call("GET", f"{API}/events/")
    assert listener["notifier_config"] == {"server": matrix.url, "room": ROOM, "token": "*****"}

    matrix.is_open = False
    server.call("POST", "/pulpit/v1/events", {"event_type": "ci.done", "payload": {"repo_id": "zoo"}})
    detail = f"{API}/events/{listener['id']}/"
    until(lambda: server.call("GET", detail)["_delivery"]["state"] == "retrying", what="the listener to fail")
    assert server.call("GET", detail)["_delivery"]["last_error"].endswith('"error": "Bearer *****"}')
    matrix.is_open = True
    until(lambda: len(matrix.messages) == 1, what="the message")
    ((transaction, message),) = matrix.messages.items()
    assert message["msgtype"] == "m.notice"
    assert message["body"].startswith("ci.done")
    fired = server.call("GET", "/pulpit/v1/events")["events"]
    assert transaction in {entry["id"] for entry in fired}

    update = ["event", "listener", "matrix", "update", "--listener-id", listener["id"]]
    _run(server, *update, "--kind", "text")
    assert _run(server, "event", "listener", "test", "--listener-id", listener["id"])
    assert {entry["msgtype"] for entry in matrix.messages.values()} == {"m.notice", "m.text"}
    assert TOKEN not in "".join(server.said)


BROKEN = "raise RuntimeError('broken on purpose')\n"
EXITING = "import os\nraise SystemExit(3)\n"
HANGING = """
import time
from datetime import timedelta
from pulpit.delivery.notifiers.port import DELIVERED, Pace
from pulpit.listener_options import ListenerKind

class Kind:
    kind = ListenerKind(id="hangs", summary="Listeners that hang.", options=())
    pace = Pace(batch=1, overlap=1, first_retry=timedelta(seconds=1), longest_retry=timedelta(seconds=1))
    def __init__(self, surroundings): pass
    def check_config(self, config): pass
    def open(self, config): return self
    async def prepare(self): pass
    async def deliver(self, events): time.sleep(3600)
    def describe(self, event): return {}
    async def close(self): pass
"""


def test_plug_ins_that_do_not_work_cost_their_listeners_alone_and_are_told(
    server: Server, site: Path, matrix: MatrixServer
) -> None:
    with (
        _distribution(site, "broken_on_purpose", "broken", BROKEN),
        _distribution(site, "exits", "exits", EXITING),
        _distribution(site, "hangs", "hangs", HANGING),
        _distribution(site, "takes_http", "http", HANGING),
    ):
        server.start()
        told = "".join(server.said)
        assert "RuntimeError: broken on purpose" in told
        assert "SystemExit: 3" in told
        assert "one of Pulpit's own" in told
        kinds = {entry["id"]: entry for entry in server.call("GET", "/pulpit/v1/notifiers")["notifiers"]}
        assert kinds["broken"]["problem"].startswith("broken_on_purpose 1.0 cannot be loaded (RuntimeError: broken")
        assert kinds["http"]["brought_by"] == "pulpit"
        with pytest.raises(urllib.error.HTTPError) as refused:
            _make(server, "broken", {})
        assert refused.value.code == 400
        assert "cannot be loaded" in refused.value.read().decode()
        _make(server, "hangs", {})
        _make(server, "matrix", {"server": matrix.url, "room": ROOM, "token": TOKEN})
        before = len(matrix.messages)
        server.call("POST", "/pulpit/v1/events", {"event_type": "ci.done", "payload": {}})
        until(lambda: len(matrix.messages) > before, what="the message beside a plug-in that hangs")
        assert server.stop() == 0


def test_the_listeners_of_a_plug_in_that_is_gone_wait_and_say_so(server: Server, site: Path, tmp_path: Path) -> None:
    with _distribution(site, "hangs", "hangs", HANGING):
        server.start()
        made = _make(server, "hangs", {})
        server.stop()
    server.start()
    server.call("POST", "/pulpit/v1/events", {"event_type": "ci.done", "payload": {}})
    path = f"{API}/events/{made['id']}/"
    until(lambda: server.call("GET", path)["_delivery"]["state"] == "retrying", what="the listener to say so")
    assert "no notifier of kind hangs" in server.call("GET", path)["_delivery"]["last_error"]
    command = [sys.executable, "-m", "pulpit.cli", "doctor", "--config", str(tmp_path / "data.conf")]
    command += ["--data-dir", str(server.data_dir), "--port", str(server.port)]
    doctor = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "nothing here brings such a notifier" in doctor.stdout + doctor.stderr


def _make(server: Server, kind: str, config: dict[str, Any]) -> Any:
    body = {"notifier_type_id": kind, "notifier_config": config, "event_types": ["ci.done"]}
    return server.call("POST", f"{API}/events/", body)


def test_it_keeps_the_port(tmp_path: Path) -> None:
    code = (
        "from pulpit.delivery.notifiers.port import NotifierType, Surroundings\n"
        "from pulpit_notifier_matrix import Matrix\n\n\n"
        "def make(surroundings: Surroundings) -> NotifierType:\n    return Matrix(surroundings)\n"
    )
    check_types(tmp_path, code, PLUG_IN)
