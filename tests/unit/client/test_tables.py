"""Lists as tables: whole where there is room, cut from the right where there is not."""

from hypothesis import given
from hypothesis import strategies as st

from pulpit.client.screen import table

TASKS = [
    {"task_id": "e53a4003-7423-4bf1-a736-0388aa7ae85d", "state": "Successful", "operations": "sync"},
    {"task_id": "319df0f6-47d3-4ebb-bc56-ba650a6e22b9", "state": "Failed", "operations": "auto_publish, publish"},
]


def test_without_a_width_everything_is_there() -> None:
    assert table(TASKS, None) == [
        "Task Id                               State       Operations",
        "e53a4003-7423-4bf1-a736-0388aa7ae85d  Successful  sync",
        "319df0f6-47d3-4ebb-bc56-ba650a6e22b9  Failed      auto_publish, publish",
    ]


def test_the_last_column_that_fits_is_cut_and_the_others_are_left_out() -> None:
    assert table(TASKS, 60)[2] == "319df0f6-47d3-4ebb-bc56-ba650a6e22b9  Failed      auto_publ…"
    assert table(TASKS, 50)[2] == "319df0f6-47d3-4ebb-bc56-ba650a6e22b9  Failed"


def test_whatever_is_nested_or_missing_is_one_line() -> None:
    items: list[dict[str, object]] = [
        {"id": "zoo", "counts": {"rpm": 3, "erratum": 1}, "_href": "/x"},
        {"id": "farm", "tags": ["a", "b"]},
    ]
    assert table(items, None) == [
        "Id    Counts              Tags",
        "zoo   rpm: 3, erratum: 1",
        "farm                      a, b",
    ]


def test_nothing_is_no_table() -> None:
    assert table([], 80) == []


@given(
    st.lists(st.dictionaries(st.text(max_size=20), st.text(max_size=300) | st.none() | st.integers(), max_size=8)),
    st.integers(20, 200),
)
def test_no_line_is_longer_than_the_terminal_and_none_steers_it(items: list[dict[str, object]], width: int) -> None:
    for line in table(items, width):
        assert len(line) <= width
        assert "\n" not in line
        assert "\x1b" not in line
