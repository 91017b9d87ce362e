"""The API over a real socket, with one connection per request as the original client does it."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from pulpit.api.app import create_app
from support.api import V1, V2, basic, services
from support.asgi import served
from support.waiting import PATIENCE


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    with services(tmp_path) as provided, served(create_app(provided)) as port:
        yield "127.0.0.1", port


def ask(
    address: tuple[str, int], method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    plain = {"Accept": "application/json", "Content-Type": "application/json", "Accept-Encoding": "identity"}
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.request(method, path, body, plain | basic("admin") | headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_a_listener_lives_and_dies_over_the_wire(address: tuple[str, int]) -> None:
    body = b'{"notifier_type_id": "amqp", "notifier_config": {"exchange": "x"}, "event_types": ["repo.sync.start"]}'
    status, headers, made = ask(address, "POST", f"{V2}/events/", body)
    assert (status, headers["location"]) == (201, json.loads(made)["_href"])
    assert ask(address, "PUT", headers["location"], b'{"event_types": ["*"]}')[0] == 200
    status, _, listed = ask(address, "GET", f"{V2}/events/")
    assert [one["event_types"] for one in json.loads(listed)] == [["*"]]
    assert ask(address, "DELETE", headers["location"])[::2] == (200, b"null")


def test_a_post_without_a_body_works(address: tuple[str, int]) -> None:
    status, _, begun = ask(address, "POST", f"{V2}/content/uploads/")
    assert status == 201
    upload: dict[str, Any] = json.loads(begun)
    piece = b"x" * 2**20
    for number in range(3):
        assert ask(address, "PUT", f"{upload['_href']}{number * 2**20}/", piece)[::2] == (200, b"null")
    assert json.loads(ask(address, "GET", upload["_href"])[2])["size"] == 3 * 2**20


def test_a_stranger_is_refused_before_the_body_is_read(address: tuple[str, int]) -> None:
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.putrequest("POST", f"{V2}/events/")
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 401
        assert json.loads(answer.read())["auth_error_code"] == "authentication_failed"


def test_a_body_without_end_is_cut_off(address: tuple[str, int]) -> None:
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.putrequest("POST", f"{V2}/events/")
        connection.putheader("Content-Length", str(10**12))
        for name, value in basic("admin").items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(b" " * (2**20 + 1))
        assert connection.getresponse().status == 413


@pytest.mark.parametrize("path", ["/pulp/api/v2/%2e%2e/status/", "/pulp/api/v2/repositories/..%2f..%2fetc/", "/%00"])
def test_strange_paths_are_only_missing(address: tuple[str, int], path: str) -> None:
    assert ask(address, "GET", path)[0] == 404


def test_a_nul_in_an_address_finds_nothing(address: tuple[str, int]) -> None:
    """PostgreSQL refuses it even in a comparison, so no query may come to hold it."""
    for path in (f"{V2}/repositories/a%00/", f"{V2}/tasks/a%00/", f"{V1}/consumers/a%00", "/ui/repositories/a%00"):
        assert ask(address, "GET", path)[0] == 404
    for query in (f"{V2}/tasks/?tag=a%00", f"{V1}/events?consumer=%00", "/ui/?text=%00"):
        assert ask(address, "GET", query)[0] == 400


def test_an_encoded_slash_does_not_smuggle_anybody_past_the_gate(address: tuple[str, int]) -> None:
    for path in ("/pulp%2fapi/v2/events/", "//pulp/api/v2/events/", "/pulp//api/v2/events/", "/pulp/api%2fv2/events/"):
        assert ask(address, "GET", path, Authorization="")[0] == 401


def test_a_head_is_what_a_get_says_before_its_body(address: tuple[str, int]) -> None:
    requests: tuple[tuple[str, dict[str, str]], ...] = (
        (f"{V2}/events/", {}),
        (f"{V2}/status/", {}),
        (f"{V2}/openapi.json", {}),
        (f"{V2}/repositories/nil/", {}),
        (f"{V2}/events/", {"Authorization": ""}),
        (f"{V1}/events?limit=1", {}),
        ("/pulp//api/v2/events/", {}),
        ("/health/ready", {}),
        ("/metrics", {}),
    )
    for path, headers in requests:
        status, said, body = ask(address, "GET", path, None, **headers)
        got = ask(address, "HEAD", path, None, **headers)
        assert (got[0], got[2]) == (status, b"")
        assert got[1].keys() == said.keys()
        if path != "/metrics":  # which counts what was asked
            assert int(got[1]["content-length"]) == len(body)


def test_a_head_of_the_stream_ends(address: tuple[str, int]) -> None:
    status, said, body = ask(address, "HEAD", f"{V1}/events", Accept="text/event-stream")
    assert (status, said["content-type"].partition(";")[0], body) == (200, "text/event-stream", b"")


def test_a_head_of_what_only_takes_posts_is_refused(address: tuple[str, int]) -> None:
    assert ask(address, "HEAD", f"{V2}/repositories/zoo/actions/sync/")[0] == 405


def test_many_requests_with_one_password_are_quick(address: tuple[str, int]) -> None:
    ask(address, "GET", f"{V2}/events/")
    began = process_time()
    for _ in range(50):
        assert ask(address, "GET", f"{V2}/events/")[0] == 200
    assert process_time() - began < 2, "the password was hashed for every request"
