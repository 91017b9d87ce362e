"""Any users or permissions file is read, or refused with one sentence."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pulpit.broker.permissions import fits
from pulpit.broker.users import BadLine, permission_line, user_line
from pulpit.topics import covers, matches

WORDS = st.sampled_from(
    ["ann", "read", "write,read", "all", "queue", "exchange", "*", "key=", "vhost=", "'", '"', "\\", "#"]
)
LINES = st.lists(WORDS | st.text(max_size=8), max_size=8).map(" ".join) | st.text()
SCRYPT = st.lists(st.text("0123456789$A=", max_size=8), max_size=6).map(lambda parts: "ann:scrypt$" + "$".join(parts))
KEYS = st.lists(st.sampled_from(["a", "b", ""]), max_size=5).map(".".join)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "#", ""]), max_size=5).map(".".join)


def read_or_refused(read: Callable[[str], Any], line: str) -> None:
    sentence = ""
    try:
        read(line)
    except BadLine as error:
        sentence = str(error)
    assert sentence.isprintable()


@given(line=LINES)
def test_a_permission_is_read_or_refused(line: str) -> None:
    read_or_refused(permission_line, line)


@given(line=LINES | SCRYPT)
def test_a_user_is_read_or_refused(line: str) -> None:
    read_or_refused(user_line, line)


@given(wide=PATTERNS, narrow=PATTERNS, key=KEYS)
def test_what_a_pattern_covers_it_matches(wide: str, narrow: str, key: str) -> None:
    assert covers(wide, wide)
    assert covers(wide, key) == matches(wide, key)
    if covers(wide, narrow) and matches(narrow, key):
        assert matches(wide, key)


@given(
    parts=st.lists(st.text(st.sampled_from("ab."), max_size=4), min_size=1, max_size=5),
    filling=st.text("ab.", max_size=4),
)
def test_a_name_made_after_a_pattern_fits_it(parts: list[str], filling: str) -> None:
    assert fits("*".join(parts), filling.join(parts))
