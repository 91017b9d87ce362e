"""The requests of Pulp 2's own `pulp-admin`, and the checks by which it fails.

It opens a connection for each request, sends JSON headers with everything, follows no redirect, polls the tasks of a
202 as that client does, and looks at every progress report with the demands of its renderers.
"""

import base64
import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

API = "/pulp/api"
ENDS = ("finished", "error", "canceled", "skipped")
YUM_PARTS = ("metadata", "content", "distribution", "modules", "errata", "comps", "purge_duplicates")
STATES = ("NOT_STARTED", "IN_PROGRESS", "FINISHED", "FAILED", "SKIPPED", "CANCELLED")
ISO_SYNC_KEYS = {
    "state",
    "state_times",
    "error_message",
    "traceback",
    "total_bytes",
    "finished_bytes",
    "num_isos",
    "num_isos_finished",
    "iso_error_messages",
}
ISO_PUBLISH_KEYS = {"state", "state_times", "error_message", "traceback"}
ISO_SYNC_STATES = ("not_started", "manifest_in_progress", "isos_in_progress", "complete")
ISO_SYNC_ENDS = ("manifest_failed", "isos_failed", "cancelled", "failed")
ZONELESS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\Z")
ERROR_KEYS = {"http_status", "http_request_method", "_href", "error_message", "exception", "traceback", "error"}


