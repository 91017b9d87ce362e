"""Which form of a page a client gets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.published.pages import HTML, JSON, PLAIN, named, preferred


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PLAIN),
        (f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", JSON),
        (f"{JSON};q=0.2, {HTML}", HTML),
        ("application/vnd.pypi.simple.latest+json", JSON),
        (f"{JSON.upper()}, */*;q=1", JSON),
        (f"application/*;q=0.5, {JSON};q=0, text/*;q=0.1", HTML),
        (f"{JSON};q=nonsense, {HTML};q=0.3", HTML),
        (f"text/html;q=0, {JSON};q=0", PLAIN),
        ("application/json", PLAIN),
    ],
)
def test_a_client_gets_what_it_likes_best(accept: str, kind: str) -> None:
    assert preferred(accept) == kind


def test_a_format_is_named_by_its_media_type() -> None:
    assert [named(JSON), named("application/vnd.pypi.simple.latest+json"), named("json")] == [JSON, JSON, None]
    assert named(JSON.replace("+", " ")) == JSON


@given(st.text())
def test_any_header_leads_to_a_page(accept: str) -> None:
    assert preferred(accept) in {PLAIN, HTML, JSON}


@given(st.floats())
def test_any_quality_is_understood(quality: float) -> None:
    liked = preferred(f"{JSON};q={quality}")
    assert liked == (PLAIN if math.isnan(quality) or quality <= 0 else JSON)
