"""What a listener gets whose stored configuration cannot be used: it fails with the reason until somebody mends it."""

from collections.abc import Sequence
from typing import Any, Final

from pulpit.delivery.notifiers.port import Outcome, Retry
from pulpit.errors import InvalidValue
from pulpit.events import Event


class Misconfigured:
    """Tries nothing."""

    def __init__(self, complaint: InvalidValue) -> None:
        self._reason: Final = str(complaint)

    async def prepare(self) -> None:
        """Have nothing to prepare."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:  # noqa: ARG002 - the port's form
        """Say what is wrong."""
        return [Retry(reason=self._reason)]

    def describe(self, event: Event) -> dict[str, Any]:  # noqa: ARG002 - the port's form
        """Say that nothing would be sent."""
        return {}

    async def close(self) -> None:
        """Have nothing to close."""
