"""Judges what a listener may be narrowed by: repositories, results, and how long an event is tried."""

import re
from typing import Any, Final

from pulpit.api.models import ListenerFilterChanges
from pulpit.errors import InvalidValue
from pulpit.store.listeners import GIVE_UP_AFTER

MOST: Final = 100
LONGEST_PATTERN: Final = 255
LONGEST_PATIENCE: Final = 365 * 24 * 3600

_RESULT: Final = re.compile(r"[A-Za-z0-9_-]{1,20}\Z")


def given_filters(body: ListenerFilterChanges) -> dict[str, Any]:
    """The columns of a listener that a request names; null and the empty list take a filter away.

    Raises:
        InvalidValue: a filter that could never match, or a time that is none.
    """
    checks = {"repo_ids": _repo_ids, "results": _results, "give_up_after": _patience}
    return {name: check(getattr(body, name)) for name, check in checks.items() if name in body.model_fields_set}


def _repo_ids(value: object) -> list[str] | None:
    patterns = _texts("repo_ids", value)
    if any(not 0 < len(pattern) <= LONGEST_PATTERN for pattern in patterns):
        raise InvalidValue("repo_ids", f"a pattern has 1 to {LONGEST_PATTERN} characters.")
    return patterns or None


def _results(value: object) -> list[str] | None:
    results = _texts("results", value)
    for result in results:
        if not _RESULT.match(result):
            raise InvalidValue("results", f"{result[:40]!r} is no result such as success, failed or canceled.")
    return results or None


def _patience(value: object) -> int:
    if value is None:
        return GIVE_UP_AFTER
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LONGEST_PATIENCE:
        raise InvalidValue("give_up_after", f"it must be a whole number of seconds from 1 to {LONGEST_PATIENCE}.")
    return value


def _texts(name: str, value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST or not all(isinstance(each, str) for each in value):
        raise InvalidValue(name, f"it must be a list of at most {MOST} texts.")
    return value
