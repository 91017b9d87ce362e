"""Messages read as events, those of other programs too."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.subscriber.event import Event, Message, read
from support.made_events import NOON


def message(
    body: Any = b"", *, properties: dict[str, Any] | None = None, headers: dict[str, Any] | None = None
) -> Message:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(subject="s", exchange="pulp", properties=properties or {}, headers=headers or {}, body=raw)


def test_an_event_of_pulpit_has_everything() -> None:
    body = {"event_type": "repo.sync.finish", "payload": {"repo_id": "zoo"}, "call_report": {"state": "finished"}}
    headers = {
        "pulpit-number": 7,
        "pulpit-repo-id": "zoo",
        "pulpit-repo-number": 2,
        "cloudEvents:time": NOON.isoformat(),
    }
    event = read(message(body, properties={"message_id": "m", "timestamp": 1}, headers=headers))
    assert event == Event(
        subject="s",
        exchange="pulp",
        properties={"message_id": "m", "timestamp": 1},
        headers=headers,
        body=json.dumps(body).encode(),
        redelivered=False,
        event_type="repo.sync.finish",
        payload={"repo_id": "zoo"},
        call_report={"state": "finished"},
        id="m",
        number=7,
        repo_id="zoo",
        repo_number=2,
        occurred_at=NOON,
    )


def test_a_message_of_somebody_else_is_an_event_with_what_is_known() -> None:
    event = read(message(b"\xff", properties={"type": "theirs"}))
    assert (event.event_type, event.payload, event.call_report, event.id) == ("theirs", {}, None, "")
    assert (event.number, event.repo_id, event.repo_number, event.occurred_at) == (None, None, None, None)
    assert event.body == b"\xff"
    assert read(message([1])).event_type == ""
    assert read(message({"payload": {"a": 1}})).payload == {}


@pytest.mark.parametrize(
    ("headers", "properties", "expected"),
    [
        ({"cloudEvents:time": "2026-05-04T14:00:00.250000+02:00"}, {}, NOON),
        ({"cloudEvents:time": "2026-05-04T12:00:00.250000Z"}, {"timestamp": 1}, NOON),
        ({"cloudEvents:time": "2026-05-04T12:00:00"}, {"timestamp": 1}, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ({"cloudEvents:time": "yesterday"}, {}, None),
        ({"cloudEvents:time": 5}, {"timestamp": NOON.astimezone(timezone(timedelta(hours=2)))}, NOON),
        ({}, {"timestamp": 2**63}, None),
        ({}, {"timestamp": "soon"}, None),
    ],
)
def test_the_time_is_the_exact_one_if_it_is_one(
    headers: dict[str, Any], properties: dict[str, Any], expected: datetime | None
) -> None:
    assert read(message(headers=headers, properties=properties)).occurred_at == expected


@pytest.mark.parametrize("count", [-1, True, "3", 1.5, None])
def test_what_is_no_number_is_none(count: Any) -> None:
    headers = {"pulpit-number": count, "pulpit-repo-number": count}
    event = read(message(headers=headers))
    assert (event.number, event.repo_number) == (None, None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TABLES = st.dictionaries(
    st.sampled_from(["type", "message_id", "timestamp", "pulpit-number", "pulpit-repo-id", "cloudEvents:time"]), VALUES
)
BODIES = st.binary() | st.fixed_dictionaries(
    {}, optional={"event_type": VALUES.filter(lambda v: not isinstance(v, bytes)), "payload": st.integers()}
).map(lambda value: json.dumps(value, default=str, skipkeys=True).encode())


@given(BODIES, TABLES, TABLES)
def test_no_message_breaks_the_reading(body: bytes, properties: dict[str, Any], headers: dict[str, Any]) -> None:
    event = read(message(body, properties=properties, headers=headers))
    assert isinstance(event.event_type, str)
    assert isinstance(event.id, str)
    assert event.repo_id is None or isinstance(event.repo_id, str)
    assert event.body == body
