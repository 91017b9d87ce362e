"""The log as a feed, and events from elsewhere."""

import asyncio
import contextlib
import json
import time
from typing import Any

import pytest
from sqlalchemy import delete

from pulpit.api.v1.events import EventFilter, stream
from pulpit.fire import fire
from pulpit.store.schema import events
from support.api import V1, V2, Api, basic

EVENTS = f"{V1}/events"
NEW: dict[str, Any] = {"event_type": "ci.build.finish", "repo_id": "zoo", "payload": {"result": "success"}}


def entered(api: Api, *types: str) -> None:
    with api.database.write() as tx:
        for each in types:
            fire(tx, each, {"repo_id": "zoo", "result": "failed"}, clock=api.services.clock)


def log(api: Api, **params: Any) -> dict[str, Any]:
    answer = api.client.get(EVENTS, params=params)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def numbers(page: dict[str, Any]) -> list[int]:
    return [event["number"] for event in page["events"]]


def test_pages_follow_one_another_to_the_head(api: Api) -> None:
    entered(api, *["repo.sync.start"] * 5)
    first = log(api, limit=3)
    assert (numbers(first), first["next"], first["head"]) == ([1, 2, 3], 3, 5)
    second = log(api, after=first["next"], limit=3)
    assert (numbers(second), second["next"]) == ([4, 5], 5)
    assert log(api, after=5) == {"events": [], "next": 5, "head": 5}
    assert log(api, after=-1) == {"events": [], "next": 5, "head": 5}


def forgotten(api: Api, number: int) -> None:
    with api.database.write() as tx:
        tx.connection.execute(delete(events).where(events.c.number <= number))


def test_b13_a_number_behind_the_end_of_the_log_is_told(api: Api) -> None:
    entered(api, *["repo.sync.start"] * 3)
    for after in (4, 2**62):
        answer = api.client.get(EVENTS, params={"after": after, "wait": 5})
        assert answer.status_code == 410
        assert (answer.json()["first"], answer.json()["last"]) == (1, 3)
        assert "after=3" in answer.json()["error"]["description"]
    assert log(api, after=3)["events"] == []


def test_b13_events_that_are_not_kept_any_more_are_told(api: Api) -> None:
    entered(api, *["repo.sync.start"] * 6)
    forgotten(api, 4)
    answer = api.client.get(EVENTS, params={"after": 3})
    assert (answer.status_code, answer.json()["first"], answer.json()["last"]) == (410, 5, 6)
    assert "after=4" in answer.json()["error"]["description"]
    assert numbers(log(api, after=4)) == numbers(log(api)) == [5, 6]


def test_b13_an_empty_log_after_a_restore_is_told_too(api: Api) -> None:
    assert api.client.get(EVENTS, params={"after": 7}).json()["last"] == 0


@pytest.mark.parametrize(("last_seen", "sent"), [(2, [5, 6]), (40, [])])
def test_b13_a_stream_tells_of_the_gap_and_goes_on(api: Api, last_seen: int, sent: list[int]) -> None:
    entered(api, *["repo.sync.start"] * 6)
    forgotten(api, 4)

    async def beginning() -> list[str]:
        async with contextlib.aclosing(stream(api.services, last_seen, EventFilter())) as parts:
            return [await anext(parts) for _ in range(2 + len(sent))]

    _, gap, *events_sent = asyncio.run(beginning())
    assert gap.startswith("event: gap\ndata: ")
    told = json.loads(gap.partition("data: ")[2])
    assert (told["first"], told["last"]) == (5, 6)
    assert [part.partition("\n")[0] for part in events_sent] == [f"id: {number}" for number in sent]


def test_an_empty_log_is_no_error(api: Api) -> None:
    assert log(api) == {"events": [], "next": 0, "head": 0}


