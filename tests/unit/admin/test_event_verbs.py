"""An operator's commands for listeners, dead letters and the log: requests and output."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

V1 = "/pulpit/v1"
MINE = f"{V1}/listeners/a1"
DOCUMENT = {"id": "a1", "notifier_type_id": "http", "event_types": ["*"]}


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "id": f"id-{number}",
        "event_type": "repo.sync.finish",
        "repo_id": "zoo",
        "repo_number": number,
        "result": "success",
        "occurred_at": "2026-05-04T12:00:00.000000Z",
        "payload": {},
        "call_report": None,
        **more,
    }


@pytest.mark.parametrize(
    ("words", "request_line", "body"),
    [
        (["pause"], f"POST {MINE}/pause", None),
        (["pause", "--reason", "moving"], f"POST {MINE}/pause", {"reason": "moving"}),
        (["resume"], f"POST {MINE}/resume", None),
        (["replay", "--from-number", "7"], f"POST {MINE}/replay", {"number": 7}),
        (
            ["replay", "--from-time", "2026-05-04T12:00:00Z", "--event-type", "repo.sync.finish"],
            f"POST {MINE}/replay",
            {"time": "2026-05-04T12:00:00Z", "event_types": ["repo.sync.finish"]},
        ),
    ],
)
def test_a_verb_is_one_request(admin: RunAdmin, wire: RestWire, words: list[str], request_line: str, body: Any) -> None:
    wire.on(request_line, Reply(body=DOCUMENT))
    assert admin("event", "listener", words[0], "--listener-id", "a1", *words[1:]) == 0
    assert (wire.lines(), wire.asked[0].body) == ([request_line], body)


@pytest.mark.parametrize(
    "words",
    [
        ["listener", "replay", "--listener-id", "a1"],
        ["listener", "replay", "--listener-id", "a1", "--from-number", "1", "--from-time", "x"],
        ["deadletters", "drop", "--listener-id", "a1"],
        ["deadletters", "send-again", "--listener-id", "a1", "--all", "--id", "x"],
    ],
)
def test_half_a_choice_is_wrong_use(admin: RunAdmin, wire: RestWire, words: list[str]) -> None:
    assert admin("event", *words) == 64
    assert wire.asked == []


def test_a_test_shows_both_sides(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    report = {"request": {"url": "http://h/"}, "outcome": "delivered", "answer": "200 OK", "reason": None}
    wire.on(f"POST {MINE}/test", Reply(body={**report, "refused": {}, "duration_ms": 12}))
    assert admin("event", "listener", "test", "--listener-id", "a1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Answer:       200 OK",
        "Duration Ms:  12",
        "Outcome:      delivered",
        "Request:",
        "  URL:  http://h/",
        "",
        "",
    ]


def test_a_test_that_does_not_arrive_fails_the_command(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    report: dict[str, Any] = {
        "request": {},
        "outcome": "retry",
        "answer": None,
        "reason": "No connection.",
        "duration_ms": 1,
    }
    wire.on(f"POST {MINE}/test", Reply(body=report))
    assert admin("--json", "event", "listener", "test", "--listener-id", "a1") == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == report
    assert "No connection." in shown.err


def test_deliveries_are_shown_with_the_events_that_they_are_about(
    admin: RunAdmin, wire: RestWire, capsys: Screen
) -> None:
    one = {"at": "T", "duration_ms": 3, "outcome": "delivered", "answer": "204"}
    found = [
        {**one, "first_event": 5, "last_event": 9, "event_count": 4},
        {**one, "first_event": 4, "last_event": 4, "event_count": 1},
    ]
    wire.on(f"GET {MINE}/deliveries?limit=2", Reply(body={"deliveries": found}))
    assert admin("event", "listener", "deliveries", "--listener-id", "a1", "--limit", "2") == 0
    shown = capsys.readouterr().out
    assert "Events:   5 to 9 (4)\n" in shown
    assert "Events:   4\n" in shown


LETTER = {
    "id": "d1",
    "listener_id": "a1",
    "event_number": 7,
    "recipient": None,
    "refused_at": "T",
    "attempts": 1,
    "reason": "400 Bad Request",
    "send_again": False,
}


def test_dead_letters_are_listed_and_what_is_left_out_is_counted(
    admin: RunAdmin, wire: RestWire, capsys: Screen
) -> None:
    wire.on(f"GET {MINE}/dead-letters?limit=1", Reply(body={"dead_letters": [LETTER], "total": 3}))
    assert admin("event", "deadletters", "list", "--listener-id", "a1", "--limit", "1") == 0
    shown = capsys.readouterr().out
    assert "Event Number:  7\n" in shown
    assert "Recipient" not in shown
    assert shown.endswith("2 more are not shown.\n")


def test_a_dead_letter_is_shown_with_its_event(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on(f"GET {MINE}/dead-letters/d1", Reply(body={**LETTER, "event": event(7)}))
    assert admin("event", "deadletters", "show", "--listener-id", "a1", "--id", "d1") == 0
    assert "  Event Type:   repo.sync.finish\n" in capsys.readouterr().out


AGAIN = "Sending 2 dead letters again."
DROPPED = "2 dead letters dropped."


@pytest.mark.parametrize(
    ("words", "request_line", "body", "says"),
    [
        (
            ["send-again", "--all"],
            f"POST {MINE}/dead-letters/send-again",
            {"all": True},
            AGAIN,
        ),
        (
            ["send-again", "--id", "d1", "--id", "d2"],
            f"POST {MINE}/dead-letters/send-again",
            {"ids": ["d1", "d2"]},
            AGAIN,
        ),
        (["drop", "--all"], f"DELETE {MINE}/dead-letters?all=true", None, DROPPED),
        (
            ["drop", "--id", "d1", "--id", "d2"],
            f"DELETE {MINE}/dead-letters?id=d1&id=d2",
            None,
            "2 dead letters dropped.",
        ),
    ],
)
def test_dead_letters_are_sent_again_or_dropped(  # noqa: PLR0917 - three parts and four columns of the table
    admin: RunAdmin, wire: RestWire, capsys: Screen, words: list[str], request_line: str, body: Any, says: str
) -> None:
    wire.on(request_line, Reply(status=202, body={"count": 2}))
    assert admin("event", "deadletters", words[0], "--listener-id", "a1", *words[1:]) == 0
    assert (wire.lines(), wire.asked[0].body) == ([request_line], body)
    assert capsys.readouterr().out == f"{says}\n"


def test_the_log_behind_a_number_is_read_page_by_page(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    first = {"events": [event(5)], "next": 900, "head": 1000}
    second = {"events": [event(950), event(990)], "next": 990, "head": 1000}
    wire.on(f"GET {V1}/events?after=3&limit=3&result=success&repo_id=z%2A", Reply(status=500))
    wire.on(f"GET {V1}/events?after=3&limit=3&repo_id=z%2A", Reply(body=first))
    wire.on(f"GET {V1}/events?after=900&limit=2&repo_id=z%2A", Reply(body=second))
    assert admin("--json", "event", "log", "list", "--after", "3", "--limit", "3", "--repo-id", "z*") == 0
    assert [found["number"] for found in json.loads(capsys.readouterr().out)] == [5, 950, 990]


def test_the_end_of_the_log_is_searched_backwards(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on(f"GET {V1}/events?after=-1&limit=1", Reply(body={"events": [], "next": 100, "head": 100}))
    query = "limit=1000&event_type=a.b"
    later = {"events": [event(99), event(101)], "next": 101, "head": 101}
    earlier = {"events": [event(95), event(96), event(97)], "next": 101, "head": 101}
    wire.on(f"GET {V1}/events?after=98&{query}", Reply(body=later))
    wire.on(f"GET {V1}/events?after=94&{query}", Reply(body=earlier))
    assert admin("event", "log", "list", "--limit", "2", "--event-type", "a.b") == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("Number")] == [
        "Number:       97",
        "Number:       99",
    ]


def test_one_event_is_shown_with_its_payload(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on(f"GET {V1}/events/7", Reply(body=event(7, payload={"added_count": 2})))
    assert admin("event", "log", "show", "--number", "7") == 0
    assert "  Added Count:  2\n" in capsys.readouterr().out


def test_tail_begins_at_the_head_and_ends_after_as_many_as_asked(
    admin: RunAdmin, wire: RestWire, capsys: Screen
) -> None:
    wire.on(f"GET {V1}/events?after=-1&limit=1000", Reply(body={"events": [], "next": 4, "head": 4}))
    nothing = {"events": [], "next": 4, "head": 4}
    two = {"events": [event(5), event(6, repo_id=None, result=None)], "next": 6, "head": 6}
    wire.on(f"GET {V1}/events?after=4&limit=1000&wait=30", Reply(body=nothing), Reply(body=two))
    assert admin("event", "tail", "--count", "2") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "      5  2026-05-04T12:00:00.000000Z  repo.sync.finish  zoo  success",
        "      6  2026-05-04T12:00:00.000000Z  repo.sync.finish  -",
    ]
    assert shown.err == "following the log after event 4\n"


def test_tail_waits_for_a_server_that_is_away_and_misses_nothing(
    admin: RunAdmin, wire: RestWire, capsys: Screen
) -> None:
    one = {"events": [event(5)], "next": 5, "head": 5}
    away = (Reply(hang_up=True), Reply(status=502, raw=b"<html>"), Reply(status=503, body={"error_message": "full"}))
    wire.on(f"GET {V1}/events?after=4&limit=1000&wait=30", *away, Reply(body=one))
    assert admin("event", "tail", "--after", "4", "--count", "1", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == event(5)
    assert shown.err.count("Retrying") == 1


def test_what_tail_shows_cannot_steer_the_terminal(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    one = {"events": [event(1, repo_id="\x1b[2Jx")], "next": 1, "head": 1}
    wire.on(f"GET {V1}/events?after=0&limit=1000&wait=30", Reply(body=one))
    assert admin("event", "tail", "--after", "0", "--count", "1") == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("answer", [None, [], {"events": 1, "next": 2, "head": 3}, {"events": []}])
def test_an_answer_that_is_no_log_is_70(admin: RunAdmin, wire: RestWire, answer: Any) -> None:
    wire.on(f"GET {V1}/events?after=0&limit=20", Reply(body=answer))
    assert admin("event", "log", "list", "--after", "0") == 70
