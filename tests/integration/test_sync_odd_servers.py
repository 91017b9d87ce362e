"""Servers with unusual responses: each file is requested once."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from pulpit.content.limits import Limits
from support.mirror import Mirror, mirror
from support.upstream import Answering, Behaviour, Upstream, redirect, running

FILES = {f"{number:02}.bin": b"%d" % number * 50 for number in range(20)}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running() as upstream:
        for name, content in FILES.items():
            upstream.put(name, content)
        upstream.manifest()
        yield upstream


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path, limits=Limits(first_pause=0.01, longest_pause=0.05, answer_timeout=5.0)) as here:
        yield here


def chunked(content: bytes) -> Behaviour:
    def behave(answering: Answering) -> None:
        answering.send_response(200)
        answering.send_header("Transfer-Encoding", "chunked")
        answering.end_headers()
        answering.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))

    return behave


def closing(content: bytes) -> Behaviour:
    return lambda answering: answering.answer(200, content, {"Connection": "close"})


def old(content: bytes) -> Behaviour:
    def behave(answering: Answering) -> None:
        answering.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)
        answering.hang_up()

    return behave


def in_pieces(content: bytes) -> Behaviour:
    def behave(answering: Answering) -> None:
        answering.begin(len(content))
        for byte in content:
            answering.wfile.write(bytes([byte]))

    return behave


ODD: dict[str, Callable[[bytes], Behaviour]] = {
    "chunked": chunked,
    "closing": closing,
    "HTTP/1.0": old,
    "in pieces": in_pieces,
}


@pytest.mark.parametrize("kind", ODD)
def test_servers_that_answer_in_their_own_way_are_mirrored_too(upstream: Upstream, here: Mirror, kind: str) -> None:
    for name, content in FILES.items():
        upstream.misbehave(name, ODD[kind](content))
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.added_count) == ("success", len(FILES))
    assert len(here.stored()) == len(FILES)
    assert sorted(path for path in upstream.paths() if path in FILES) == sorted(FILES)  # once each


def test_a_redirect_is_followed(upstream: Upstream, here: Mirror) -> None:
    upstream.files["elsewhere"] = FILES["03.bin"]
    upstream.misbehave("03.bin", redirect("/elsewhere"))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert "elsewhere" in upstream.paths()


def test_a_good_server_is_asked_for_every_file_once_over_few_connections(upstream: Upstream, here: Mirror) -> None:
    here.create("zoo", upstream.url, {"max_downloads": 3})
    ports: set[int] = set()

    def noting(name: str) -> Behaviour:
        def behave(answering: BaseHTTPRequestHandler) -> None:
            ports.add(answering.client_address[1])
            upstream_answer(answering, name)

        return behave

    def upstream_answer(answering: BaseHTTPRequestHandler, name: str) -> None:
        assert isinstance(answering, Answering)
        answering.serve(name)

    for name in FILES:
        upstream.misbehave(name, noting(name))

    assert here.sync("zoo").result == "success"
    assert sorted(path for path in upstream.paths() if path in FILES) == sorted(FILES)
    assert len(ports) <= 3


def test_a_slow_server_has_the_time_that_the_least_speed_gives(upstream: Upstream, here: Mirror) -> None:
    def slow(answering: Answering) -> None:
        answering.begin(len(FILES["05.bin"]))
        for part in (FILES["05.bin"][:40], FILES["05.bin"][40:]):
            answering.upstream.released.wait(0.3)
            answering.wfile.write(part)

    upstream.misbehave("05.bin", slow)
    patient = here.impatient(stall_timeout=0.5, slow_bytes_per_second=50)
    patient.create("zoo", upstream.url)

    assert patient.sync("zoo").result == "success"
    assert upstream.paths().count("05.bin") == 1


def test_a_server_that_hangs_is_said(upstream: Upstream, here: Mirror) -> None:
    def hang(answering: Answering) -> None:
        answering.upstream.released.wait(10)
        answering.hang_up()

    upstream.misbehave("05.bin", hang)
    impatient = here.impatient(answer_timeout=0.3)
    impatient.create("zoo", upstream.url)

    outcome = impatient.sync("zoo")

    assert outcome.result == "failed"
    assert "did not answer within" in str(outcome.error_message)
