"""Limits on unauthenticated HTTP clients: size and time of headers, number of connections, and no request smuggling."""

import base64
import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.api.app import create_app
from pulpit.api.protocol import MAX_HEAD, BoundedHttp
from support.api import PASSWORD, services
from support.asgi import served
from support.waiting import until

STATUS = b"GET /pulp/api/v2/status/ HTTP/1.1\r\nHost: x\r\n"


class Impatient(BoundedHttp):
    head_seconds = 0.4
    most_connections = 8
    most_silent = 6


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with services(tmp_path) as provided, served(create_app(provided), http=Impatient) as port:
        yield port


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))


def answer(port: int, *pieces: bytes) -> bytes:
    """All that comes back for these bytes until the server hangs up or says nothing more."""
    said = b""
    with connect(port) as peer, contextlib.suppress(OSError):
        for piece in pieces:
            peer.sendall(piece)
        peer.settimeout(20)
        while data := peer.recv(65536):
            said += data
    return said


def test_a_head_of_ordinary_length_is_taken_in_any_pieces(port: int) -> None:
    long = b"X-Long: " + b"a" * (MAX_HEAD // 2) + b"\r\n"
    assert answer(port, STATUS, long, b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "endless",
    [b"GET /" + b"a" * 4096, STATUS + b"X-Long: " + b"a" * 4096, STATUS + b"X: y\r\n" * 1000],
    ids=["path", "header", "headers"],
)
def test_a_head_without_end_is_cut_off(port: int, endless: bytes) -> None:
    said = answer(port, endless, *[endless[-4096:]] * 512)
    assert b"200 OK" not in said
    assert said[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")  # a reset may eat the words


@pytest.mark.parametrize("beginning", [b"", b"G", STATUS + b"X-Slow: "])
def test_a_peer_that_does_not_come_to_the_point_is_hung_up_on(port: int, beginning: bytes) -> None:
    with connect(port) as peer, contextlib.suppress(ConnectionResetError):
        peer.sendall(beginning)
        assert peer.recv(100) == b""


def test_trickling_is_no_way_around(port: int) -> None:
    with connect(port) as peer, pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
        peer.sendall(STATUS)
        for _ in range(100):
            peer.sendall(b"X: y\r\n")
            time.sleep(0.05)


def test_the_time_counts_for_every_head_anew(port: int) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for _ in range(3):
            connection.request("GET", "/pulp/api/v2/status/")
            with connection.getresponse() as given:
                assert (given.status, bool(given.read())) == (200, True)
            time.sleep(0.3)


def test_c4_the_connection_that_has_been_silent_for_longest_makes_room(port: int) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(port, f"127.0.0.{2 + number % 4}")) for number in range(8)]
        for _ in range(20):
            assert b"200 OK" in answer(port, STATUS + b"Connection: close\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(100) == b""


def test_c4_connections_that_rest_between_requests_make_room_too(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            resting = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            stack.callback(resting.close)
            resting.request("GET", "/pulp/api/v2/status/")
            resting.getresponse().read()
        assert b"200 OK" in answer(port, STATUS + b"Connection: close\r\n\r\n")


def test_c4_one_address_has_a_bounded_number_of_silent_connections(port: int) -> None:
    with contextlib.ExitStack() as stack:
        first, *_ = [stack.enter_context(connect(port, "127.0.0.2")) for _ in range(Impatient.most_silent + 1)]
        with contextlib.suppress(ConnectionResetError):
            assert first.recv(100) == b""


def test_more_connections_at_work_than_allowed_are_closed(port: int) -> None:
    login = b"Authorization: Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()) + b"\r\n"
    waiting = b"GET /pulpit/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n" + login + b"\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            peer = stack.enter_context(connect(port))
            peer.sendall(waiting)
            assert peer.recv(100).startswith(b"HTTP/1.1 200")
        assert answer(port, STATUS + b"\r\n") == b""
    until(lambda: b"200 OK" in answer(port, STATUS + b"Connection: close\r\n\r\n"), what="room again")


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
    ],
)
def test_a_body_whose_end_is_in_doubt_hides_no_second_request(port: int, framing: bytes) -> None:
    head = b"POST /pulp/api/v2/status/ HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n"
    said = answer(port, head + b"0\r\n\r\n" + STATUS + b"\r\n")
    assert b"HTTP/1.1 200" not in said
    assert said.count(b"HTTP/1.1 ") <= 1


def test_nobody_unknown_has_a_body_read(port: int) -> None:
    for path in (b"/pulp/api/v2/status/", b"/pulp/api/v2/repositories/"):
        said = answer(port, b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert said[9:12] in (b"401", b"405")
