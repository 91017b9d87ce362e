"""What an exchange kind is: a way to find bindings by routing key and headers."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

from pulpit.broker.refusals import Refusal


class Destination(Protocol):
    """A queue or an exchange, as a binding sees it."""

    name: str


class Binding:
    """One binding; two with the same source, destination, key and arguments are the same one."""

    __slots__ = ("arguments", "destination", "key", "source")

    def __init__(self, *, source: str, destination: Destination, key: str, arguments: Mapping[str, Any]) -> None:
        self.source = source
        self.destination = destination
        self.key = key
        self.arguments = arguments


class Kind(Protocol):
    """The bindings of one exchange, arranged so that matching is cheap.

    `match` answers the destinations of all matching bindings; one may come several times. It has no side effect.
    `by_headers` says whether the answer depends on more than the key, so that it must not be remembered,
    `ignores_keys` whether it does not depend on the key at all.
    """

    by_headers: ClassVar[bool]
    ignores_keys: ClassVar[bool]

    def check(self, arguments: Mapping[str, Any]) -> Refusal | None:
        """What is wrong with the arguments of a new binding, if anything."""

    def add(self, binding: Binding) -> None:
        """Take a new binding in."""

    def remove(self, binding: Binding) -> None:
        """Let a binding go that was added before."""

    def match(self, key: str, headers: Mapping[str, Any]) -> Iterable[Destination]:
        """The destinations for a message."""
