"""An event as an AMQP 0-9-1 message: routing key, properties, and their encoding.

The content headers of a type and a repository differ only in numbers, identifiers and times. Everything else is
encoded once, as a template, and each event costs one formatting of bytes. A test compares the result with pika's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from pika.spec import BasicProperties

from pulpit.amqp.amqp091 import tables
from pulpit.amqp.amqp091.confirm_channel import Outgoing
from pulpit.clock import iso_micro
from pulpit.delivery.headers import attributes
from pulpit.delivery.notifiers.amqp_listener import APP_ID, LONGEST_KEY, PERSISTENT, Format, delivered, routing_key
from pulpit.delivery.notifiers.port import DELIVERED
from pulpit.events import Event

MOST_TEMPLATES: Final = 1_000
"""Templates that are cached, mostly one for each pair of type and repository."""

_FLAGS: Final = (
    BasicProperties.FLAG_CONTENT_TYPE
    | BasicProperties.FLAG_CONTENT_ENCODING
    | BasicProperties.FLAG_HEADERS
    | BasicProperties.FLAG_DELIVERY_MODE
    | BasicProperties.FLAG_MESSAGE_ID
    | BasicProperties.FLAG_TIMESTAMP
    | BasicProperties.FLAG_TYPE
    | BasicProperties.FLAG_APP_ID
)
_LENGTH: Final = Struct(">I")
_pack: Final = Struct(">Q").pack


def headers(event: Event, source: str, form: Format) -> dict[str, str | int]:
    """The header table: what no standard property holds, and the attributes of CloudEvents if they are asked for."""
    said: dict[str, str | int] = {
        "qpid.subject": event.subject,
        "pulpit-number": event.number,
        "traceparent": event.traceparent,
    }
    if event.repo_id is not None:
        said["pulpit-repo-id"] = event.repo_id
    if event.repo_number is not None:
        said["pulpit-repo-number"] = event.repo_number
    if form is Format.CLOUDEVENTS:
        said |= {f"cloudEvents:{name}": text for name, text in attributes(event, source).items()}
    return said


def properties(event: Event, source: str, form: Format = Format.PULP) -> BasicProperties:
    """The basic properties; identical on every attempt."""
    return BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=PERSISTENT,
        message_id=event.id,
        timestamp=int(event.occurred_at.timestamp()),
        type=event.event_type,
        app_id=APP_ID,
        headers=headers(event, source, form),
    )


@dataclass(frozen=True, slots=True)
class _Template:
    routing_key: str
    properties: bytes
    """Of the content header (sections 4.2.6.1 and 4.2.5.5), with placeholders for the values that differ per event."""


class MessageWriter:
    """Writes the messages of listeners that share a routing key template and a header format."""

    def __init__(self, key_template: str | None, source: str, form: Format) -> None:
        self._key_template: Final = key_template
        self.source: Final = source
        self.form: Final = form
        self._templates: Final[dict[tuple[object, ...], _Template]] = {}
        self.has_cut = False
        """Whether a routing key was too long for AMQP; `delivered` reports which."""

    def write(self, event: Event) -> Outgoing:
        identity, trace = event.id.encode(), event.traceparent.encode()
        key = (event.event_type, event.repo_id, event.result, event.repo_number is None, len(identity), len(trace))
        template = self._templates.get(key)
        if template is None:
            template = self._keep(key, event)
        values = {
            b"number": _pack(event.number),
            b"trace": trace,
            b"repo_number": _pack(event.repo_number or 0),
            b"id": identity,
            b"moment": _pack(int(event.occurred_at.timestamp())),
        }
        if self.form is Format.CLOUDEVENTS:
            values[b"time"] = iso_micro(event.occurred_at).encode()
        return Outgoing(template.routing_key, template.properties % values, event.body.encode())

    def _keep(self, key: tuple[object, ...], event: Event) -> _Template:
        if len(self._templates) >= MOST_TEMPLATES:
            self._templates.clear()
        self.has_cut = self.has_cut or delivered(event, self._key_template) is not DELIVERED
        template = self._templates[key] = _Template(
            routing_key=routing_key(event, self._key_template),
            properties=_properties(event, headers(event, self.source, self.form)),
        )
        return template


# Bytes with holes -----------------------------------------------------------------------------------------------------

_HOLES: Final[Mapping[str, bytes]] = {
    "pulpit-number": b"%(number)b",
    "pulpit-repo-number": b"%(repo_number)b",
    "traceparent": b"%(trace)b",
    "cloudEvents:id": b"%(id)b",
    "cloudEvents:time": b"%(time)b",
}
"""Placeholders for the values that differ from event to event."""


def _properties(event: Event, table: Mapping[str, str | int]) -> bytes:
    length = 0
    entries = []
    for name, value in table.items():
        raw = _pack(value) if isinstance(value, int) else value.encode()
        entry = _short(name) + (tables.long(value) if isinstance(value, int) else tables.long_string(raw))
        length += len(entry)
        hole = _HOLES.get(name)
        entries.append(_escaped(entry) if hole is None else _escaped(entry[: len(entry) - len(raw)]) + hole)
    before = _FLAGS.to_bytes(2, "big") + _short("application/json") + _short("utf-8") + _LENGTH.pack(length)
    identity = bytes((PERSISTENT, len(event.id.encode())))
    after = _short(event.event_type) + _short(APP_ID)
    return b"".join((_escaped(before), *entries, _escaped(identity), b"%(id)b%(moment)b", _escaped(after)))


def _short(text: str) -> bytes:
    """Encode a short string (AMQP 0-9-1 section 4.2.5.3), cut at its 255 bytes."""
    raw = text.encode()[:LONGEST_KEY].decode(errors="ignore").encode()
    return bytes((len(raw),)) + raw


def _escaped(constant: bytes) -> bytes:
    return constant.replace(b"%", b"%%")
