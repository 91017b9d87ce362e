"""Which form of a folder's page a client gets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.published.listing import INDEX_HTML, INDEX_JSON, INDEX_PLAIN, named, preferred


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", INDEX_PLAIN),
        ("*/*", INDEX_PLAIN),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", INDEX_PLAIN),
        (f"{INDEX_JSON}, {INDEX_HTML}; q=0.1, text/html; q=0.01", INDEX_JSON),
        (f"{INDEX_JSON};q=0.2, {INDEX_HTML}", INDEX_HTML),
        ("application/vnd.pypi.simple.latest+json", INDEX_JSON),
        (f"{INDEX_JSON.upper()}, */*;q=1", INDEX_JSON),
        (f"application/*;q=0.5, {INDEX_JSON};q=0, text/*;q=0.1", INDEX_HTML),
        (f"{INDEX_JSON};q=nonsense, {INDEX_HTML};q=0.3", INDEX_HTML),
        (f"text/html;q=0, {INDEX_JSON};q=0", INDEX_PLAIN),
        ("application/json", INDEX_PLAIN),
    ],
)
def test_a_client_gets_what_it_likes_best(accept: str, kind: str) -> None:
    assert preferred(accept) == kind


def test_a_format_is_named_by_its_media_type() -> None:
    assert [named(INDEX_JSON), named("application/vnd.pypi.simple.latest+json"), named("json")] == [
        INDEX_JSON,
        INDEX_JSON,
        None,
    ]
    assert named(INDEX_JSON.replace("+", " ")) == INDEX_JSON


@given(st.text())
def test_any_header_leads_to_a_page(accept: str) -> None:
    assert preferred(accept) in {INDEX_PLAIN, INDEX_HTML, INDEX_JSON}


@given(st.floats())
def test_any_quality_is_understood(quality: float) -> None:
    liked = preferred(f"{INDEX_JSON};q={quality}")
    assert liked == (INDEX_PLAIN if math.isnan(quality) or quality <= 0 else INDEX_JSON)
