"""How long to wait before the next try, as a pure function."""

from datetime import timedelta


def delay(attempts: int, *, first: timedelta, longest: timedelta, random: float) -> timedelta:
    """The pause after `attempts` failures: doubling from `first`, never above `longest`, jittered downwards.

    `random` is a number from 0 up to 1. The result lies between half of the full pause and all of it, so that many
    who failed at one moment do not all come back at one moment, and nobody hammers.
    """
    doublings = min(max(attempts - 1, 0), 62)
    full = min(first * 2**doublings, longest) if doublings < 40 else longest  # noqa: PLR2004 - timedelta overflows above
    return full * (1 - random / 2)