def test_filters_narrow_and_the_next_number_passes_what_was_not_wanted(api: Api) -> None:
    entered(api, "repo.sync.start", "repo.sync.finish", "ci.build", "repo.sync.start")
    page = log(api, event_type="repo.*.finish")
    assert (numbers(page), page["next"]) == ([2], 4)
    assert numbers(log(api, event_type=["*"])) == [1, 2, 3, 4]
    assert numbers(log(api, event_type=["ci.#", "repo.sync.finish"])) == [2, 3]
    assert numbers(log(api, repo_id="z*")) == [1, 2, 3, 4]
    assert log(api, repo_id="other")["next"] == 4
    assert numbers(log(api, result=["failed", "success"], limit=2)) == [1, 2]
    assert log(api, result="failed", limit=2)["next"] == 2


def test_very_long_events_make_short_pages(api: Api) -> None:
    with api.database.write() as tx:
        for _ in range(4):
            fire(tx, "ci.build", {"text": "x" * 5_000_000}, clock=api.services.clock)
    assert numbers(log(api)) == [1]
    assert numbers(log(api, after=1, event_type="ci.build")) == [2]


def test_a_wait_for_nothing_ends_in_time(api: Api) -> None:
    assert log(api, wait=0.05) == {"events": [], "next": 0, "head": 0}


@pytest.mark.parametrize(
    "params",
    [
        {"after": -2},
        {"after": 2**63},
        {"after": "x"},
        {"limit": 0},
        {"limit": 1001},
        {"wait": 61},
        {"wait": "nan"},
        {"event_type": "repo.sink"},
        {"event_type": ["ci.x"] * 101},
    ],
)
def test_questions_out_of_bounds_are_refused(api: Api, params: dict[str, Any]) -> None:
    assert api.client.get(EVENTS, params=params).status_code == 400


def test_one_event_can_be_read_and_a_missing_one_is_missing(api: Api) -> None:
    entered(api, "repo.sync.start")
    event = api.client.get(f"{EVENTS}/1").json()
    assert event["event_type"] == "repo.sync.start"
    assert (event["repo_id"], event["repo_number"], event["result"], event["call_report"]) == ("zoo", 1, "failed", None)
    assert api.client.get(f"{EVENTS}/2").json()["resources"] == {"event": "2"}
    assert api.client.get(f"{EVENTS}/x").status_code == 400


def test_one_event_a_list_and_lines_are_entered(api: Api) -> None:
    answer = api.client.post(EVENTS, json=NEW)
    assert (answer.status_code, answer.json()) == (201, {"count": 1, "numbers": [1]})
    assert api.client.post(EVENTS, json=[NEW, {"event_type": "repo.sync.start"}]).json()["numbers"] == [2, 3]
    lines = "\n".join(json.dumps(NEW) for _ in range(2)) + "\n\n"
    answer = api.client.post(EVENTS, content=lines, headers={"Content-Type": "application/x-ndjson; charset=utf-8"})
    assert answer.json() == {"count": 2, "numbers": [4, 5]}
    event = api.client.get(f"{EVENTS}/1").json()
    assert (event["repo_id"], event["repo_number"], event["result"]) == ("zoo", 1, "success")
    assert event["payload"] == {"result": "success"}


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"event_type": "event.test"}, "event_type"),
        ({"event_type": "listener.failing"}, "event_type"),
        ({"event_type": "repo.sink"}, "event_type"),
        ({"event_type": "nodots"}, "event_type"),
        ({"event_type": 7}, "event_type"),
        ({"payload": []}, "payload"),
        ({"payload": None}, "payload"),
        ({"payload": {"result": 7}}, "payload"),
        ({"payload": {"repo_id": "x" * 256}}, "payload"),
        ({"payload": {"text": "x" * 2**20}}, "payload"),
        ({"repo_id": ""}, "repo_id"),
        ({"repo_id": "x" * 256}, "repo_id"),
        ({"number": 7}, "number"),
    ],
)
def test_a_batch_with_one_wrong_event_enters_nothing_and_says_which(api: Api, wrong: Any, name: str) -> None:
    answer = api.client.post(EVENTS, json=[NEW, {**NEW, **wrong}])
    assert (answer.status_code, answer.json()["property_names"]) == (400, [name])
    assert "event 2: " in answer.json()["error_message"]
    assert log(api)["head"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"7", b"null", b'"x"', b'[{"event_type": "a.b", "payload": {"x": NaN}}]']
)
def test_bodies_without_events_are_refused(api: Api, body: bytes) -> None:
    assert api.client.post(EVENTS, content=body).status_code == 400
    lines = {"Content-Type": "application/x-ndjson"}
    assert api.client.post(EVENTS, content=body, headers=lines).status_code == 400
    assert log(api)["head"] == 0


