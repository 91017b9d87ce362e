"""A message as it arrived, and what became of it."""

import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

_ESCAPED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What arrived, before anybody has judged it."""

    subject: str
    """The routing key of AMQP 0-9-1, the property `subject` of AMQP 1.0."""
    exchange: str
    properties: Mapping[str, Any]
    """Those that were set, by their names in AMQP 0-9-1 with `_` for `-`: `message_id`, `content_type`, …"""
    headers: Mapping[str, Any]
    """The headers of AMQP 0-9-1, the application properties of AMQP 1.0."""
    body: bytes
    redelivered: bool = False
    """Whether the broker has handed it out before, to whomever; false proves nothing."""


def parse_body(body: bytes) -> Any:
    """The body as JSON, else as text, else as it is."""
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        pass
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body


def plain(value: Any) -> Any:
    """Turn a value of an AMQP table into one that JSON has (AMQP 0-9-1 section 4.2.5.5, AMQP 1.0 part 1)."""
    match value:
        case Mapping():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "backslashreplace")
        case str() | int() | None:
            return value
        case date():
            return value.isoformat()
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


def neutral(text: str, keep: str = "") -> str:
    r"""Show characters that would steer a terminal as `\x1b` or `\u202e`, but for those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, keep) for character in text)


def _shown(character: str, keep: str) -> str:
    if character in keep or unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii") if character != "\\" else character


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
