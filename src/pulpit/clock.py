# SPDX-License-Identifier: Apache-2.0
"""The time, as an argument: whoever needs to know it is handed a clock."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present moment as an aware UTC datetime."""


def system_clock() -> datetime:
    """Read the clock of the machine."""
    return datetime.now(UTC)


def iso(moment: datetime | None) -> str | None:
    """Write a moment as Pulp 2's API does: ISO 8601, UTC, whole seconds, `Z`."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_micro(moment: datetime) -> str:
    """Write a moment with microseconds (RFC 3339), for places where order within a second matters."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
