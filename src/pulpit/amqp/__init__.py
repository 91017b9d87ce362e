# SPDX-License-Identifier: Apache-2.0
"""Clients of external brokers, for AMQP 0-9-1 and 1.0; used by deliveries and subscribers."""

from typing import Final

RESERVED_PREFIX: Final = "amq."
"""Prefix of exchange names that are reserved for brokers, and never declared (AMQP 0-9-1 section 3.1.3)."""


class BrokerUnavailable(Exception):
    """The broker is unavailable; the text says why, without any secret."""

    def __init__(self, reason: str, *, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code
