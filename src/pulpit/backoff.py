# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next try, as pure functions."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?\Z")
_ENDLESS: Final = 10**9
"""Seconds; a longer `Retry-After` is read as this."""


def delay(attempts: int, *, first: timedelta, longest: timedelta, random: float) -> timedelta:
    """Return the pause after `attempts` failures: doubling from `first`, capped at `longest`, with downward jitter.

    `random` is a number in [0, 1). The result lies between half of the full pause and all of it, so that clients
    that failed at the same moment do not all retry at the same moment.
    """
    doublings = min(max(attempts - 1, 0), 62)
    full = min(first * 2**doublings, longest) if doublings < 40 else longest  # noqa: PLR2004 - timedelta overflows above
    return full * (1 - random / 2)


def retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Parse `Retry-After`: seconds or a date (RFC 9110 section 10.2.3); `None` for an invalid value, zero or the past.

    The specification allows no fractions, but some servers send them: they are rounded up to whole seconds.
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
