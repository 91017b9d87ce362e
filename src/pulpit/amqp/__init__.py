# SPDX-License-Identifier: Apache-2.0
"""Clients of external brokers, for AMQP 0-9-1 and 1.0; used by deliveries and subscribers."""

from typing import Final

RESERVED_PREFIX: Final = "amq."
"""Prefix of exchange names that are reserved for brokers, and never declared (AMQP 0-9-1 section 3.1.3)."""
