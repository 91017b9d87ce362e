"""Agreeing on limits: the client takes what the broker proposed, or less."""

from typing import Final

from pulpit.broker.refusals import not_allowed

FRAME_MIN: Final = 4096


def negotiated(name: str, least: int, ours: int, theirs: int) -> int:
    """Take the client's wish if it is within bounds; 0 is no limit, which is more than any."""
    if theirs and theirs < least:
        raise not_allowed(f"negotiated {name} = {theirs} is lower than the minimum allowed value ({least})")
    if ours and (not theirs or theirs > ours):
        extra = "" if theirs else " (no limit)"
        raise not_allowed(f"negotiated {name} = {theirs}{extra} is higher than the maximum allowed value ({ours})")
    return theirs
