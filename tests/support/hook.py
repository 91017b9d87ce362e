"""A receiver of webhooks in threads, for tests that run a whole server beside it."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Hook:
    """What came, and what is answered."""

    url: str = ""
    status: int = 200
    statuses: dict[str, int] = field(default_factory=dict)
    """What is answered to events of some repositories instead."""
    came: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Method and path of what came without a body."""

    @property
    def types(self) -> list[str]:
        """The types of the events that came."""
        return [body["event_type"] for body in self.came]


@contextlib.contextmanager
def hook(port: int = 0) -> Iterator[Hook]:
    """Receive until the end of the block, on a free port or the one that is given."""
    receiver = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            event = json.loads(body)
            receiver.came.append(event)
            self._answer(receiver.statuses.get(event.get("payload", {}).get("repo_id"), receiver.status))

        def do_PURGE(self) -> None:
            receiver.asked.append(f"{self.command} {self.path}")
            self._answer(receiver.status)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook?token=open"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join(60)
