"""Reading a webhook receiver's reply."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.delivery.notifiers.http_reply import LONGEST_PAUSE, SHORTEST_PAUSE, outcome_of, pause
from pulpit.delivery.notifiers.port import Delivered, Gone, Refused, Retry

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (None, None),
        ("", None),
        ("120", timedelta(seconds=120)),
        (" 5 ", timedelta(seconds=5)),
        ("0", None),
        ("-3", None),
        ("0.5", timedelta(seconds=1)),
        ("1.5", timedelta(seconds=2)),
        ("2.", timedelta(seconds=2)),
        ("-0.5", None),
        (".5", None),
        ("1e3", None),
        ("٣", None),
        ("0x10", None),
        ("Monday, 04-May-26 12:01:00 GMT", timedelta(seconds=60)),
        ("Mon May  4 12:01:00 2026", timedelta(seconds=60)),
        ("soon", None),
        ("999999999", LONGEST_PAUSE),
        ("9" * 5000, LONGEST_PAUSE),
        ("Mon, 04 May 2026 12:01:00 GMT", timedelta(seconds=60)),
        ("Mon, 04 May 2026 11:00:00 GMT", None),
        ("Mon, 04 May 2026 12:00:00 -0001", timedelta(seconds=60)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE),
        ("Fri, 99 Dec 2026 25:00:00 GMT", None),
    ],
)
def test_retry_after(written: str | None, meant: timedelta | None) -> None:
    assert pause(written, NOW) == meant


@given(st.text())
def test_retry_after_is_always_within_bounds(text: str) -> None:
    wish = pause(text, NOW)
    assert wish is None or SHORTEST_PAUSE <= wish <= LONGEST_PAUSE


@given(st.integers(min_value=0, max_value=999), st.text(max_size=50))
def test_every_status_has_an_outcome(status: int, text: str) -> None:
    outcome = outcome_of(status, "Phrase", text, receiver="http://far", after=None)
    assert isinstance(outcome, Delivered) == (200 <= status <= 299)
    assert isinstance(outcome, Gone) == (status == 410)
    assert isinstance(outcome, Delivered | Retry | Refused)
