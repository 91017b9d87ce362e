"""Intervals of schedules: their parts and their slots."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from pulpit.errors import InvalidValue
from pulpit.intervals import Interval, parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "runs", "start", "months", "span"),
    [
        ("PT1H", None, None, 0, timedelta(hours=1)),
        ("P2W", None, None, 0, timedelta(weeks=2)),
        ("P1DT12H30M", None, None, 0, timedelta(days=1, hours=12, minutes=30)),
        ("PT0.5H", None, None, 0, timedelta(minutes=30)),
        ("R5/P1D", 5, None, 0, timedelta(days=1)),
        ("R/P1D", None, None, 0, timedelta(days=1)),
        ("2031-01-01T03:00:00Z/P1D", None, at("2031-01-01T03:00"), 0, timedelta(days=1)),
        ("2031-01-01T03:00:00+02:00/P1D", None, at("2031-01-01T01:00"), 0, timedelta(days=1)),
        ("2031-01-01T03:00:00/P1D", None, at("2031-01-01T03:00"), 0, timedelta(days=1)),
        ("20310101T030000Z/P1D", None, at("2031-01-01T03:00"), 0, timedelta(days=1)),
        ("R3/2031-01-31T00:00:00Z/P1Y2M3D", 3, at("2031-01-31"), 14, timedelta(days=3)),
    ],
)
def test_the_parts_are_read(text: str, runs: int | None, start: datetime | None, months: int, span: timedelta) -> None:
    assert parse(text) == Interval(runs=runs, start=start, months=months, span=span)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must look like"),
        ("every day", "must look like"),
        ("P", "must look like"),
        ("PT", "must look like"),
        ("P1H", "must look like"),
        ("-P1D", "must look like"),
        ("R5", "must look like"),
        ("P1D/R5", "must look like"),
        ("a/b/c/P1D", "must look like"),
        ("yesterday/P1D", "the start must look like"),
        ("1969-12-31T00:00:00Z/P1D", "between the years"),
        ("R0/P1D", "number of runs"),
        ("R-1/P1D", "number of runs"),
        ("P1M", "needs a start"),
        ("P1Y", "needs a start"),
        ("P0D", "a second at least"),
        ("PT0.1S", "a second at least"),
        ("P999999999W", "a hundred years at most"),
        ("P1D" + " " * 200, "more than 100 characters"),
    ],
)
def test_what_is_no_interval_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words) as caught:
        parse(text)
    assert caught.value.property_names == ["schedule"]


def test_months_are_reckoned_from_the_first_slot_so_that_a_short_one_moves_no_other() -> None:
    monthly, first = parse("2031-10-31T03:00:00Z/P1M"), at("2031-10-31T03:00")
    slots = [monthly.slot(first, number).date().isoformat() for number in range(7)]
    assert slots == [
        "2031-10-31",
        "2031-11-30",
        "2031-12-31",
        "2032-01-31",
        "2032-02-29",
        "2032-03-31",
        "2032-04-30",
    ]


def test_a_leap_day_comes_back_in_every_year() -> None:
    yearly, first = parse("2032-02-29T00:00:00Z/P1Y"), at("2032-02-29")
    assert yearly.next_slot(first, at("2032-03-01")) == at("2033-02-28")
    assert yearly.next_slot(first, at("2035-03-01")) == at("2036-02-29")


def test_no_clock_change_moves_a_slot() -> None:
    daily, first = parse("2031-03-28T02:30:00+01:00/P1D"), at("2031-03-28T01:30")
    slots = [daily.slot(first, number) for number in range(5)]  # over the last Sunday of March
    assert {slot.time() for slot in slots} == {first.time()}
    assert {after - before for before, after in itertools.pairwise(slots)} == {timedelta(days=1)}


def test_slots_that_went_by_are_passed_over() -> None:
    hourly, first = parse("PT1H"), at("2031-01-01T00:30")
    assert hourly.next_slot(first, at("2030-12-31")) == first
    assert hourly.next_slot(first, first) == at("2031-01-01T01:30")
    assert hourly.next_slot(first, at("2041-01-01T00:29:59")) == at("2041-01-01T00:30")
