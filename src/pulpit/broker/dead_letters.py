"""Conversion of a message to a dead letter: new headers, and new routing keys."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pulpit.amqp.amqp091 import tables
from pulpit.broker import properties
from pulpit.broker.message import Message
from pulpit.broker.method_codec import short_string

COPIES: Final = (b"CC", b"BCC")


class DeathReason(StrEnum):
    """Reasons for dead-lettering, as in `x-death`."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"
    DELIVERY_LIMIT = "delivery_limit"


def dead_letter(
    message: Message, *, queue: str, reason: DeathReason, exchange: str, key: str | None, seconds: int
) -> tuple[Message, list[str]]:
    """Return the message for the dead-letter exchange, and its routing keys.

    Without a dead-letter routing key the message keeps its own, including CC; BCC is hidden from consumers.
    """
    before = message.properties
    headers = before.raw_headers()
    keys = [message.routing_key, *copy_keys(before.headers(), "CC")]
    hidden = (b"BCC",) if key is None else COPIES
    kept = [(name, value) for name, value in headers if name not in hidden]
    death = _death(message, queue=queue, reason=reason, keys=keys, seconds=seconds)
    after = properties.with_part(before, "headers", tables.join(_with_death(kept, death)))
    after = properties.with_part(after, "expiration", None)
    if key is not None:
        after.has_copies = False
    routing_key = message.routing_key if key is None else key
    address = short_string(exchange) + short_string(routing_key)
    header = properties.write_header(len(message.body), after)
    dead = Message(exchange, routing_key, address, header, message.body, after)
    return dead, (keys + copy_keys(before.headers(), "BCC") if key is None else [key])


def copy_keys(headers: Mapping[str, object], name: str) -> list[str]:
    """Return the further routing keys that the sender gave in CC or BCC."""
    value = headers.get(name)
    return [key for key in value if isinstance(key, str)] if isinstance(value, list) else []


def is_cycle(message: Message, queue: str) -> bool:
    """Whether the message has died in this queue before without having been rejected since."""
    deaths = message.properties.headers().get("x-death")
    for death in deaths if isinstance(deaths, list) else ():
        if not isinstance(death, dict):
            continue
        if death.get("reason") == DeathReason.REJECTED:
            return False
        if death.get("queue") == queue:
            return True
    return False


def _death(message: Message, *, queue: str, reason: DeathReason, keys: list[str], seconds: int) -> dict[str, bytes]:
    """Return one entry of `x-death`, each value with its type."""
    death = {
        "count": tables.long(1),
        "reason": tables.long_string(reason),
        "queue": tables.long_string(queue),
        "time": tables.timestamp(seconds),
        "exchange": tables.long_string(message.exchange),
        "routing-keys": tables.array(map(tables.long_string, keys)),
    }
    expiration = message.properties.expiration
    if expiration is not None:
        death["original-expiration"] = tables.long_string(expiration)
    return death


def _with_death(headers: list[tuple[bytes, bytes]], death: dict[str, bytes]) -> list[tuple[bytes, bytes]]:
    """Put the entry in front of the others; for the same queue and reason only the count is increased.

    Foreign entries may repeat a queue and reason, or lack a count: they are merged.
    """
    named = dict(headers)
    earlier: dict[tuple[bytes | None, bytes | None], list[dict[str, bytes]]] = {}
    for entry in _raw_deaths(named.get(b"x-death")):
        earlier.setdefault((entry.get("queue"), entry.get("reason")), []).append(entry)
    again = earlier.pop((death["queue"], death["reason"]), None)
    merges = any(len(entries) > 1 for entries in (again or (), *earlier.values()))
    newest = death
    if again is not None:
        newest = again[0] | {"count": tables.long(_count(again[0], len(again) if merges else 0) + 1)}
    others = [
        entries[0] | {"count": tables.long(_count(entries[0], len(entries)))} if merges else entries[0]
        for entries in earlier.values()
    ]
    values = (tables.nested([(name.encode(), value) for name, value in entry.items()]) for entry in (newest, *others))
    if b"x-death" not in named:
        for name in ("exchange", "queue", "reason"):
            named[b"x-first-death-" + name.encode()] = death[name]
    named[b"x-death"] = tables.array(values)
    return list(named.items())


def _count(death: Mapping[str, bytes], otherwise: int) -> int:
    count = tables.read_value(death["count"]) if "count" in death else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**62 else otherwise


def _raw_deaths(raw: bytes | None) -> list[dict[str, bytes]]:
    """Split an `x-death` header into its entries; an invalid one has none."""
    if raw is None or raw[:1] != b"A":
        return []
    return [
        {name.decode("utf-8", "surrogateescape"): value for name, value in tables.split(item, 1)}
        for item in tables.items(raw)
        if item[:1] == b"F"
    ]
