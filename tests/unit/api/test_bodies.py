"""Every invalid request gets Pulp's error body."""

import json
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from pulpit.api.app import create_app
from pulpit.api.middleware import MAX_BODY, check_json
from pulpit.errors import MalformedRequest
from support.api import V2, Api

EVENTS = f"{V2}/events/"
STANDARD = {"http_status", "http_request_method", "_href", "error_message", "exception", "traceback", "error"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff{}",
        b"{} x",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": 1e999}',
        b'{"a": 99999999999999999999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_that_can_be_kept_is_malformed(api: Api, body: bytes) -> None:
    answer = api.client.post(EVENTS, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "PLP1009")
    assert set(answer.json()) == STANDARD


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"x"'])
def test_json_that_is_no_object_has_its_own_code(api: Api, body: bytes) -> None:
    answer = api.client.post(EVENTS, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "PLP1015")


def test_a_surrogate_pair_is_text() -> None:
    check_json(json.dumps({"a": "😀"}).encode())
    with pytest.raises(MalformedRequest):
        check_json(b'{"a": "\\ude00\\ud83d"}')


def test_a_body_that_is_too_long_is_refused(api: Api) -> None:
    answer = api.client.post(EVENTS, content=b'{"a": "' + b"x" * MAX_BODY + b'"}')
    assert (answer.status_code, answer.json()["http_status"]) == (413, 413)


def test_any_content_type_will_do(api: Api) -> None:
    body = b'{"notifier_type_id": "amqp", "event_types": ["*"]}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"):
        assert api.client.post(EVENTS, content=body, headers={"Content-Type": content_type}).status_code == 201


def test_wrong_types_are_named_as_pulp_does_and_never_422(api: Api) -> None:
    answer = api.client.post(f"{V2}/repositories/", json={"id": "a", "notes": [], "distributors": {}})
    body = answer.json()
    assert answer.status_code == 400
    assert body["property_names"]
    assert body["error"]["code"] == "PLP0015"
    assert body["error"]["data"]["property_names"] == body["property_names"]


@pytest.mark.parametrize("path", ["/", "/pulp/", "/nil", f"{V2}/nil/", f"{V2}/nil", f"{V2}/events/a/b/"])
def test_an_unmatched_url_is_404_with_the_standard_body(api: Api, path: str) -> None:
    answer = api.client.get(path, follow_redirects=False)
    assert (answer.status_code, answer.json()["resources"]) == (404, {"path": path})
    assert set(answer.json()) == STANDARD | {"resources"}


def test_a_method_that_a_resource_does_not_have(api: Api) -> None:
    answer = api.client.patch(EVENTS)
    assert answer.status_code == 405
    assert set(answer.json()) == STANDARD
    assert answer.headers["Allow"]


def test_a_broken_database_is_503_with_the_standard_body_and_no_secret(api: Api) -> None:
    with api.database.write() as tx:
        tx.connection.exec_driver_sql("DROP TABLE dead_letters")
        tx.connection.exec_driver_sql("DROP TABLE listeners")
    answer = api.client.get(EVENTS)
    assert answer.status_code == 503
    assert set(answer.json()) == STANDARD
    assert "listeners" not in answer.text


def test_a_bug_is_500_with_the_standard_body_and_no_secret(api: Api) -> None:
    async def broken() -> bool:
        raise RuntimeError("hush")

    services = replace(api.services, reach_messaging=broken)
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        answer = client.get(f"{V2}/status/")
    assert answer.status_code == 500
    assert set(answer.json()) == STANDARD
    assert "hush" not in answer.text


def test_double_slashes_are_single_ones(api: Api) -> None:
    api.client.post(f"{V2}/repositories/", json={"id": "zoo"})
    answer = api.client.get(f"{V2}/repositories/zoo/history//sync/?limit=5")
    assert (answer.status_code, answer.json()) == (200, [])
