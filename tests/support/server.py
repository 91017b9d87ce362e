"""A real `pulpit serve` in a separate process, which can be killed and started again."""

import base64
import contextlib
import json
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support.ports import free_port
from support.processes import Process, clean_environment
from support.waiting import until

API = "/pulp/api/v2"
ENDED = ("finished", "error", "canceled", "skipped")


class Server(Process):
    """The server of one data folder."""

    def __init__(
        self, data_dir: Path, conf: str = "", trust: Path | None = None, *, variables: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.broker_port = free_port()
        self.port = free_port()
        self.url = f"{'https' if trust else 'http'}://127.0.0.1:{self.port}"
        self._trust = ssl.create_default_context(cafile=trust) if trust else None
        self._conf = data_dir.parent / f"{data_dir.name}.conf"
        self._conf.write_text(conf)
        self._variables = dict(variables or {})
        self.said: list[str] = []

    @property
    def amqp_url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.broker_port}/%2F"

    @property
    def basic(self) -> str:
        """The administrator's login as a header."""
        return "Basic " + base64.b64encode(f"admin:{self.password}".encode()).decode()

    @property
    def password(self) -> str:
        return (self.data_dir / "admin-password").read_text().strip()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "pulpit.cli", "serve", "--config", str(self._conf)]
        command += ["--data-dir", str(self.data_dir), "--port", str(self.port), "--broker-port", str(self.broker_port)]
        environment = clean_environment() | self._variables
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        threading.Thread(target=self._read, args=(self._process,)).start()
        ready = len([line for line in self.said if line.startswith("ready: ")])
        until(lambda: self._is_ready(ready), what="the server to be ready")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the REST API v2 as administrator; raises `urllib.error.HTTPError` on a refusal."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.add_header("Authorization", self.basic)
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data, timeout=60, context=self._trust) as answer:
            return json.loads(answer.read() or b"null")

    def reply(
        self, method: str, path: str, body: Any = None, *, login: tuple[str, str] | None = None
    ) -> tuple[int, Any]:
        """Ask as somebody, by default the administrator; returns status and body, whatever they are."""
        user, password = login or ("admin", self.password)
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=60, context=self._trust) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                status, text = refused.code, refused.read()
        is_json = text[:1] in (b"{", b"[")
        return status, json.loads(text) if is_json else text.decode()

    def listen(self, exchange: str, *event_types: str) -> str:
        """Create an amqp listener and return its id."""
        body = {"notifier_type_id": "amqp", "notifier_config": {"exchange": exchange}}
        made = self.call("POST", f"{API}/events/", {**body, "event_types": list(event_types) or ["*"]})
        return str(made["id"])

    def create_iso(self, repo_id: str, feed: str, **config: Any) -> None:
        """Create a file repository that is published over HTTP by itself."""
        distributor = {
            "distributor_id": "iso_distributor",
            "distributor_type_id": "iso_distributor",
            "auto_publish": True,
            "distributor_config": {"serve_http": True, "serve_https": False},
        }
        body: dict[str, Any] = {"id": repo_id, "notes": {"_repo-type": "iso-repo"}, "importer_type_id": "iso_importer"}
        body |= {"importer_config": {"feed": feed, **config}, "distributors": [distributor]}
        self.call("POST", f"{API}/repositories/", body)

    def sync(self, repo_id: str) -> str:
        """Queue a sync and return the task's id."""
        answer = self.call("POST", f"{API}/repositories/{repo_id}/actions/sync/", {"override_config": None})
        return str(answer["spawned_tasks"][0]["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        report: dict[str, Any] = self.call("GET", f"{API}/tasks/{task_id}/")
        return report

    def ended(self, task_id: str, *, seconds: float = 60) -> dict[str, Any]:
        """The report of a task and of what it spawned, once all have ended."""
        until(lambda: self.task(task_id)["state"] in ENDED, what=f"the end of task {task_id}", seconds=seconds)
        report = self.task(task_id)
        for spawned in report["spawned_tasks"]:
            self.ended(spawned["task_id"], seconds=seconds)
        return report

    def _is_ready(self, before: int) -> bool:
        assert self._process
        assert self._process.poll() is None, f"the server ended: {self.said}"
        return len([line for line in self.said if line.startswith("ready: ")]) > before

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr
        with process.stderr:
            for line in process.stderr:
                self.said.append(line.rstrip("\n"))


@contextlib.contextmanager
def pulpit(data_dir: Path, conf: str = "", trust: Path | None = None) -> Iterator[Server]:
    """Run a server, over HTTPS if there is an authority to trust; it must end well."""
    server = Server(data_dir, conf, trust)
    try:
        server.start()
    except BaseException:
        server.kill()
        raise
    try:
        yield server
    finally:
        code = server.stop()
    assert code in (0, -9), server.said
