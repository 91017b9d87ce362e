"""The headers exchange: a binding's arguments are compared with the message's headers."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from pulpit.broker.exchanges.port import Binding, Destination
from pulpit.broker.refusals import Refusal, precondition_failed

MODES: Final = ("all", "any", "all-with-x", "any-with-x")
_MISSING: Final = object()


class Headers:
    """Bindings with what each of them demands; `x-match` says whether all or any of it must hold."""

    by_headers: ClassVar[bool] = True
    ignores_keys: ClassVar[bool] = True

    def __init__(self) -> None:
        self._demands: dict[Binding, tuple[bool, list[tuple[str, Any]]]] = {}

    def check(self, arguments: Mapping[str, Any]) -> Refusal | None:
        """Only the known modes of `x-match` are allowed; without one, all must match."""
        mode = arguments.get("x-match", "all")
        if not isinstance(mode, str):
            return precondition_failed("Invalid x-match field type; expected longstr")
        if mode not in MODES:
            return precondition_failed(
                f'Invalid x-match field value <<"{mode}">>; expected all, any, all-with-x, or any-with-x'
            )
        return None

    def add(self, binding: Binding) -> None:
        """Prepare what the binding demands; names with `x-` count only in the modes that say so."""
        mode = binding.arguments.get("x-match", "all")
        with_x = mode.endswith("-with-x")
        demands = [
            (name, value)
            for name, value in binding.arguments.items()
            if name != "x-match" and (with_x or not name.startswith("x-"))
        ]
        self._demands[binding] = (mode.startswith("all"), demands)

    def remove(self, binding: Binding) -> None:
        """Let it go."""
        del self._demands[binding]

    def match(self, key: str, headers: Mapping[str, Any]) -> Iterable[Destination]:  # noqa: ARG002 - the port's
        """Look at each binding in turn."""
        return [binding.destination for binding, demand in self._demands.items() if _fits(headers, *demand)]


def _fits(headers: Mapping[str, Any], needs_all: bool, demands: list[tuple[str, Any]]) -> bool:
    hits = (_same(headers.get(name, _MISSING), value) for name, value in demands)
    return all(hits) if needs_all else any(hits)


def _same(sent: Any, wanted: Any) -> bool:
    """Compare values; a wanted void asks only that the header is there, and truth is no number."""
    if sent is _MISSING:
        return False
    if wanted is None:
        return True
    return isinstance(sent, bool) == isinstance(wanted, bool) and bool(sent == wanted)
