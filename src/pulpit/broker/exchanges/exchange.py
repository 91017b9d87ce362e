"""An exchange: a name, a kind and its bindings."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pulpit.broker.exchanges.direct import Direct
from pulpit.broker.exchanges.fanout import Fanout
from pulpit.broker.exchanges.headers import Headers
from pulpit.broker.exchanges.port import Binding, Destination, Kind
from pulpit.broker.exchanges.topic import Topic

KINDS: Final[Mapping[str, Callable[[], Kind]]] = {
    "direct": Direct,
    "fanout": Fanout,
    "headers": Headers,
    "topic": Topic,
}

BindingKey = tuple[bool, str, str, bytes]
"""Whether the destination is an exchange, its name, the key and the arguments as they were sent."""


class Exchange:
    """A durable one stands in the store; an auto-deleted one goes with its last binding."""

    __slots__ = ("alternate", "arguments", "auto_delete", "bindings", "durable", "internal", "kind", "name", "type")

    def __init__(
        self,
        *,
        name: str,
        type: str,  # noqa: A002 - the word of the protocol
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: bytes = b"\0\0\0\0",
        alternate: str | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        self.alternate = alternate
        self.kind = KINDS[type]()
        self.bindings: dict[BindingKey, Binding] = {}

    def bind(self, key: BindingKey, destination: Destination, arguments: Mapping[str, Any]) -> bool:
        """Add a binding; False when it was there already."""
        if key in self.bindings:
            return False
        binding = Binding(source=self.name, destination=destination, key=key[2], arguments=arguments)
        self.bindings[key] = binding
        self.kind.add(binding)
        return True

    def unbind(self, key: BindingKey) -> bool:
        """Remove a binding; False when there is none."""
        binding = self.bindings.pop(key, None)
        if binding is None:
            return False
        self.kind.remove(binding)
        return True
