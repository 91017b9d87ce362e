# SPDX-License-Identifier: Apache-2.0
"""The ways to brokers outside: AMQP 0-9-1 and 1.0, for deliveries and subscribers."""

from typing import Final

RESERVED_PREFIX: Final = "amq."
"""Begins the names of exchanges that belong to brokers, and are never created (AMQP 0-9-1 section 3.1.3)."""
