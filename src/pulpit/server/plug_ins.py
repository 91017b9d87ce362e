"""What other distributions add to this installation, by entry points."""

from functools import cache
from importlib.metadata import EntryPoints, entry_points


def installed(group: str) -> EntryPoints:
    """The entry points of a group."""
    return _all().select(group=group)


@cache
def _all() -> EntryPoints:
    """Read once: for one group as for all, the metadata of every distribution is looked through."""
    return entry_points()
