"""The part of MongoDB's query language that Pulp 2's clients use."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.api import criteria
from pulpit.errors import InvalidValue, UnsupportedValue

DOCUMENT = {
    "id": "zoo",
    "size": 7,
    "flag": True,
    "nothing": None,
    "tags": ["pulp:repository:zoo", "pulp:action:sync"],
    "notes": {"_repo-type": "rpm-repo", "a.b": "dotted", "deep": {"er": "x"}},
    "parts": [{"n": 1}, {"n": 2}],
    "_id": {"$oid": "65f0aa0000000000000000a1"},
    "finished": "2031-05-04T10:00:00Z",
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"id": "zoo"}, True),
        ({"_id": {"$oid": "65f0aa0000000000000000a1"}}, True),
        ({"_id": "65f0aa0000000000000000a1"}, True),
        ({"_id": {"$in": [{"$oid": "65f0aa0000000000000000a1"}]}}, True),
        ({"_id": {"$oid": "65f0aa0000000000000000a2"}}, False),
        ({"finished": {"$lt": {"$date": "2031-05-04T12:00:01+02:00"}}}, True),
        ({"finished": {"$lt": {"$date": "2031-05-04T10:00:00Z"}}}, False),
        ({"finished": {"$date": "2031-05-04T10:00:00"}}, True),
        ({"finished": {"$gte": {"$date": 1935655200000}}}, True),
        ({"id": "zo"}, False),
        ({"id": "zoo", "size": 8}, False),
        ({"size": 7.0}, True),
        ({"flag": 1}, False),
        ({"flag": True}, True),
        ({"absent": None}, True),
        ({"nothing": None}, True),
        ({"id": None}, False),
        ({"tags": "pulp:action:sync"}, True),
        ({"tags": "pulp:action"}, False),
        ({"tags": ["pulp:repository:zoo", "pulp:action:sync"]}, True),
        ({"tags": {"$all": ["pulp:action:sync", "pulp:repository:zoo"]}}, True),
        ({"tags": {"$all": ["pulp:action:sync", "x"]}}, False),
        ({"tags": {"$all": []}}, False),
        ({"tags": {"$size": 2}}, True),
        ({"notes._repo-type": "rpm-repo"}, True),
        ({"notes.a.b": "dotted"}, True),
        ({"notes.deep.er": "x"}, True),
        ({"notes.deep": {"er": "x"}}, True),
        ({"notes.absent.er": None}, True),
        ({"parts.n": 2}, True),
        ({"parts.0.n": 2}, False),
        ({"id": {"$in": ["a", "zoo"]}}, True),
        ({"id": {"$in": []}}, False),
        ({"absent": {"$in": [None]}}, True),
        ({"id": {"$nin": ["a", "zoo"]}}, False),
        ({"absent": {"$nin": ["a"]}}, True),
        ({"id": {"$ne": "zoo"}}, False),
        ({"id": {"$eq": "zoo"}}, True),
        ({"size": {"$gt": 6, "$lte": 7}}, True),
        ({"size": {"$lt": 7}}, False),
        ({"size": {"$gte": "7"}}, False),
        ({"flag": {"$gte": 0}}, False),
        ({"id": {"$gte": "zoo"}}, True),
        ({"absent": {"$gt": 0}}, False),
        ({"id": {"$regex": "^z"}}, True),
        ({"id": {"$regex": "^Z"}}, False),
        ({"id": {"$regex": "^Z", "$options": "i"}}, True),
        ({"tags": {"$regex": "sync$"}}, True),
        ({"size": {"$regex": "7"}}, False),
        ({"id": {"$not": "^z"}}, False),
        ({"id": {"$not": "^a"}}, True),
        ({"id": {"$not": {"$in": ["zoo"]}}}, False),
        ({"absent": {"$exists": True}}, False),
        ({"nothing": {"$exists": True}}, True),
        ({"$and": [{"id": "zoo"}, {"size": 7}]}, True),
        ({"$and": [{"id": "zoo"}, {"size": 8}]}, False),
        ({"$or": [{"id": "x"}, {"size": 7}]}, True),
        ({"$nor": [{"id": "x"}, {"size": 7}]}, False),
        ({"$or": [{"$and": [{"id": "zoo"}]}], "flag": True}, True),
    ],
)
def test_a_filter_holds_as_in_mongodb(filters: dict[str, Any], expected: bool) -> None:
    assert criteria.compile_filter(filters)(DOCUMENT) is expected


@pytest.mark.parametrize(
    "filters",
    [
        [],
        "x",
        {"$where": "1"},
        {"id": {"$near": 1}},
        {"$and": {}},
        {"$and": []},
        {"$or": ["x"]},
        {"id": {"$in": "zoo"}},
        {"id": {"$regex": "("}},
        {"id": {"$regex": 7}},
        {"id": {"$regex": "x" * 1001}},
        {"id": {"$regex": "x", "$options": "q"}},
        {"id": {"$not": 7}},
        {"tags": {"$size": "2"}},
        {"$and": [{"id": "x"}] * 1001},
    ],
)
def test_a_filter_that_cannot_be_understood_is_named(filters: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        criteria.compile_filter(filters)
    assert caught.value.property_names == ["filters"]


def test_a_pattern_that_would_run_for_ever_is_stopped() -> None:
    wanted = criteria.compile_filter({"id": {"$regex": "(a|aa)+$"}})
    with pytest.raises(InvalidValue, match="too long"):
        wanted({"id": "a" * 200 + "b"})


def test_sort_limit_and_skip() -> None:
    documents = [{"id": name, "n": n} for name, n in (("a", 2), ("b", None), ("c", 1), ("d", 2))]
    wanted = criteria.parse({"sort": [["n", "descending"], ["id", "ascending"]], "skip": 1, "limit": 2})
    assert [one["id"] for one in wanted.select(documents)] == ["d", "c"]


def test_the_greatest_numbers_of_json_are_no_limit() -> None:
    most = 2**63 - 1
    assert criteria.parse({"skip": 1, "limit": most}).select([{"n": 1}, {"n": 2}]) == [{"n": 2}]
    assert criteria.parse({"skip": most, "limit": most}).select([{"n": 1}]) == []


def test_fields_keep_what_is_asked_for_and_what_is_always_there() -> None:
    wanted = criteria.parse({"fields": ["notes._repo-type", "size", "absent"]})
    assert wanted.trimmed(DOCUMENT, ["id"]) == {"notes": {"_repo-type": "rpm-repo"}, "size": 7, "id": "zoo"}


def test_nulls_are_as_good_as_nothing() -> None:
    wanted = criteria.parse({"filters": None, "sort": None, "limit": None, "skip": None, "fields": None})
    assert wanted.select([DOCUMENT]) == [DOCUMENT]


@pytest.mark.parametrize(
    "bad",
    [
        {"sort": "id"},
        {"sort": [["id"]]},
        {"sort": [["id", "up"]]},
        {"sort": [["id", []]]},
        {"sort": [["id", True]]},
        {"limit": -1},
        {"limit": "five"},
        {"limit": "5" * 19},
        {"skip": True},
        {"fields": "id"},
        {"fields": [7]},
    ],
)
def test_a_bad_part_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as caught:
        criteria.parse(bad)
    assert caught.value.property_names == list(bad)


def test_unknown_parts_are_unsupported() -> None:
    with pytest.raises(UnsupportedValue):
        criteria.parse({"filter": {}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["$and", "$or", "$in", "$all", "$not", "$regex", "$gt", "$exists", "id", "tags", "notes.x", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_whatever_comes_is_either_answered_or_refused(filters: object, document: Any) -> None:
    try:
        wanted = criteria.parse({"filters": filters, "sort": [["id", "ascending"]]})
        found = wanted.select([DOCUMENT, {"id": document}])
    except (InvalidValue, UnsupportedValue):
        return
    json.dumps(found)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?:(?:(?:a{500}){500}){500}){500}",
        "(?:a?){99999999}",
        "(?:a ){ 99999999 }",
        f"a{{{'9' * 900}}}",
        "(?R)?a(?R)?",
        "(?<n>a)(?&n)*b",
        "(?P<n>a)(?P>n)*b",
        "(a)(?1)*b",
        f"(?b)(?:{'ab' * 50}){{e}}",
        "(?:abc){s<=2,i<=1}",
    ],
)
def test_a_regular_expression_that_would_take_all_memory_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidValue, match="too large"):
        criteria.compile_filter({"id": {"$regex": pattern}})


def test_many_regular_expressions_are_no_way_around() -> None:
    clauses = [{"id": {"$regex": f"(?:a?{number:03}){{9999}}"}} for number in range(100)]
    with pytest.raises(InvalidValue, match="too large"):
        criteria.compile_filter({"$or": clauses})


@pytest.mark.parametrize(
    "pattern",
    [r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", r"^zoo-\d{4,}", "a{b}", "{}", "{name}"],
)
def test_ordinary_repeats_are_understood(pattern: str) -> None:
    criteria.compile_filter({"id": {"$regex": pattern}})