def test_too_many_events_and_too_long_bodies_are_refused(api: Api) -> None:
    assert api.client.post(EVENTS, json=[{"event_type": "a.b"}] * 10_001).status_code == 413
    assert api.client.post(EVENTS, content=b" " * (16 * 2**20 + 1)).status_code == 413
    assert log(api)["head"] == 0


def test_an_idempotency_key_enters_a_request_once(api: Api) -> None:
    key = {"Idempotency-Key": "cron-7"}
    first = api.client.post(EVENTS, json=[NEW, NEW], headers=key)
    again = api.client.post(EVENTS, json=[NEW, NEW], headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    other = api.client.post(EVENTS, json=NEW, headers=key)
    assert (other.status_code, log(api)["head"]) == (409, 2)
    assert api.client.post(EVENTS, json=NEW, headers={"Idempotency-Key": ""}).status_code == 400
    assert api.client.post(EVENTS, json=NEW, headers={"Idempotency-Key": "x" * 256}).status_code == 400


def test_a_key_of_a_refused_request_is_free_again(api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    assert api.client.post(EVENTS, json={"event_type": "repo.sink"}, headers=key).status_code == 400
    assert api.client.post(EVENTS, json=NEW, headers=key).status_code == 201


def test_a_trace_goes_on_and_what_is_none_is_passed_over(api: Api) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for header in (trace, "00-x", f"00-{'0' * 32}-00f067aa0ba902b7-01"):
        assert api.client.post(EVENTS, json=NEW, headers={"traceparent": header}).status_code == 201
    first, *others = log(api)["events"]
    assert first["traceparent"] == trace
    assert all(event["id"].replace("-", "") in event["traceparent"] for event in others)


def test_readers_read_and_enter_nothing(api: Api) -> None:
    api.client.headers.update(basic("reader"))
    assert api.client.get(EVENTS).status_code == 200
    assert api.client.post(EVENTS, json=NEW).status_code == 401


def test_the_two_descriptions_are_complete_and_apart(api: Api) -> None:
    own = api.client.get(f"{V1}/openapi.json").json()
    pulps = api.client.get(f"{V2}/openapi.json").json()
    assert all(path.startswith(f"{V1}/") for path in own["paths"])
    assert all(path.startswith(f"{V2}/") for path in pulps["paths"])
    operations = [operation for methods in own["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids) >= 18  # each has a name of its own
    for operation in operations:
        assert operation["description"]
        assert operation["security"]
        assert "401" in operation["responses"]
        assert "422" not in operation["responses"]


def test_a_stream_of_large_events_leaves_the_event_loop_to_others(api: Api) -> None:
    with api.database.write() as tx:
        for _ in range(20):
            lines = [{"name": f"file-{number}", "size": number} for number in range(5_000)]
            fire(tx, "ci.build", {"files": lines}, clock=api.services.clock)

    async def share() -> float:
        async with contextlib.aclosing(stream(api.services, 0, EventFilter())) as parts:
            of_loop, of_all = time.thread_time(), time.process_time()
            for _ in range(1 + 20):
                await anext(parts)
            return (time.thread_time() - of_loop) / (time.process_time() - of_all)

    assert asyncio.run(share()) < 0.5  # of the processor's time; threads have the rest
