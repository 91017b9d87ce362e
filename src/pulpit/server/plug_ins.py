"""Plug-ins of this installation, found by entry points."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def installed(group: str) -> Sequence[EntryPoint]:
    return [entry for entry in _all(tuple(sys.path)) if entry.group == group]


@lru_cache(maxsize=1)
def _all(_path: tuple[str, ...]) -> Sequence[EntryPoint]:
    """Cached per search path: even for one group the metadata of every distribution is searched."""
    every = entry_points()
    return [entry for group in every.groups for entry in every.select(group=group)]
