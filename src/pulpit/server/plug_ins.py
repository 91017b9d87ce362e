"""What other distributions add to this installation, by entry points."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points


def installed(group: str) -> Sequence[EntryPoint]:
    """The entry points of a group."""
    return [entry for entry in _all() if entry.group == group]


@cache
def _all() -> Sequence[EntryPoint]:
    """Read once: for one group as for all, the metadata of every distribution is looked through."""
    every = entry_points()
    return [entry for group in every.groups for entry in every.select(group=group)]
