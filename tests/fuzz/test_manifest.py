"""Any bytes as a manifest: it is parsed, or rejected in one sentence."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.content.iso import manifest_line, name_flaw, parse_manifest
from pulpit.content.limits import Limits
from pulpit.content.paths import beneath_another, flaw
from pulpit.content.port import BadFeed, StoredFile
from pulpit.text import STEERING, shown

LIMITS = Limits(entries=50)
SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text('ab/., "\\', max_size=12)


def parse(content: bytes) -> list[StoredFile]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "PULP_MANIFEST")
        path.write_bytes(content)
        return [entry.file for entry in parse_manifest(path, limits=LIMITS).entries]


def check_refusal(content: bytes) -> None:
    try:
        entries = parse(content)
    except BadFeed as error:
        sentence = str(error)
    else:
        check_entries(entries)
        return
    assert sentence.startswith("PULP_MANIFEST is refused: ")
    assert sentence.isprintable()
    assert len(sentence) < 1000


def check_entries(entries: list[StoredFile]) -> None:
    assert len(entries) <= LIMITS.entries
    names = [entry.relative_path for entry in entries]
    assert len(names) == len(set(names))
    assert beneath_another(names) is None
    for name in names:
        assert flaw(name) is None


@given(st.binary(max_size=400))
def test_any_bytes(content: bytes) -> None:
    check_refusal(content)


@given(st.lists(st.tuples(NAMES, SHA256 | st.text(max_size=5), st.integers() | st.text(max_size=5)), max_size=8))
def test_lines_that_look_right(lines: list[tuple[str, str, object]]) -> None:
    check_refusal("".join(f"{name},{digest},{size}\n" for name, digest, size in lines).encode())


@given(st.lists(st.tuples(NAMES, SHA256, st.integers(0, 10**12)), max_size=8, unique_by=lambda line: line[0]))
def test_what_is_written_is_read_again(lines: list[tuple[str, str, int]]) -> None:
    files = [StoredFile(relative_path=name, sha256=digest, size=size) for name, digest, size in lines]
    usable = [file for file in files if not name_flaw(file.relative_path)]
    if beneath_another(file.relative_path for file in usable) is None:
        assert parse("".join(map(manifest_line, usable)).encode()) == usable


@given(st.text())
def test_names_are_shown_on_one_line(text: str) -> None:
    assert not any(category(character) in STEERING for character in shown(text))


@pytest.mark.parametrize("size", ["1", " 1", "1 ", "01"])
def test_sizes_with_room_around_them(size: str) -> None:
    assert parse(f"a,{'0' * 64},{size}\r\n".encode())[0].size == 1
