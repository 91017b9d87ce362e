"""Conditional requests and ranges by RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.published.conditions import MOST_RANGES, Judgement, Validators, judge, ranges

FILE = Validators(etag='"abc"', modified="Wed, 01 Jan 2020 10:00:00 GMT")
BEFORE, AFTER = "Wed, 01 Jan 2020 09:00:00 GMT", "Wed, 01 Jan 2020 11:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "judgement"),
    [
        ({}, Judgement.SEND),
        ({"if-none-match": '"abc"'}, Judgement.NOT_MODIFIED),
        ({"if-none-match": '"x", W/"abc"'}, Judgement.NOT_MODIFIED),
        ({"if-none-match": "*"}, Judgement.NOT_MODIFIED),
        ({"if-none-match": '"x"', "if-modified-since": FILE.modified}, Judgement.SEND),
        ({"if-modified-since": FILE.modified}, Judgement.NOT_MODIFIED),
        ({"if-modified-since": AFTER}, Judgement.SEND),
        ({"if-match": '"abc"'}, Judgement.SEND),
        ({"if-match": "*"}, Judgement.SEND),
        ({"if-match": 'W/"abc"'}, Judgement.FAILED),
        ({"if-match": '"x"'}, Judgement.FAILED),
        ({"if-match": '"abc"', "if-unmodified-since": BEFORE}, Judgement.SEND),
        ({"if-unmodified-since": BEFORE}, Judgement.FAILED),
        ({"if-unmodified-since": AFTER}, Judgement.SEND),
        ({"if-unmodified-since": "nonsense"}, Judgement.SEND),
        ({"if-match": '"abc"', "if-none-match": '"abc"'}, Judgement.NOT_MODIFIED),
    ],
)
def test_conditions_are_weighed_in_their_order(headers: dict[str, str], judgement: Judgement) -> None:
    assert judge(headers, FILE) is judgement


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-9", [range(10)]),
        ("bytes=90-", [range(90, 100)]),
        ("bytes=-5", [range(95, 100)]),
        ("bytes=-500", [range(100)]),
        ("bytes=90-500", [range(90, 100)]),
        ("bytes=100-", []),
        ("bytes=-0", []),
        ("bytes=0-1, 50-51", [range(2), range(50, 52)]),
        ("bytes=50-51,0-1", [range(50, 52), range(2)]),
        ("bytes=0-1,200-", [range(2)]),
        ("bytes=0-10,5-15", None),
        ("bytes=0-49,50-99", None),
        ("bytes=9-0", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=²-", None),
        ("lines=0-1", None),
        ("bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MOST_RANGES + 1)), None),
        ("bytes=99999999999999999999-", None),
    ],
)
def test_ranges_are_read_or_passed_over(asked: str, expected: list[range] | None) -> None:
    assert ranges({"range": asked}, 100, FILE) == expected


@pytest.mark.parametrize(("given", "counts"), [('"abc"', True), (FILE.modified, True), ('"x"', False), (AFTER, False)])
def test_a_part_is_sent_only_of_the_file_that_the_client_has(given: str, *, counts: bool) -> None:
    found = ranges({"range": "bytes=0-1", "if-range": given}, 100, FILE)
    assert found == ([range(2)] if counts else None)


@given(asked=st.text(alphabet="0123456789-,= bytes", max_size=60), size=st.integers(0, 200))
def test_whatever_is_asked_for_lies_in_the_file_and_is_no_more_than_it(asked: str, size: int) -> None:
    parts = ranges({"range": f"bytes={asked}"}, size, FILE)
    assert parts is None or all(part and 0 <= part.start < part.stop <= size for part in parts)
    assert parts is None or sum(map(len, parts)) <= size
