# SPDX-License-Identifier: Apache-2.0
"""Identifiers that sort by creation time."""

import hashlib
import os
import time
import uuid
from datetime import datetime

_OBJECT_ID_TICK_NS = 1_000_000_000 / 2**24
_62_BITS = 2**62 - 1


def uuid7() -> str:
    """Make a UUID of version 7 (RFC 9562 section 5.7); its text sorts by time.

    48 bits of milliseconds, 12 bits of the millisecond's fraction (section 6.2, method 3), 62 random bits.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") >> 2
    digits = f"{(milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0b10 << 62) | random:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"  # a UUID object takes longer


def derived_uuid7(moment: datetime, seed: str) -> str:
    """Make a UUIDv7 that is the same for the same moment and seed: the bits that are not time come from a hash."""
    milliseconds = int(moment.timestamp() * 1000)
    bits = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:10], "big")
    return str(
        uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | ((bits >> 68) << 64) | (0b10 << 62) | bits & _62_BITS)
    )


def object_id() -> str:
    """Make an id of the form that Pulp 2's clients know: 24 hexadecimal digits that sort by time.

    Four bytes of seconds, as in MongoDB; three bytes of the second's fraction and five random ones after them.
    """
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    fraction = int(nanoseconds / _OBJECT_ID_TICK_NS)
    return f"{seconds:08x}{fraction:06x}{os.urandom(5).hex()}"
