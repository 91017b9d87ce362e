"""What other distributions add to this installation, by entry points."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def installed(group: str) -> Sequence[EntryPoint]:
    """The entry points of a group."""
    return [entry for entry in _all(tuple(sys.path)) if entry.group == group]


@lru_cache(maxsize=1)
def _all(_path: tuple[str, ...]) -> Sequence[EntryPoint]:
    """Read once for a search path: for one group as for all, the metadata of every distribution is looked through."""
    every = entry_points()
    return [entry for group in every.groups for entry in every.select(group=group)]
