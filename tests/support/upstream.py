"""An HTTP upstream on loopback; a test sets the answer of each path, however wrong."""

import contextlib
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

MANIFEST = "PULP_MANIFEST"

Behaviour = Callable[["Answering"], None]


class Upstream:
    """Files by path, their media types where they matter, misbehaviour by path, and what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.kinds: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        self.otherwise: Behaviour | None = None
        """How paths are answered that nobody has put there."""
        self.supports_ranges = True
        self.supports_conditions = True
        self.url = ""
        self._lock = threading.Lock()
        self._modified: dict[str, int] = {}

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content
        self._modified[path] = self._modified.get(path, 1_700_000_000) + 1

    def modified(self, path: str) -> str:
        return formatdate(self._modified.get(path, 0), usegmt=True)

    def manifest(self, *lines: str) -> None:
        """Serve a manifest of these lines, or of all files."""
        own = lines or tuple(line(name, content) for name, content in self.files.items() if name != MANIFEST)
        self.put(MANIFEST, "".join(f"{line}\n" for line in own).encode())

    def misbehave(self, path: str, behaviour: Behaviour) -> None:
        """Answer a path in another way."""
        self.behaviours[path] = behaviour

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        with self._lock:
            return [path for path, _ in self.asked]

    def note(self, path: str, headers: dict[str, str]) -> None:
        with self._lock:
            self.asked.append((path, headers))

    def forget(self) -> None:
        with self._lock:
            self.asked.clear()


def line(name: str, content: bytes) -> str:
    return f"{name},{hashlib.sha256(content).hexdigest()},{len(content)}"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        path = unquote(self.path.lstrip("/"))
        self.upstream.note(path, dict(self.headers.items()))
        with contextlib.suppress(ConnectionError, socket.timeout):
            behaviour = self.upstream.behaviours.get(path)
            if behaviour is None and path not in self.upstream.files:
                behaviour = self.upstream.otherwise
            if behaviour is not None:
                behaviour(self)
            else:
                self.serve(path)

    def serve(self, path: str) -> None:
        """Answer as a good server does."""
        content = self.upstream.files.get(path)
        if content is None:
            self.answer(404, b"there is nothing\n")
            return
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Last-Modified": self.upstream.modified(path)}
        if path in self.upstream.kinds:
            headers["Content-Type"] = self.upstream.kinds[path]
        if self.upstream.supports_conditions and self.headers.get("If-None-Match") == etag:
            self.answer(304, b"", headers)
            return
        start = self._range(len(content))
        if start is None:
            self.answer(200, content, headers)
        elif start >= len(content):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        else:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], headers)

    def _range(self, size: int) -> int | None:
        wanted = self.headers.get("Range", "")
        if not wanted or not self.upstream.supports_ranges:
            return None
        return min(int(wanted.removeprefix("bytes=").split("-")[0]), size)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self, size: int) -> None:
        """Promise a body of a size."""
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def status(code: int, *, times: int | None = None) -> Behaviour:
    """Answer with a status, the given number of times, then well."""
    left = [times if times is not None else 1 << 30]

    def behave(answering: Answering) -> None:
        left[0] -= 1
        if left[0] >= 0:
            answering.answer(code, b"no\n")
        else:
            answering.serve(unquote(answering.path.lstrip("/")))

    return behave


def body(content: bytes, headers: dict[str, str] | None = None) -> Behaviour:
    return lambda answering: answering.answer(200, content, headers)


def redirect(location: str) -> Behaviour:
    return lambda answering: answering.answer(302, b"", {"Location": location})


def truncated(content: bytes, after: int, *, times: int = 1 << 30) -> Behaviour:
    """Break off in the middle, the given number of times, then serve well."""
    left = [times]

    def behave(answering: Answering) -> None:
        left[0] -= 1
        if left[0] < 0:
            answering.serve(unquote(answering.path.lstrip("/")))
            return
        answering.begin(len(content))
        answering.wfile.write(content[:after])
        answering.hang_up()

    return behave


def stall(content: bytes, after: int) -> Behaviour:
    """Send a beginning, then nothing until the test is over."""

    def behave(answering: Answering) -> None:
        answering.begin(len(content))
        answering.wfile.write(content[:after])
        answering.wfile.flush()
        answering.upstream.released.wait(60)
        answering.hang_up()

    return behave


def drip(content: bytes, *, pause: float) -> Behaviour:
    """Send byte by byte."""

    def behave(answering: Answering) -> None:
        answering.begin(len(content))
        for index in range(len(content)):
            answering.wfile.write(content[index : index + 1])
            if answering.upstream.released.wait(pause):
                break
        answering.hang_up()

    return behave


def gate(content: bytes, opened: threading.Event, arrived: threading.Event) -> Behaviour:
    """Say that somebody came, and answer when told to."""

    def behave(answering: Answering) -> None:
        arrived.set()
        deadline = time.monotonic() + 60
        while not opened.wait(0.05) and not answering.upstream.released.is_set() and time.monotonic() < deadline:
            pass
        answering.answer(200, content)

    return behave


@contextlib.contextmanager
def running(*, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Upstream]:
    """An upstream on a free port."""
    upstream = Upstream()
    handler: Any = type("Handler", (Answering,), {"upstream": upstream, "timeout": 60})
    served = type("Served", (_Server,), {"address_family": socket.AF_INET6}) if ":" in host else _Server
    server = served((host, 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if tls is None else "https"
    name = "localhost" if tls else f"[{host}]" if ":" in host else host
    upstream.url = f"{scheme}://{name}:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield upstream
    finally:
        upstream.released.set()
        server.shutdown()
        server.drop_connections()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""

    def drop_connections(self) -> None:
        """End the connections that clients keep open."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
