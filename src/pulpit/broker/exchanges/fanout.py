"""The fanout exchange: every binding matches."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pulpit.broker.exchanges.port import Binding, Destination
from pulpit.broker.refusals import Refusal


class Fanout:
    """Bindings in the order in which they were made."""

    by_headers: ClassVar[bool] = False
    ignores_keys: ClassVar[bool] = True

    def __init__(self) -> None:
        self._bindings: dict[Binding, None] = {}

    def check(self, arguments: Mapping[str, Any]) -> Refusal | None:  # noqa: ARG002 - the port's
        """Any arguments will do."""
        return None

    def add(self, binding: Binding) -> None:
        """Take it in."""
        self._bindings[binding] = None

    def remove(self, binding: Binding) -> None:
        """Let it go."""
        del self._bindings[binding]

    def match(self, key: str, headers: Mapping[str, Any]) -> Iterable[Destination]:  # noqa: ARG002 - the port's
        """All of them."""
        return [binding.destination for binding in self._bindings]
