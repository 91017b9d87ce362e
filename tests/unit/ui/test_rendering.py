"""Rendering: untrusted text is escaped; sizes and times are readable."""

from datetime import UTC, datetime

import pytest

from pulpit.events import Event
from pulpit.ui import charts
from pulpit.ui.event_rows import draw, summary, withdrawn
from pulpit.ui.rendering import number, size, span

HOSTILE = "<script>alert(1)</script>\"'\u202eevil\x1b[31m\x00" + "x" * 10_000


def test_a_hostile_event_is_a_row_of_text() -> None:
    event = Event(
        number=7,
        id="0",
        event_type="zoo.x",
        repo_id=HOSTILE,
        repo_number=None,
        result=HOSTILE[:20],
        occurred_at=datetime(2031, 5, 4, tzinfo=UTC),
        traceparent="",
        body='{"payload": {"reason": "<img src=x onerror=alert(1)>\\u202e"}}',
    )
    row = draw(event)
    assert "<script" not in row
    assert "<img" not in row
    assert "\u202e" not in row
    assert "\\u202e" in row
    assert len(row) < 3_000


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"added_count": 2, "updated_count": 0, "removed_count": 1}, "+2 ~0 -1"),
        (
            {"added_count": 5, "changes": {"units": [{"name": f"owl{n}"} for n in range(5)]}},
            "+5 owl0, owl1, owl2, owl3, …",
        ),
        ({"action": "upload", "changes": {"units": [{"name": "owl"}, 7]}}, "upload owl"),
        ({"action": "copy", "changes": {"units": "odd"}}, "copy"),
        ({"added_count": 2, "error_message": "It broke.\nHere."}, "It broke."),
        ({"task_type": "pulp.server.sync", "state": "running"}, "sync running"),
        ({"repo_id": "zoo", "changed": ["importer", "notes"]}, "changed: importer, notes"),
        ({"repo_id": "zoo", "version": 3, "deep": {}}, "version=3"),
        ({}, ""),
    ],
)
def test_a_payload_in_a_line(payload: dict[str, object], expected: str) -> None:
    assert summary(payload) == expected


def test_what_an_upstream_takes_back_is_told_with_its_reason() -> None:
    assert withdrawn({"name": "owl", "how": "quarantined", "reason": "it\nbites"}) == "owl quarantined: it"
    assert withdrawn({"name": "owl", "how": "yanked", "reason": None}) == "owl yanked"


def test_numbers_for_the_eye() -> None:
    assert [size(count) for count in (0, 999, 1_000, 12_345_678, 5e15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "12.3 MB",
        "5.0 PB",
    ]
    assert number(1234567) == "1\u202f234\u202f567"
    assert [span(seconds) for seconds in (0.25, 3.0, 90, 150, 7_200, 200_000)] == [
        "250 ms",
        "3 s",
        "90 s",
        "2 min",
        "2 h",
        "2 d",
    ]


def test_bars_and_lines_fit_their_drawing() -> None:
    assert charts.bars([], [], width=100) == []
    drawn = charts.bars([0, 5, 10], ["a", "b", "c"], width=90)
    assert [(bar.x, bar.height, bar.y) for bar in drawn] == [(0, 0, 64), (30, 32, 32), (60, 64, 0)]
    assert charts.sparkline([], room=3) == ""
    assert charts.sparkline([0, 4], room=3) == "60.0,21.0 120.0,1.0"
