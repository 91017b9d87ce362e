"""Any text as an interval of a schedule: it is parsed, or rejected in one sentence."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pulpit.errors import InvalidValue
from pulpit.intervals import Interval, parse

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2999, 12, 30)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - the zone follows
NEAR = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - as above
PIECES = st.sampled_from(
    [*"RPTYMWDHS/-:+Z.,0123456789", "2031-01-31T00:00:00Z", "P1M", "PT1H", "R3/", "999999999W", "٣"]
)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, int | None, datetime, int, timedelta]:
    """An interval as text, and what it means."""
    runs, start = draw(st.none() | st.integers(1, 10**9)), draw(MOMENTS)
    years, months, days, seconds = (draw(st.integers(0, most)) for most in (50, 11, 999, 86_399))
    years += 1
    text = f"{start.isoformat()}/P{years}Y{months}M{days}DT{seconds}S"
    prefix = "" if runs is None else f"R{runs}/"
    return prefix + text, runs, start, years * 12 + months, timedelta(days=days, seconds=seconds)


@given(written())
def test_what_was_written_is_what_is_read(moment: tuple[str, int | None, datetime, int, timedelta]) -> None:
    text, runs, start, months, span = moment
    assert parse(text) == Interval(runs=runs, start=start, months=months, span=span)


@given(st.text(max_size=120) | st.lists(PIECES, max_size=12).map("".join))
def test_anything_is_an_interval_or_a_sentence(text: str) -> None:
    try:
        interval = parse(text)
    except InvalidValue:
        return
    first = interval.start or datetime(2031, 1, 1, tzinfo=UTC)
    assert interval.next_slot(first, first) > first


@given(NEAR, st.integers(0, 60), st.integers(0, 120), st.timedeltas(timedelta(seconds=1), timedelta(days=2_000)))
def test_the_next_slot_is_the_first_that_is_later(first: datetime, number: int, months: int, span: timedelta) -> None:
    interval = Interval(runs=None, start=None, months=months, span=span)
    slot, following = interval.slot(first, number), interval.slot(first, number + 1)
    assert interval.next_slot(first, slot) == following
    assert interval.next_slot(first, following - timedelta(microseconds=1)) == following