@dataclass
class Screen:
    """What the client has drawn of one task, to which later reports must fit."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)


class OriginalClient:
    """The client with a user and a password."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._address = urlsplit(url).netloc
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Accept-Language": "en",
            "Authorization": f"Basic {token}",
        }

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """One request; the answer's body, which must be JSON where the client reads it."""
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode("ascii")
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            connection.request(method, API + path, content, self._headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert answer.status == status, (method, path, answer.status, text)
        read: Any = json.loads(text) if text else None
        if status >= 400:
            assert isinstance(read, dict)
            assert set(read) >= ERROR_KEYS, read
        return read

    def run(self, method: str, path: str, body: Any = None) -> list[dict[str, Any]]:
        """An action and its tasks up to their ends; those that were followed, as they ended."""
        report = self.ask(method, path, body, status=202)
        return self.follow([spawned["task_id"] for spawned in report["spawned_tasks"]])

    def follow(self, task_ids: list[str]) -> list[dict[str, Any]]:
        """Poll one task after the other, and those that they spawn."""
        ended = []
        queue = list(task_ids)
        while queue:
            task = self._to_the_end(queue.pop(0))
            ended.append(task)
            if task["state"] in ("error", "canceled"):
                break
            queue += [spawned["task_id"] for spawned in task["spawned_tasks"]]
        return ended

    def create_iso(self, repo_id: str, feed: str) -> Any:
        """`iso repo create`, with what that client always sends."""
        body = {
            "id": repo_id,
            "display_name": None,
            "description": None,
            "notes": {"_repo-type": "iso-repo"},
            "importer_type_id": "iso_importer",
            "importer_config": {"feed": feed},
            "distributors": [
                {
                    "distributor_id": "iso_distributor",
                    "distributor_type_id": "iso_distributor",
                    "auto_publish": True,
                    "distributor_config": {"serve_http": True, "serve_https": True, "relative_url": f"/{repo_id}"},
                }
            ],
        }
        return self.ask("POST", "/v2/repositories/", body, status=201)

    def create_rpm(self, repo_id: str, importer: dict[str, Any], distributor: dict[str, Any]) -> Any:
        """`rpm repo create`: two distributors, of which the second gets a part of the first one's settings."""
        shared = {key: distributor[key] for key in ("http", "https", "relative_url") if key in distributor}
        body = {
            "id": repo_id,
            "display_name": None,
            "description": None,
            "notes": {"_repo-type": "rpm-repo"},
            "importer_type_id": "yum_importer",
            "importer_config": importer,
            "distributors": [
                {
                    "distributor_id": "yum_distributor",
                    "distributor_type_id": "yum_distributor",
                    "auto_publish": True,
                    "distributor_config": distributor,
                },
                {
                    "distributor_id": "export_distributor",
                    "distributor_type_id": "export_distributor",
                    "auto_publish": False,
                    "distributor_config": shared,
                },
            ],
        }
        return self.ask("POST", "/v2/repositories/", body, status=201)

    def _to_the_end(self, task_id: str) -> dict[str, Any]:
        screen, deadline = Screen(), time.monotonic() + 60
        while True:
            task: dict[str, Any] = self.ask("GET", f"/v2/tasks/{task_id}/")
            assert task["task_id"] == task_id
            assert all(tag.count(":") >= 2 for tag in task["tags"])
            for key, report in task["progress_report"].items():
                RENDERERS[key](report, screen)
            if task["state"] in ENDS:
                return task
            assert time.monotonic() < deadline, task
            time.sleep(0.02)


def yum_sync(report: dict[str, Any], screen: Screen) -> None:
    """Seven parts in every report that is not empty, each with what its line needs."""
    if not report:
        return
    assert set(YUM_PARTS) <= set(report)
    for name in YUM_PARTS:
        state = report[name]["state"]
        assert state in STATES
        forward(screen, name, 0 if state == "NOT_STARTED" else 1 if state == "IN_PROGRESS" else 2)
    if report["metadata"]["state"] == "FAILED":
        assert isinstance(report["metadata"]["error"], str)
    if report["content"]["state"] not in ("NOT_STARTED", "SKIPPED"):
        assert {"rpm_total", "rpm_done", "drpm_total", "drpm_done"} <= set(report["content"]["details"])
        assert isinstance(report["content"]["size_total"], int)
        assert isinstance(report["content"]["size_left"], int)
        assert all("url" in failure or "error_code" in failure for failure in report["content"]["error_details"])
    if report["distribution"]["state"] in ("IN_PROGRESS", "FINISHED"):
        assert {"items_total", "items_left", "error_details"} <= set(report["distribution"])


def yum_publish(report: list[dict[str, Any]], screen: Screen) -> None:
    """A list of steps whose ids stay and whose totals stand once they are seen."""
    assert isinstance(report, list)
    assert len({step["step_id"] for step in report}) == len(report)
    for step in report:
        state = step["state"]
        assert state in STATES
        forward(screen, step["step_id"], 0 if state == "NOT_STARTED" else 1 if state == "IN_PROGRESS" else 2)
        if state == "NOT_STARTED":
            continue
        assert {"description", "items_total", "num_processed"} <= set(step)
        seen = screen.steps.setdefault(step["step_id"], step)
        assert seen["items_total"] == step["items_total"]
        assert state != "FAILED" or all("error" in failure for failure in step["error_details"])


def iso_sync(report: dict[str, Any], screen: Screen) -> None:
    """No key but nine, and times without a zone."""
    if not report:
        return
    assert set(report) <= ISO_SYNC_KEYS
    assert report["state"] in ISO_SYNC_STATES + ISO_SYNC_ENDS
    forward(screen, "iso", (*ISO_SYNC_STATES, *ISO_SYNC_ENDS).index(report["state"]))
    zoneless(report["state_times"])
    if report["total_bytes"]:
        assert "manifest_in_progress" in report["state_times"]


def iso_publish(report: dict[str, Any], screen: Screen) -> None:
    assert set(report) == ISO_PUBLISH_KEYS
    states = ("not_started", "in_progress", "complete", "failed")
    forward(screen, "iso", states.index(report["state"]))
    zoneless(report["state_times"])


def forward(screen: Screen, key: str, rank: int) -> None:
    """A state goes on or stays."""
    assert rank >= screen.ranks.get(key, 0), key
    screen.ranks[key] = rank


def zoneless(times: dict[str, str]) -> None:
    """The client reads times of one form only."""
    assert all(ZONELESS.match(moment) for moment in times.values()), times


RENDERERS: dict[str, Callable[[Any, Screen], None]] = {
    "yum_importer": yum_sync,
    "yum_distributor": yum_publish,
    "iso_importer": iso_sync,
    "iso_distributor": iso_publish,
}


def pieces(content: bytes, size: int = 2**20) -> Iterator[tuple[int, bytes]]:
    """An upload as it is sent: an offset and the bytes from there on; nothing at all for an empty file."""
    for offset in range(0, len(content), size):
        yield offset, content[offset : offset + size]
