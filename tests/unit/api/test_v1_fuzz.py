"""API v1 handles any input: never a 5xx, always a body of its own form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulpit.store import listeners
from support.api import V1, Api, running

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["number", "time", "event_types", "ids", "all", "reason", "event_type", "repo_id", "payload", "result"]
)
times = ["2031-05-04T10:00:00Z", "9999-12-31T23:59:59-23:59"]
telling = st.sampled_from(["ci.x", "repo.sync.start", "#", "*", *times, 2**63])
media_types = st.sampled_from(["application/json", "application/x-ndjson", "a/b", ""])
paths = st.sampled_from(["events", "events/{}", "listeners/{}", "listeners/{}/deliveries", "listeners/{}/dead-letters"])
bodies = st.dictionaries(names, values | telling, max_size=4)
FUZZED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("api")
    with running(folder) as api:
        yield api


@pytest.fixture(scope="module")
def listener_id(running_api: Api) -> str:
    with running_api.database.write() as tx:
        return listeners.add(tx, "amqp", {}, ["*"], now=running_api.services.clock()).id


def check(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.json() is None or answer.json()["error_message"]


@FUZZED
@given(verb=st.sampled_from(["pause", "resume", "replay", "dead-letters/send-again"]), body=bodies)
def test_orders(running_api: Api, listener_id: str, verb: str, body: dict[str, Any]) -> None:
    check(running_api.client.post(f"{V1}/listeners/{listener_id}/{verb}", json=body))


@FUZZED
@given(body=st.one_of(bodies, st.lists(bodies, max_size=3), values))
def test_events_from_elsewhere(running_api: Api, body: Any) -> None:
    check(running_api.client.post(f"{V1}/events", json=body))


@FUZZED
@given(body=st.binary(max_size=200), media_type=media_types)
def test_bytes_from_elsewhere(running_api: Api, body: bytes, media_type: str) -> None:
    check(running_api.client.post(f"{V1}/events", content=body, headers={"Content-Type": media_type}))


@FUZZED
@given(
    path=paths,
    text=st.text(max_size=20),
    params=st.dictionaries(
        st.sampled_from(["after", "limit", "event_type", "repo_id", "result"]),
        st.integers().map(str) | st.text(max_size=20),
        max_size=3,
    ),
)
def test_questions(running_api: Api, path: str, text: str, params: dict[str, str]) -> None:
    asked = running_api.client.build_request("GET", "/", params=params).url.query.decode()
    quoted = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    check(running_api.client.get(f"{V1}/{path.format(quoted)}?{asked}"))
