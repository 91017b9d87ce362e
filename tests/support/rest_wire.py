"""An HTTP server on loopback that returns answers of Pulp 2's shapes and records the requests, for tests of clients."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

API: Final = "/pulp/api/v2/"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    path: str
    raw: bytes
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer; `raw` goes as it is, otherwise `body` goes as JSON, and after `hang_up` nothing goes."""

    status: int = 200
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


class RestWire:
    """Answers by `METHOD path`: a list is used up one by one, its last item stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._replies: dict[str, list[Reply]] = {}

    def on(self, request: str, *replies: Reply) -> None:
        """Set what to answer, such as `on("GET tasks/1/", Reply(body=…))`; the path is below `/pulp/api/v2/`."""
        self._replies[request] = list(replies)

    def takes_uploads(self, repo_id: str) -> None:
        """Take an upload `u`, and import it into a repository by a task `t1`."""
        report = {"result": None, "error": None, "spawned_tasks": [{"_href": "x", "task_id": "t1"}]}
        self.on(f"GET repositories/{repo_id}/", Reply(body={"id": repo_id}))
        self.on("POST content/uploads/", Reply(status=201, body={"upload_id": "u", "_href": "x"}))
        self.on("PUT content/uploads/u/0/", Reply())
        self.on(f"POST repositories/{repo_id}/actions/import_upload/", Reply(status=202, body=report))
        self.on("DELETE content/uploads/u/", Reply())

    def lines(self) -> list[str]:
        """What was asked, as `METHOD path`."""
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        replies = self._replies.get(f"{asked.method} {asked.path}")
        if not replies:
            return Reply(status=404, body={"http_status": 404, "resources": {"resource_id": asked.path}})
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def rest_wire() -> Iterator[RestWire]:
    """Run such a server on a free port."""
    wire = RestWire()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(wire))
    server.daemon_threads = False
    wire.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield wire
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(wire: RestWire) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            path = self.path.removeprefix(API)
            asked = Asked(
                method=self.command,
                path=path,
                raw=raw,
                headers=dict(self.headers.items()),
            )
            self._send(wire.reply(asked))

        def _send(self, reply: Reply) -> None:
            if reply.hang_up:
                return
            content = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
            """Keep quiet."""

    for method in ("GET", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    return Handler
