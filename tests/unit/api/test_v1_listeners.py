"""An operator's verbs on listeners, and their dead letters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.store import dead_letters, listeners
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Delivery
from support.api import V1, V2, Api, basic

LISTENERS = f"{V1}/listeners"
THEN = datetime(2031, 5, 4, 10, tzinfo=UTC)


@pytest.fixture
def listener_id(api: Api) -> str:
    with api.database.write() as tx:
        return listeners.add(tx, "amqp", {"exchange": "x"}, ["*"], now=THEN).id


@pytest.fixture
def letters(api: Api, listener_id: str) -> list[str]:
    with api.database.write() as tx:
        for _ in range(3):
            fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=lambda: THEN)
        new = [NewDeadLetter(event_number=number, reason="No.") for number in (1, 2, 99)]
        dead_letters.add(tx, listener_id, new, attempts=2, now=THEN)
        return [letter.id for letter in dead_letters.of_listener(tx.connection, listener_id)]


def state(api: Api, listener_id: str) -> dict[str, Any]:
    document: dict[str, Any] = api.client.get(f"{LISTENERS}/{listener_id}").json()
    return document


def test_pause_and_resume_answer_the_document(api: Api, listener_id: str) -> None:
    paused = api.client.post(f"{LISTENERS}/{listener_id}/pause", json={"reason": "Maintenance."}).json()
    assert (paused["id"], paused["delivery"]["state"]) == (listener_id, "paused")
    assert paused["delivery"]["pause_reason"] == "Maintenance."
    assert api.client.get(LISTENERS).json() == {"listeners": [paused]}
    resumed = api.client.post(f"{LISTENERS}/{listener_id}/resume").json()
    assert resumed["delivery"]["state"] == "active"
    assert resumed == state(api, listener_id)
    assert api.client.post(f"{LISTENERS}/{listener_id}/pause", content=b"").status_code == 200


def test_a_replay_is_asked_for_by_number_or_time(api: Api, listener_id: str) -> None:
    moments = iter(THEN + timedelta(minutes=minute) for minute in range(5))
    with api.database.write() as tx:
        for _ in range(5):
            fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=moments.__next__)
        listeners.settle(tx, [listeners.Move(listener_id=listener_id, epoch=1, position=5)])

    def replayed_from(body: dict[str, Any]) -> int:
        answer = api.client.post(f"{LISTENERS}/{listener_id}/replay", json=body)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["delivery"]["replay_from"])

    assert replayed_from({"time": "2031-05-04T11:00:00Z"}) == 6
    assert replayed_from({"time": "2031-05-04T12:02:30+02:00"}) == 4
    assert replayed_from({"number": 5, "event_types": ["repo.sync.*"]}) == 5
    assert replayed_from({"number": 1}) == 1


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "number"),
        ({"number": 1, "time": "2031-05-04T10:00:00Z"}, "time"),
        ({"number": 0}, "number"),
        ({"number": "1"}, "number"),
        ({"time": "2031-05-04T10:00:00"}, "time"),
        ({"time": "0001-01-01T00:00:00+10:00"}, "time"),
        ({"time": "yesterday"}, "time"),
        ({"number": 1, "event_types": ["repo.sink"]}, "event_types"),
        ({"numbr": 1}, "numbr"),
    ],
)
def test_a_replay_that_cannot_be_meant_is_refused(api: Api, listener_id: str, body: Any, name: str) -> None:
    answer = api.client.post(f"{LISTENERS}/{listener_id}/replay", json=body)
    told = answer.json()
    assert (answer.status_code, told.get("property_names", told.get("missing_property_names"))) == (400, [name])


def test_one_event_is_sent_out_of_turn_by_way_of_the_dead_letters(api: Api, listener_id: str) -> None:
    with api.database.write() as tx:
        number = fire(tx, "zoo.fed", {}, clock=system_clock).number
    answer = api.client.post(f"{LISTENERS}/{listener_id}/send", json={"number": number})
    assert (answer.status_code, answer.json()) == (202, {"count": 1})
    [letter] = api.client.get(f"{LISTENERS}/{listener_id}/dead-letters").json()["dead_letters"]
    assert (letter["event_number"], letter["attempts"], letter["send_again"]) == (number, 0, True)
    assert letter["reason"] == "admin has asked for it to be sent."
    for path, body, status in (
        (f"{LISTENERS}/{listener_id}/send", {"number": number + 1}, 404),
        (f"{LISTENERS}/{listener_id}/send", {"number": 0}, 400),
        (f"{LISTENERS}/{listener_id}/send", {}, 400),
        (f"{LISTENERS}/000000000000000000000000/send", {"number": number}, 404),
    ):
        assert api.client.post(path, json=body).status_code == status


def test_deliveries_are_listed_newest_first(api: Api, listener_id: str) -> None:
    attempts = [
        Delivery(
            listener_id=listener_id,
            at=THEN,
            duration_ms=7,
            outcome="delivered",
            first_event=number,
            last_event=number + 1,
            event_count=2,
            answer="200 OK",
        )
        for number in (1, 3)
    ]
    with api.database.write() as tx:
        listeners.add_deliveries(tx, attempts)
    [newest] = api.client.get(f"{LISTENERS}/{listener_id}/deliveries?limit=1").json()["deliveries"]
    assert newest == {
        "listener_id": listener_id,
        "at": "2031-05-04T10:00:00Z",
        "duration_ms": 7,
        "outcome": "delivered",
        "first_event": 3,
        "last_event": 4,
        "event_count": 2,
        "answer": "200 OK",
    }
    assert api.client.get(f"{LISTENERS}/{listener_id}/deliveries?limit=0").status_code == 400


def test_dead_letters_are_listed_and_shown_with_their_event(api: Api, listener_id: str, letters: list[str]) -> None:
    listed = api.client.get(f"{LISTENERS}/{listener_id}/dead-letters?limit=2").json()
    assert [letter["event_number"] for letter in listed["dead_letters"]] == [1, 2]
    assert listed["total"] == 3
    shown = api.client.get(f"{LISTENERS}/{listener_id}/dead-letters/{letters[0]}").json()
    assert shown["event"]["payload"] == {"repo_id": "zoo"}
    assert shown["event"]["occurred_at"] == "2031-05-04T10:00:00Z"
    assert (shown["reason"], shown["attempts"], shown["send_again"]) == ("No.", 2, False)
    assert api.client.get(f"{LISTENERS}/{listener_id}/dead-letters/{letters[2]}").json()["event"] is None
    answer = api.client.get(f"{LISTENERS}/{listener_id}/dead-letters/none")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"dead_letter": "none"})


def test_dead_letters_are_marked_and_dropped_by_id_or_all(api: Api, listener_id: str, letters: list[str]) -> None:
    path = f"{LISTENERS}/{listener_id}/dead-letters"
    answer = api.client.post(f"{path}/send-again", json={"ids": letters[:1]})
    assert (answer.status_code, answer.json()) == (202, {"count": 1})
    marked = [letter["send_again"] for letter in api.client.get(path).json()["dead_letters"]]
    assert marked == [True, False, False]
    assert api.client.post(f"{path}/send-again", json={"all": True}).json() == {"count": 3}
    assert api.client.delete(path, params={"id": letters[:2]}).json() == {"count": 2}
    assert api.client.delete(path, params={"all": "true"}).json() == {"count": 1}
    assert api.client.get(path).json() == {"dead_letters": [], "total": 0}


def test_which_dead_letters_must_be_said_and_all_be_known(api: Api, listener_id: str, letters: list[str]) -> None:
    path = f"{LISTENERS}/{listener_id}/dead-letters"
    assert api.client.post(f"{path}/send-again", json={}).status_code == 400
    assert api.client.post(f"{path}/send-again", json={"ids": letters, "all": True}).status_code == 400
    assert api.client.delete(path).status_code == 400
    assert api.client.delete(path, params={"id": [letters[0], "none"]}).status_code == 404
    assert api.client.get(path).json()["total"] == 3


@pytest.mark.parametrize(
    ("method", "verb"),
    [
        ("GET", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("GET", "/dead-letters"),
        ("DELETE", "/dead-letters?all=true"),
    ],
)
def test_an_unknown_listener_is_missing(api: Api, method: str, verb: str) -> None:
    answer = api.client.request(method, f"{LISTENERS}/none{verb}")
    assert (answer.status_code, answer.json()["resources"]) == (404, {"event_listener": "none"})


def test_a_reader_may_look_and_do_nothing_and_strangers_not_even_that(api: Api, listener_id: str) -> None:
    api.client.headers.update(basic("reader"))
    assert api.client.get(f"{LISTENERS}/{listener_id}").status_code == 200
    assert api.client.post(f"{LISTENERS}/{listener_id}/pause").status_code == 401
    del api.client.headers["Authorization"]
    assert api.client.get(LISTENERS).status_code == 401


def test_b15_listeners_are_listed_page_by_page(api: Api) -> None:
    with api.database.write() as tx:
        ids = [listeners.add(tx, "amqp", {}, ["*"], now=api.services.clock()).id for _ in range(5)]
    assert [listener["id"] for listener in api.client.get(LISTENERS).json()["listeners"]] == ids
    for path in (LISTENERS, f"{V2}/events/"):
        seen: list[str] = []
        for start in ("", ids[1], ids[3], ids[4]):
            page = api.client.get(path, params={"limit": 2, "after": start}).json()
            seen += [listener["id"] for listener in (page["listeners"] if path == LISTENERS else page)]
        assert seen == ids
        assert api.client.get(path, params={"limit": 0}).status_code == 400
