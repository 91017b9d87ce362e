"""Versions in rpm's order, and Pulp 2's sort keys for them."""

import shutil
import subprocess
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.content.rpm.versions import Evr, sort_index

ORDERED = [
    ("0", "1.0~rc1", "1"),
    ("0", "1.0~rc1^git1", "1"),
    ("0", "1.0", "1"),
    ("0", "1.0^git1", "1"),
    ("0", "1.0.a", "1"),
    ("0", "1.0.1", "1"),
    ("0", "1.1", "1"),
    ("0", "1.1", "1.el8"),
    ("0", "1.1", "2"),
    ("0", "1.02", "1"),
    ("0", "1.9", "1"),
    ("0", "1.10", "1"),
    ("0", "2a", "1"),
    ("0", "2.0", "1"),
    ("1", "0.1", "1"),
    ("12", "0.1", "1"),
]


def test_versions_are_ordered_as_rpm_orders_them() -> None:
    assert sorted((Evr(*one), one) for one in reversed(ORDERED)) == [(Evr(*one), one) for one in ORDERED]


def test_what_rpm_finds_equal_is_equal() -> None:
    assert Evr("0", "1.01", "1") == Evr("", "1_1", "01")
    assert hash(Evr("0", "1.01", "1")) == hash(Evr("0", "1-1", "1"))


@pytest.mark.skipif(shutil.which("rpm") is None, reason="not installed: rpm")
def test_rpm_itself_agrees() -> None:
    versions = [f"{epoch}:{version}-{release}" for epoch, version, release in ORDERED]
    pairs = list(combinations(range(len(versions)), 2))
    expression = " ".join(f"%{{lua:print(rpm.vercmp('{versions[a]}', '{versions[b]}'))}}" for a, b in pairs)
    ended = subprocess.run(["rpm", "--eval", expression], capture_output=True, text=True, timeout=60, check=True)

    assert [int(answer) for answer in ended.stdout.split()] == [-1] * len(pairs)


@pytest.mark.parametrize(
    ("version", "index"),
    [
        ("4.1", "01-4.01-1"),
        ("10", "02-10"),
        ("007", "01-7"),
        ("0", "01-0"),
        ("1.0a", "01-1.01-0.$a"),
        ("1+git_2", "01-1.$git.01-2"),
    ],
)
def test_the_index_is_the_one_that_the_original_client_asks_for(version: str, index: str) -> None:
    assert sort_index(version) == index


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=5), st.lists(st.integers(0, 10**12), min_size=1, max_size=5)
)
def test_indices_of_numbers_sort_as_the_versions_do(one: list[int], other: list[int]) -> None:
    first, second = (".".join(map(str, numbers)) for numbers in (one, other))

    assert (sort_index(first) < sort_index(second)) == (Evr("0", first, "1") < Evr("0", second, "1"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_can_be_compared(one: str, other: str) -> None:
    first, second = Evr("0", one, "1"), Evr("0", other, "1")

    assert (first < second) + (first == second) + (second < first) == 1
    sort_index(one)
