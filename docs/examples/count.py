# SPDX-License-Identifier: Apache-2.0
"""Counts events by type, and says what is missing."""

import asyncio
import os
from collections import Counter

import pulpit


def report(gap: pulpit.Gap) -> None:
    """Say what did not come."""
    print(f"missing of {gap.repo_id}: {gap.first} to {gap.last}", flush=True)


async def main() -> None:
    """Take everything: only then does a missing number prove something."""
    counts: Counter[str] = Counter()
    async with pulpit.subscribe(
        os.environ["PULPIT_AMQP_URL"], exchange="pulp", queue="counter", on_gap=report
    ) as events:
        async for event in events:
            counts[event.event_type] += 1
            print(event.event_type, counts[event.event_type], flush=True)


asyncio.run(main())
