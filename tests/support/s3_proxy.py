"""A proxy before an object store that refuses, breaks off or is slow, as a test says."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Proxy(ThreadingHTTPServer):
    """Stands before the object store and does to answers what a test says."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.target = target
        self.status = 0
        """Answers everything with it; 0 lets the store answer."""
        self.half = False
        """Sends half of each body and hangs up."""
        self.delay = 0.0
        """Seconds before each answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    """One request by way of the proxy."""

    server: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.delay)
        if self.server.status:
            self._answer(self.server.status, {}, b"<Error><Code>the-access-key</Code></Error>")
            return
        store = http.client.HTTPConnection(self.server.target.removeprefix("http://"), timeout=30)
        store.request(self.command, self.path, body, dict(self.headers))
        answer = store.getresponse()
        self._answer(answer.status, dict(answer.headers), answer.read())
        store.close()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the names of the library

    def _answer(self, status: int, headers: dict[str, Any], body: bytes) -> None:
        self.send_response(status)
        kept = {name: text for name, text in headers.items() if name.lower() not in {"connection", "server", "date"}}
        if "content-length" not in {name.lower() for name in kept}:
            kept["Content-Length"] = str(len(body))
        for name, text in kept.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):  # the client may be gone
                self.wfile.write(body[: len(body) // 2] if self.server.half else body)
        if self.server.half:
            self.close_connection = True


@contextlib.contextmanager
def before(endpoint: str) -> Iterator[Proxy]:
    with Proxy(endpoint) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()
