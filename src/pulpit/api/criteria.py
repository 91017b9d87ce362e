"""Pulp 2's search criteria: the part of MongoDB's query language that its clients use, over plain documents.

A filter is validated and compiled once (`parse`), then applied to documents as the API shows them. As in MongoDB, a
condition on a list is true if it is true for the list or for one of its members, and null equals an absent key.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from pulpit.clock import iso
from pulpit.errors import InvalidValue, UnsupportedValue

Document = Mapping[str, Any]
Condition = Callable[[Any], bool]

MAX_PATTERN: Final = 1000
"""Characters of a regular expression."""
MAX_SIZE: Final = 500_000
"""Characters of all regular expressions of one search, each times its counted repeats (`{9}`): the module expands
counted repeats, so a short pattern could exhaust memory.
"""
MAX_CLAUSES: Final = 1000
"""Conditions in one filter."""
MATCHING_TIME_S: Final = 2.0
"""Seconds that all regular expressions of one search may take."""

MOST_WORDS: Final = 20
"""Values of a condition that is passed to the database; the size of a statement must be bounded."""

_MOST: Final = 2**62 - 1
"""For counts of documents; the sum of two such numbers fits into 64 bits."""
_LONGEST_COUNT: Final = 18
"""Digits of a count that is given as text."""
_KEYS: Final = frozenset({"filters", "sort", "limit", "skip", "fields"})
_ABSENT: Final = object()
_DIRECTIONS: Final = {"ascending": 1, "descending": -1, 1: 1, -1: -1}
_FLAGS: Final = {"i": "IGNORECASE", "m": "MULTILINE", "s": "DOTALL", "x": "VERBOSE"}
"""Pulp 2's letters and the names in `regex`."""
_FILTERS: Final = "filters"
_COUNT: Final = re.compile(r"\{\s*(\d+)")
_UNBOUNDED: Final = re.compile(r"\(\?(?:R|&|P>|[-+]?\d)|\{\s*(?:\d+\s*<=?\s*)?\d*\s*[eids]\s*[<}:,+]")
"""Group calls and fuzzy matches, which MongoDB does not have: their memory and time are unbounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """One search: which documents, in which order, which slice, which keys."""

    matches: Callable[[Document], bool]
    sort: list[tuple[str, int]]
    limit: int | None
    skip: int
    fields: list[str] | None

    def select(self, documents: Iterable[Document]) -> list[Document]:
        """Return the matching documents, in the requested order or else as they come, with all keys.

        Raises:
            InvalidValue: the regular expressions take too long.
        """
        matching: Iterable[Document] = filter(self.matches, documents)
        if self.sort:
            matching = list(matching)
            sort(matching, self.sort)
        end = None if self.limit is None else self.skip + self.limit
        return list(islice(matching, self.skip, end))  # without an order, stop early

    def trimmed(self, document: Document, always: Iterable[str]) -> dict[str, Any]:
        """Return the document with the requested fields and those that are always included.

        A dotted field keeps its parents.
        """
        if self.fields is None:
            return dict(document)
        trimmed: dict[str, Any] = {}
        for path in (*self.fields, *always):
            _copy_path(document, path.split("."), trimmed)
        return trimmed


def parse(criteria: object) -> Criteria:
    """Parse the `criteria` of a search body.

    Raises:
        UnsupportedValue: it has unknown keys.
        InvalidValue: the name of the invalid part.
    """
    if not isinstance(criteria, dict):
        raise InvalidValue("criteria", "it must be an object.")
    unknown = sorted(set(criteria) - _KEYS)
    if unknown:
        raise UnsupportedValue(unknown)
    return Criteria(
        matches=compile_filter({} if criteria.get(_FILTERS) is None else criteria[_FILTERS]),
        sort=read_sort(criteria.get("sort")),
        limit=read_count("limit", criteria.get("limit")),
        skip=read_count("skip", criteria.get("skip")) or 0,
        fields=read_fields(criteria.get("fields")),
    )


def compile_filter(filters: object) -> Callable[[Document], bool]:
    """Compile a filter into a test of one document.

    Raises:
        InvalidValue: `filters`, with the reason.
    """
    return _Compiler().filter(filters)


def words(condition: object, operator: str) -> list[str] | None:
    """Return the few words that a plain condition on one key allows (or, with another operator, forbids); else `None`.

    They reduce what the database reads; the criteria are then applied to the result.
    """
    if isinstance(condition, str):
        return [condition] if operator in ("$in", "$all") else None
    found = condition.get(operator) if isinstance(condition, dict) else None
    if not isinstance(found, list) or len(found) > MOST_WORDS:
        return None
    return found if all(isinstance(word, str) for word in found) else None


def read_sort(sort: object) -> list[tuple[str, int]]:
    """Parse `[["id", "descending"], …]`.

    Raises:
        InvalidValue: `sort`.
    """
    if sort is None:
        return []
    if not isinstance(sort, list) or not all(_is_sort_entry(entry) for entry in sort):
        raise InvalidValue("sort", 'it must be a list such as [["id", "ascending"]].')
    return [(entry[0], _DIRECTIONS[entry[1]]) for entry in sort]


def read_count(name: str, count: object) -> int | None:
    """Parse a limit or a skip, which may be text.

    Raises:
        InvalidValue: the name; it is not a whole number from 0.
    """
    if count is None:
        return None
    if isinstance(count, str) and count.isascii() and count.isdecimal() and len(count) <= _LONGEST_COUNT:
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InvalidValue(name, "it must be a whole number from 0.")
    return min(count, _MOST)


def read_fields(fields: object) -> list[str] | None:
    """Parse a list of field names.

    Raises:
        InvalidValue: `fields`.
    """
    if fields is None:
        return None
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise InvalidValue("fields", "it must be a list of names.")
    return fields


def sort(documents: list[Any], by: list[tuple[str, int]], *, part: str | None = None) -> None:
    """Sort documents by their own keys, or by those of a part of each; the first key is the primary one."""
    for path, direction in reversed(by):
        whole = path if part is None else f"{part}.{path}"
        documents.sort(key=lambda document, whole=whole: _order(first_value(document, whole)), reverse=direction < 0)  # type: ignore[misc]


def first_value(document: Any, path: str) -> Any:
    """Return the value at a dotted path; null if there is none."""
    found = _values(document, path.split("."))
    return found[0] if found else None


class _Compiler:
    """Compiles one filter, counting its clauses and the time of its regular expressions."""

    def __init__(self) -> None:
        self._clauses = 0
        self._left_s = MATCHING_TIME_S
        self._left_size = MAX_SIZE

    def filter(self, filters: object) -> Callable[[Document], bool]:
        """Compile a filter, or a part of one."""
        if not isinstance(filters, dict):
            raise InvalidValue(_FILTERS, "a filter must be an object.")
        tests = [self._clause(key, value) for key, value in filters.items()]
        return lambda document: all(test(document) for test in tests)

    def _clause(self, key: str, value: object) -> Callable[[Document], bool]:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise InvalidValue(_FILTERS, f"it has more than {MAX_CLAUSES} conditions.")
        if not key.startswith("$"):
            path, condition = key.split("."), self._condition(value)
            return lambda document: condition(_values(document, path))
        if key not in ("$and", "$or", "$nor"):
            raise InvalidValue(_FILTERS, f"{key} is unknown here.")
        if not isinstance(value, list) or not value:
            raise InvalidValue(_FILTERS, f"{key} needs a list of filters.")
        parts = [self.filter(part) for part in value]
        if key == "$and":
            return lambda document: all(part(document) for part in parts)
        if key == "$or":
            return lambda document: any(part(document) for part in parts)
        return lambda document: not any(part(document) for part in parts)

    def _condition(self, value: object) -> Condition:
        """Compile a test of all values at a path."""
        value = _plain_value(value)
        if not isinstance(value, dict) or not any(key.startswith("$") for key in value):
            return _any_equals(value)
        flags = value.get("$options", "")
        tests = [self._operator(key, operand, flags) for key, operand in value.items() if key != "$options"]
        return lambda found: all(test(found) for test in tests)

    def _operator(self, name: str, operand: Any, flags: object) -> Condition:
        operand = _plain_value(operand)
        if name in ("$in", "$nin", "$all"):
            return self._of_list(name, operand)
        if name in _COMPARISONS:
            compare = _COMPARISONS[name]
            return lambda found: any(_comparable(item, operand) and compare(item, operand) for item in _spread(found))
        if name == "$not":
            inner = self._condition(operand) if isinstance(operand, dict) else self._regex(operand, "")
            return lambda found: not inner(found)
        return self._regex(operand, flags) if name == "$regex" else _plain(name, operand)

    def _of_list(self, name: str, operand: object) -> Condition:
        if not isinstance(operand, list):
            raise InvalidValue(_FILTERS, f"{name} needs a list.")
        self._clauses += len(operand) // 100
        tests = [_any_equals(_plain_value(member)) for member in operand]
        if name == "$in":
            return lambda found: any(test(found) for test in tests)
        if name == "$nin":
            return lambda found: not any(test(found) for test in tests)
        return lambda found: bool(tests) and all(test(found) for test in tests)

    def _regex(self, pattern: object, flags: object) -> Condition:
        if not isinstance(pattern, str):
            raise InvalidValue(_FILTERS, "a regular expression is text.")
        if len(pattern) > MAX_PATTERN:
            raise InvalidValue(_FILTERS, f"a regular expression has more than {MAX_PATTERN} characters.")
        if not isinstance(flags, str) or set(flags) - set(_FLAGS):
            raise InvalidValue(_FILTERS, "$options are letters of imsx.")
        # Upper bound of a pattern's size when its nested counted repeats are expanded.
        self._left_size -= len(pattern) * math.prod(max(1, int(count)) for count in _COUNT.findall(pattern))
        if self._left_size < 0 or _UNBOUNDED.search(pattern):
            raise InvalidValue(_FILTERS, "its regular expressions are too large.")
        import regex  # noqa: PLC0415 - slow to import, and few searches need it

        try:
            options = sum(getattr(regex, _FLAGS[letter]) for letter in set(flags))
            search = regex.compile(pattern, options, cache_pattern=False).search
        except (regex.error, RecursionError, OverflowError) as error:
            raise InvalidValue(_FILTERS, f"the regular expression {pattern!r} is wrong ({error}).") from None
        return lambda found: any(isinstance(text, str) and self._found(search, text) for text in _spread(found))

    def _found(self, search: Callable[..., object], text: str) -> bool:
        began = time.monotonic()
        try:
            return search(text, timeout=max(self._left_s, 0.001)) is not None
        except TimeoutError:
            raise InvalidValue(_FILTERS, "its regular expressions take too long.") from None
        finally:
            self._left_s -= time.monotonic() - began


def _plain_value(value: Any) -> Any:
    """Convert a value of MongoDB's extended JSON (an id, or a date) to its form in documents here.

    Raises:
        InvalidValue: `filters`; the date is invalid.
    """
    match value:
        case {"$oid": str(object_id), **rest} if not rest:
            return object_id
        case {"$date": str(text), **rest} if not rest:
            try:
                moment = datetime.fromisoformat(text)
                return iso(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
            except (ValueError, OverflowError):
                raise InvalidValue(_FILTERS, "a $date looks like 2031-05-04T10:00:00Z.") from None
        case {"$date": int(milliseconds), **rest} if not rest:
            try:
                return iso(datetime.fromtimestamp(milliseconds / 1000, UTC))
            except (ValueError, OverflowError, OSError):
                raise InvalidValue(_FILTERS, "a $date as a number is milliseconds since 1970.") from None
    return value


def _plain(name: str, operand: object) -> Condition:
    if name in ("$eq", "$ne"):
        equals = _any_equals(operand)
        return equals if name == "$eq" else lambda found: not equals(found)
    if name == "$exists":
        return lambda found: bool(found) == bool(operand)
    if name == "$size" and isinstance(operand, int):
        return lambda found: any(isinstance(value, list) and len(value) == operand for value in found)
    raise InvalidValue(_FILTERS, f"{name} is unknown here.")


def _values(document: Any, words: list[str]) -> list[Any]:
    """Return all values at a path; a list on the way is searched member by member, or by index."""
    if not words:
        return [document]
    if isinstance(document, Mapping):
        # A key may itself contain dots, as in notes: the longest matching one is used.
        for length in range(len(words), 0, -1):
            key = ".".join(words[:length])
            if key in document:
                return _values(document[key], words[length:])
        return []
    if isinstance(document, list):
        if words[0].isdecimal() and int(words[0]) < len(document):
            return _values(document[int(words[0])], words[1:])
        return [value for member in document for value in _values(member, words)]
    return []


def _spread(found: list[Any]) -> Iterable[Any]:
    for value in found:
        yield value
        if isinstance(value, list):
            yield from value


def _any_equals(wanted: Any) -> Condition:
    if wanted is None:
        return lambda found: not found or any(value is None for value in _spread(found))

    def equals(value: Any) -> bool:
        if isinstance(wanted, str) and isinstance(value, dict) and value.keys() == {"$oid"}:
            value = value["$oid"]
        return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)

    return lambda found: any(equals(value) for value in _spread(found))


def _comparable(value: Any, bound: Any) -> bool:
    if isinstance(value, bool) or isinstance(bound, bool):
        return isinstance(value, bool) and isinstance(bound, bool)
    numbers = isinstance(value, int | float) and isinstance(bound, int | float)
    return numbers or (isinstance(value, str) and isinstance(bound, str))


_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$gt": lambda value, bound: value > bound,
    "$gte": lambda value, bound: value >= bound,
    "$lt": lambda value, bound: value < bound,
    "$lte": lambda value, bound: value <= bound,
}


def _order(value: Any) -> tuple[int, Any]:
    """Return a key that sorts values of any type as MongoDB does: null, numbers, texts, the rest."""
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 4, value
    if isinstance(value, int | float):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, str(value))


def _is_sort_entry(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):  # noqa: PLR2004 - a pair
        return False
    return isinstance(entry[1], str | int) and not isinstance(entry[1], bool) and entry[1] in _DIRECTIONS


def _copy_path(document: Any, words: list[str], into: dict[str, Any]) -> None:
    if not isinstance(document, Mapping):
        return
    for length in range(len(words), 0, -1):
        key = ".".join(words[:length])
        if key not in document:
            continue
        rest = words[length:]
        if rest and isinstance(document[key], Mapping):
            child = into.setdefault(key, {})
            _copy_path(document[key], rest, child)
        else:
            into[key] = document[key]
        return
