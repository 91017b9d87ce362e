"""Exchanges: name, type and bindings, which each type stores in the way that makes matching cheap."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias

from pulpit.broker.queue import Queue
from pulpit.broker.refusals import Refusal, precondition_failed
from pulpit.topics import TopicTrie

MODES: Final = ("all", "any", "all-with-x", "any-with-x")
"""Values of `x-match` for a headers exchange."""
_MISSING: Final = object()

BindingKey = tuple[bool, str, str, bytes]
"""Whether the destination is an exchange, its name, the key and the encoded arguments."""
Destination: TypeAlias = "Queue | Exchange"


@dataclass(kw_only=True, slots=True, eq=False)
class Exchange:
    """A durable one is stored; an auto-delete one is deleted with its last binding."""

    name: str
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: bytes = b"\0\0\0\0"
    alternate: str | None = None
    kind: "Kind" = field(init=False)
    bindings: "dict[BindingKey, Binding]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kind = KINDS[self.type]()

    def bind(self, key: BindingKey, destination: Destination, arguments: Mapping[str, object]) -> bool:
        """Add a binding; False if it exists already."""
        if key in self.bindings:
            return False
        binding = Binding(source=self.name, destination=destination, key=key[2], arguments=arguments)
        self.bindings[key] = binding
        self.kind.add(binding)
        return True

    def unbind(self, key: BindingKey) -> bool:
        """Remove a binding; False if there is none."""
        binding = self.bindings.pop(key, None)
        if binding is None:
            return False
        self.kind.remove(binding)
        return True


@dataclass(kw_only=True, slots=True, eq=False)
class Binding:
    """One binding; it is identified by source, destination, key and arguments."""

    source: str
    destination: Destination
    key: str
    arguments: Mapping[str, object]


class Kind(ABC):
    """The bindings of one exchange, arranged for cheap matching."""

    by_headers: ClassVar[bool] = False
    """Whether the result depends on more than the key, so that it must not be cached."""
    ignores_keys: ClassVar[bool] = False
    """Whether it does not depend on the key at all."""

    def check(self, arguments: Mapping[str, object]) -> Refusal | None:  # noqa: ARG002 - most kinds ignore them
        """Return what is wrong with the arguments of a new binding, if anything."""
        return None

    @abstractmethod
    def add(self, binding: Binding) -> None:
        """Add a new binding."""

    @abstractmethod
    def remove(self, binding: Binding) -> None:
        """Remove an existing binding."""

    @abstractmethod
    def match(self, key: str, headers: Mapping[str, object]) -> Iterable[Destination]:
        """Return the destinations of all matching bindings, possibly repeated, without side effects."""


class Direct(Kind):
    """The routing key is the binding key."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Binding]] = {}

    def add(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.key, []).append(binding)

    def remove(self, binding: Binding) -> None:
        bindings = self._by_key[binding.key]
        bindings.remove(binding)
        if not bindings:
            del self._by_key[binding.key]

    def match(self, key: str, headers: Mapping[str, object]) -> Iterable[Destination]:  # noqa: ARG002 - the base class's
        return [binding.destination for binding in self._by_key.get(key, ())]


class Fanout(Kind):
    """Every binding matches."""

    ignores_keys: ClassVar[bool] = True

    def __init__(self) -> None:
        self._bindings: dict[Binding, None] = {}

    def add(self, binding: Binding) -> None:
        self._bindings[binding] = None

    def remove(self, binding: Binding) -> None:
        del self._bindings[binding]

    def match(self, key: str, headers: Mapping[str, object]) -> Iterable[Destination]:  # noqa: ARG002 - the base class's
        return [binding.destination for binding in self._bindings]


class Topic(Kind):
    """Binding keys are patterns in a trie; those that do not match cost nothing."""

    def __init__(self) -> None:
        self._trie: TopicTrie[Binding] = TopicTrie()

    def add(self, binding: Binding) -> None:
        self._trie.add(binding.key, binding)

    def remove(self, binding: Binding) -> None:
        self._trie.remove(binding.key, binding)

    def match(self, key: str, headers: Mapping[str, object]) -> Iterable[Destination]:  # noqa: ARG002 - the base class's
        return [binding.destination for binding in self._trie.match(key)]


class Headers(Kind):
    """Bindings with the headers that they require; `x-match` says whether all or any must match."""

    by_headers: ClassVar[bool] = True
    ignores_keys: ClassVar[bool] = True

    def __init__(self) -> None:
        self._demands: dict[Binding, tuple[bool, list[tuple[str, object]]]] = {}

    def check(self, arguments: Mapping[str, object]) -> Refusal | None:
        """Only the known values of `x-match` are allowed; the default is all."""
        mode = arguments.get("x-match", "all")
        if not isinstance(mode, str):
            return precondition_failed("Invalid x-match field type; expected longstr")
        if mode not in MODES:
            return precondition_failed(
                f'Invalid x-match field value <<"{mode}">>; expected all, any, all-with-x, or any-with-x'
            )
        return None

    def add(self, binding: Binding) -> None:
        """Prepare what the binding requires; names with `x-` only count in the modes `…-with-x`."""
        mode = str(binding.arguments.get("x-match", "all"))
        with_x = mode.endswith("-with-x")
        demands = [
            (name, value)
            for name, value in binding.arguments.items()
            if name != "x-match" and (with_x or not name.startswith("x-"))
        ]
        self._demands[binding] = (mode.startswith("all"), demands)

    def remove(self, binding: Binding) -> None:
        del self._demands[binding]

    def match(self, key: str, headers: Mapping[str, object]) -> Iterable[Destination]:  # noqa: ARG002 - the base class's
        matching = []
        for binding, (needs_all, demands) in self._demands.items():
            hits = (_same(headers.get(name, _MISSING), value) for name, value in demands)
            if all(hits) if needs_all else any(hits):
                matching.append(binding.destination)
        return matching


def _same(sent: object, wanted: object) -> bool:
    """Compare values; a void value only requires the header, and booleans are not numbers."""
    if sent is _MISSING:
        return False
    if wanted is None:
        return True
    if isinstance(sent, bytes) != isinstance(wanted, bytes):
        sent, wanted = _as_text(sent), _as_text(wanted)
    return isinstance(sent, bool) == isinstance(wanted, bool) and bool(sent == wanted)


def _as_text(value: object) -> object:
    """A binary as the text that its bytes are; some clients send texts as one, some as the other."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


KINDS: Final[Mapping[str, Callable[[], Kind]]] = {
    "direct": Direct,
    "fanout": Fanout,
    "headers": Headers,
    "topic": Topic,
}
