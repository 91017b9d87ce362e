"""Filters of a source (part 3, section 3.5.8) as bindings: Qpid's legacy ones, which RabbitMQ's clients know too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pulpit.amqp.amqp10.codec import Described
from pulpit.amqp.amqp10.words import INVALID_FIELD, TOPIC_FILTER
from pulpit.broker import tables
from pulpit.broker.dialect10.addresses import MAX_LENGTH
from pulpit.broker.dialect10.fields import to_entries
from pulpit.broker.dialect10.refusals import LinkRefusal
from pulpit.broker.exchanges.exchange import Exchange

DIRECT: Final = "apache.org:legacy-amqp-direct-binding:string"
HEADERS: Final = "apache.org:legacy-amqp-headers-binding:map"
CODES: Final = {0x0000468C00000000: DIRECT, 0x0000468C00000001: TOPIC_FILTER, 0x0000468C00000002: HEADERS}
MAX_FILTERS: Final = 256
_EVERYTHING: Final = {"topic": "#"}


@dataclass(frozen=True, slots=True)
class Bound:
    """One binding; `raw` are the arguments as a table."""

    key: str
    arguments: Mapping[str, Any]
    raw: bytes


def bindings(exchange: Exchange, key: str | None, filters: Mapping[str, Any]) -> tuple[list[Bound], dict[str, Any]]:
    """What a source on an exchange is bound by, and those of its filters that are obeyed; without any, everything.

    Raises:
        LinkRefusal: a filter that is known has a value that cannot be.
    """
    if len(filters) > MAX_FILTERS:
        raise LinkRefusal(INVALID_FIELD, f"a source has at most {MAX_FILTERS} filters")
    obeyed = {name: value for name, value in filters.items() if _kind(value) is not None}
    bound = [_bound(name, value) for name, value in obeyed.items()]
    if key is not None:
        bound.append(_by_key(key))
    return bound or [_by_key(_EVERYTHING.get(exchange.type, ""))], obeyed


def _kind(value: Any) -> str | None:
    if not isinstance(value, Described):
        return None
    kind = CODES.get(value.descriptor, value.descriptor) if isinstance(value.descriptor, int) else value.descriptor
    return str(kind) if kind in (DIRECT, TOPIC_FILTER, HEADERS) else None


def _bound(name: str, described: Described) -> Bound:
    value = described.value
    if _kind(described) == HEADERS:
        if not isinstance(value, dict):
            raise LinkRefusal(INVALID_FIELD, f"the filter '{name}' is no map")
        raw = tables.join(to_entries(value))
        return Bound("", tables.read_table(raw)[0], raw)
    if not isinstance(value, str):
        raise LinkRefusal(INVALID_FIELD, f"the filter '{name}' is no text")
    return _by_key(str(value))


def _by_key(key: str) -> Bound:
    if len(key.encode()) > MAX_LENGTH:
        raise LinkRefusal(INVALID_FIELD, f"a binding key has at most {MAX_LENGTH} bytes")
    return Bound(key, {}, b"\0\0\0\0")
