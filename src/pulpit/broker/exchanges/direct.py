"""The direct exchange: the routing key is the binding key."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pulpit.broker.exchanges.port import Binding, Destination
from pulpit.broker.refusals import Refusal


class Direct:
    """A dictionary from key to bindings."""

    by_headers: ClassVar[bool] = False
    ignores_keys: ClassVar[bool] = False

    def __init__(self) -> None:
        self._by_key: dict[str, list[Binding]] = {}

    def check(self, arguments: Mapping[str, Any]) -> Refusal | None:  # noqa: ARG002 - the port's
        """Any arguments will do."""
        return None

    def add(self, binding: Binding) -> None:
        """File it under its key."""
        self._by_key.setdefault(binding.key, []).append(binding)

    def remove(self, binding: Binding) -> None:
        """Take it out; the last one takes its key with it."""
        bindings = self._by_key[binding.key]
        bindings.remove(binding)
        if not bindings:
            del self._by_key[binding.key]

    def match(self, key: str, headers: Mapping[str, Any]) -> Iterable[Destination]:  # noqa: ARG002 - the port's
        """Everything filed under the key."""
        return [binding.destination for binding in self._by_key.get(key, ())]
