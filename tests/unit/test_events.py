"""Validation of event types, and ids and backoff."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit import backoff
from pulpit.errors import InvalidValue
from pulpit.events import EVENT_TYPES, check_event_type, check_event_types
from pulpit.ids import object_id, uuid7


@pytest.mark.parametrize(
    "patterns",
    [
        ["*"],
        ["#"],
        sorted(EVENT_TYPES),
        ["repo.*.finish"],
        ["repo.#"],
        ["*.sync.#"],
        ["build.done"],
        ["build.#"],
        ("*",),
    ],
)
def test_known_types_wildcards_and_other_peoples_types_are_accepted(patterns: list[str]) -> None:
    assert check_event_types(patterns) == list(patterns)


@pytest.mark.parametrize(
    "patterns",
    [
        None,
        [],
        {},
        "repo.sync.start",
        [1],
        [""],
        ["repo-sync-started"],
        ["repo.sync.finsh"],
        ["repo.*.*.*"],
        ["repo.*.end"],
        ["*x.#"],
        ["a b.#"],
        ["repo.sync.start", "bad"],
    ],
)
def test_what_can_never_match_is_refused_at_once(patterns: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_event_types(patterns)
    assert caught.value.property_names == ["event_types"]


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [object_id() for _ in range(200)]
    assert [each[:14] for each in ids] == sorted(each[:14] for each in ids)
    assert {len(each) for each in ids} == {24}
    version, variant = uuid7()[14], uuid7()[19]
    assert version == "7"
    assert variant in "89ab"


@given(st.integers(min_value=1, max_value=10_000), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_pauses_grow_to_a_limit_and_never_vanish(attempts: int, random: float) -> None:
    first, longest = timedelta(seconds=1), timedelta(minutes=5)
    pause = backoff.delay(attempts, first=first, longest=longest, random=random)
    assert first / 2 < pause <= longest
    assert pause <= first * 2 ** min(attempts - 1, 30)


@pytest.mark.parametrize("text", ["build." + "x" * 195, "repo.sync." + "y" * 300, "build.*." + "x" * 200])
def test_b16_a_type_that_is_too_long_is_told_so(text: str) -> None:
    with pytest.raises(InvalidValue, match="is longer than 200 characters"):
        check_event_types([text])
    with pytest.raises(InvalidValue, match="is longer than 200 characters"):
        check_event_type(text)
    check_event_type("build." + "x" * 194)
