"""The way to nowhere: what a kind of notifier opens that the configuration switches off (Pulp 2's silent no-op)."""

from collections.abc import Sequence
from typing import Any

from pulpit.delivery.notifiers.port import DELIVERED, Outcome
from pulpit.events import Event


class Nowhere:
    """Takes everything."""

    async def prepare(self) -> None:
        """Have nothing to prepare."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Say yes."""
        return [DELIVERED] * len(events)

    def describe(self, event: Event) -> dict[str, Any]:  # noqa: ARG002 - the port's form
        """Say that nothing is sent."""
        return {}

    async def close(self) -> None:
        """Have nothing to close."""
