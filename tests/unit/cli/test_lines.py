"""Lines of standard input, gathered into batches of events."""

import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.cli.fire import LARGEST_BATCH, LONGEST_LINE, batches, lines
from pulpit.client.failures import WrongData

GOOD = b'{"event_type": "ci.build.finish"}'


def numbers(raw: list[bytes | None]) -> tuple[list[list[int]], str]:
    found = []
    try:
        for batch in batches(raw):
            found += [[entry.number for entry in batch]]
    except WrongData as failure:
        return found, str(failure)
    return found, ""


def test_empty_lines_count_and_are_no_events() -> None:
    assert numbers([GOOD, b"", b" \r", GOOD]) == ([[1, 4]], "")


def test_a_pause_sends_what_is_there() -> None:
    assert numbers([GOOD, None, GOOD, GOOD, None, None]) == ([[1], [2, 3]], "")


def test_a_batch_has_a_bound() -> None:
    found, _ = numbers([GOOD] * (LARGEST_BATCH * 2 + 1))
    assert [len(batch) for batch in found] == [LARGEST_BATCH, LARGEST_BATCH, 1]


def test_large_lines_make_small_batches() -> None:
    large = json.dumps({"event_type": "a.b", "payload": {"x": "y" * 3_000_000}}).encode()
    assert numbers([large] * 3) == ([[1, 2], [3]], "")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (b"{", "Line 2 is not JSON: "),
        (b'{"event_type": NaN}', "Line 2 is not JSON: "),
        (b"\xff", "Line 2 is not JSON: "),
        (b"[" * 100_000, "Line 2 is not JSON: "),
        (b"[]", "Line 2 is JSON, but no object."),
        (b"{}", "Line 2 has no event_type."),
        (b'{"event_type": "a.b", "payloda": {}}', "Line 2 has the unknown key 'payloda'"),
        (b'{"event_type": "a.b", "payload": []}', "Line 2 has a payload that is no object."),
        (b'{"event_type": "a.b", "repo_id": 1}', "Line 2 has a repo_id that is no text."),
        (b"x" * (LONGEST_LINE + 1), "Line 2 is longer than"),
    ],
)
def test_a_wrong_line_is_named_and_ends_it(wrong: bytes, says: str) -> None:
    found, told = numbers([GOOD, wrong, GOOD])
    assert found == [[1]]
    assert told.startswith(says)


@given(st.lists(st.binary(max_size=40)), st.integers(0, 5))
def test_anything_is_an_event_or_a_named_line(raw: list[bytes], place: int) -> None:
    _, told = numbers([*raw[:place], GOOD, *raw[place:]])
    assert not told or told.startswith("Line ")


def test_lines_come_while_the_writer_goes_on() -> None:
    reader, writer = os.pipe()
    seen: list[bytes | None] = []
    waited = threading.Event()

    def read() -> None:
        for line in lines(reader):
            seen.append(line)
            if line is None:
                waited.set()

    thread = threading.Thread(target=read)
    thread.start()
    os.write(writer, b"a\nb\nhalf")
    assert waited.wait(60)
    os.write(writer, b" a line\nlast")
    os.close(writer)
    thread.join(60)
    os.close(reader)
    assert [line for line in seen if line is not None] == [b"a", b"b", b"half a line", b"last"]
    assert seen.index(None) == 2


def test_a_line_without_end_is_not_kept_in_memory_for_ever() -> None:
    with open("/dev/zero", "rb") as zeros:  # noqa: PTH123 - a descriptor is wanted
        [line] = lines(zeros.fileno())
    assert line is not None
    assert LONGEST_LINE < len(line) < 2 * LONGEST_LINE
