# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next try, as pure functions."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?\Z")
_ENDLESS: Final = 10**9
"""Seconds; what asks for more is read as this."""


def delay(attempts: int, *, first: timedelta, longest: timedelta, random: float) -> timedelta:
    """The pause after `attempts` failures: doubling from `first`, never above `longest`, jittered downwards.

    `random` is a number from 0 up to 1. The result lies between half of the full pause and all of it, so that many
    who failed at one moment do not all come back at one moment, and nobody hammers.
    """
    doublings = min(max(attempts - 1, 0), 62)
    full = min(first * 2**doublings, longest) if doublings < 40 else longest  # noqa: PLR2004 - timedelta overflows above
    return full * (1 - random / 2)


def retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Read `Retry-After`, seconds or a date (RFC 9110 section 10.2.3); nonsense, zero and the past count as absent.

    Fractions are not in the specification and sent all the same: they are rounded up to whole seconds.
    """
    pause = _asked_for((text or "").strip(), now)
    if pause is None or pause <= timedelta(0):
        return None
    return timedelta(seconds=math.ceil(pause.total_seconds()))


def _asked_for(text: str, now: datetime) -> timedelta | None:
    if _SECONDS.match(text):
        return timedelta(seconds=min(float(text), _ENDLESS))
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - every command imports this module, few need a date

    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
