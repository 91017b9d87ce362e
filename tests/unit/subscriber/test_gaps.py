"""Missing events, found by a repository's counter."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.subscriber.gaps import BegunAnew, Gap, Gaps, leaves_nothing_out
from pulpit.topics import matches

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def gap(first: int, last: int, repo_id: str = "zoo") -> Gap:
    return Gap(repo_id=repo_id, first=first, last=last)


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def counting(**last_numbers: int) -> Gaps:
    return Gaps(last_numbers, NOON)


def noted(gaps: Gaps, *numbers: int) -> list[Gap | BegunAnew | None]:
    """Take events that happened a second after one another."""
    return [gaps.note("zoo", number, at(number)) for number in numbers]


def test_a_counter_without_holes_shows_nothing() -> None:
    assert noted(counting(), 5, 6, 7) == [None, None, None]


def test_a_jump_is_a_gap_once() -> None:
    gaps = counting()
    assert noted(gaps, 5, 8, 9) == [None, gap(6, 7), None]
    assert gaps.open == (gap(6, 7),)
    assert gaps.open[0].count == 2


def test_the_first_number_shows_nothing_unless_the_last_one_before_is_known() -> None:
    assert noted(counting(), 5) == [None]
    assert noted(counting(zoo=3), 5) == [gap(4, 4)]
    assert counting(zoo=3).last_numbers == {"zoo": 3}


def test_what_comes_late_is_missing_no_more() -> None:
    gaps = counting()
    noted(gaps, 1, 6)
    assert noted(gaps, 4) == [None]
    assert gaps.open == (gap(2, 3), gap(5, 5))
    noted(gaps, 2, 3, 5)
    assert [*gaps.open] == []
    assert gaps.last_numbers == {"zoo": 6}


def test_what_comes_again_shows_nothing() -> None:
    gaps = counting()
    assert noted(gaps, 3, 4, 3, 1, 4, 5) == [None] * 6
    assert not gaps.open


def test_a_counter_that_goes_back_with_a_newer_event_began_anew() -> None:
    """The database was restored from a copy; what comes from then on is counted from there."""
    gaps = counting()
    noted(gaps, 7, 9)
    assert gaps.note("zoo", 5, at(100)) == BegunAnew(repo_id="zoo", number=5, highest=9)
    assert [gaps.note("zoo", 6, at(101)), gaps.note("zoo", 8, at(102))] == [None, gap(7, 7)]
    assert gaps.open == (gap(7, 7),)
    assert gaps.last_numbers == {"zoo": 8}


def test_the_numbers_of_an_earlier_subscription_may_be_of_another_life_too() -> None:
    """But clocks differ, and what was on its way may come twice."""
    assert counting(zoo=9).note("zoo", 5, at(30)) is None
    assert counting(zoo=9).note("zoo", 5, at(90)) == BegunAnew(repo_id="zoo", number=5, highest=9)


def test_what_is_sent_again_is_as_old_as_it_was() -> None:
    gaps = counting()
    noted(gaps, 1, 2, 5)
    assert [gaps.note("zoo", number, at(number)) for number in (1, 2, 4)] == [None] * 3
    assert gaps.open == (gap(3, 3),)
    assert gaps.note("zoo", 3, at(1000)) is None  # a dead letter that was missing, whatever its time says


def test_repositories_count_for_themselves() -> None:
    gaps = counting()
    gaps.note("a", 1, NOON)
    assert gaps.note("b", 9, NOON) is None
    assert gaps.note("a", 3, NOON) == gap(2, 2, "a")


def test_only_so_many_gaps_are_remembered() -> None:
    gaps = counting(zoo=0)
    noted(gaps, *range(2, 2 * 1100 + 1, 2))
    assert len(gaps.open) == 1000
    assert gaps.open[-1] == gap(2199, 2199)


@given(st.lists(st.integers(1, 60), min_size=1))
def test_what_is_missing_is_what_has_not_come(numbers: list[int]) -> None:
    gaps = counting()
    noted(gaps, *numbers)
    missing = {number for gap in gaps.open for number in range(gap.first, gap.last + 1)}
    assert missing == set(range(numbers[0], max(numbers) + 1)) - set(numbers)


@pytest.mark.parametrize(
    "pattern", ["#", "pulp.#", "pulp.server.#", "*.server.#", "#.#", "*.*.*.#", "*.*.*.*.#", "pulp.#.*.*"]
)
def test_some_patterns_leave_nothing_out(pattern: str) -> None:
    assert leaves_nothing_out(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", "x", "*", "pulp.server.*.*", "pulp.server.repo.#", "#.finish", "*.*.*.*.*.#", "pulp.server.repo.*.finish"],
)
def test_others_do(pattern: str) -> None:
    assert not leaves_nothing_out(pattern)


WORDS = st.sampled_from(["*", "#", "pulp", "server", "repo", "x"])


@given(
    st.lists(WORDS, min_size=1, max_size=6).map(".".join),
    st.lists(st.sampled_from(["repo", "x"]), min_size=2, max_size=9),
)
def test_a_pattern_that_leaves_nothing_out_matches_every_subject(pattern: str, event_type: list[str]) -> None:
    if leaves_nothing_out(pattern):
        assert matches(pattern, ".".join(["pulp", "server", *event_type]))
