"""Messages of AMQP 1.0 in the broker: byte by byte as they came, and what receivers of the other dialect see."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, header

from pulpit.amqp.amqp10 import codec, message
from pulpit.amqp.amqp10.codec import (
    Byte,
    Char,
    Described,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    Ubyte,
    Uint,
    Ulong,
    Ushort,
)
from pulpit.amqp.amqp10.message import Message, Sequences, Value
from pulpit.broker import tables
from pulpit.broker.dialect10.arrival import Arrival, unpack
from pulpit.broker.dialect10.departure import Departures
from pulpit.broker.dialect10.sections import cut
from pulpit.broker.message import Entry, split_head
from pulpit.broker.message import Message as Kept
from pulpit.broker.methods import short_string
from pulpit.broker.properties import read_properties
from pulpit.broker.store import message_from

IDENTITY = UUID("12345678-1234-5678-1234-567812345678")


def kept(data: bytes, exchange: str = "x", key: str = "a.b") -> Kept:
    return Arrival(data).message(exchange, key)


def departed(kept_message: Kept, *, failures: int = 0) -> bytes:
    entry = Entry(id=1, message=kept_message, queue=None, priority=0, expires_at=None)
    entry.failures, entry.redelivered = failures, failures > 0
    return Departures().write(entry)


def bare(data: bytes) -> bytes:
    """The bare message within an annotated one."""
    sections = cut(data)
    return sections.front + sections.body + sections.back


def seen091(kept_message: Kept) -> commands.Basic.Properties:
    """What a receiver of AMQP 0-9-1 sees of the properties, as pamqp reads them."""
    _, value = 0, header.ContentHeader()
    value.unmarshal(kept_message.header)
    return value.properties


def published(body: bytes = b"body", **properties: Any) -> Kept:
    """A message as it comes over AMQP 0-9-1."""
    raw = header.ContentHeader(0, len(body), commands.Basic.Properties(**properties)).marshal()
    return Kept(
        exchange="x",
        routing_key="a.b",
        address=short_string("x") + short_string("a.b"),
        header=raw,
        body=body,
        properties=read_properties(raw),
    )


FULL = Message(
    body=b'{"a": 1}',
    durable=True,
    priority=7,
    ttl=60_000,
    message_id="id-1",
    user_id=b"guest",
    to="/exchanges/x",
    subject="a.b",
    reply_to="/queues/answers%20here",
    correlation_id="id-0",
    content_type="application/json",
    content_encoding="gzip",
    creation_time=1_700_000_000_123,
    group_id="group",
    application_properties={"cloudEvents:id": "1", "number": 5, "flag": True},
    annotations={Symbol("x-opt-note"): "kept", Symbol("other"): 3},
    footer={Symbol("f"): 1},
)


def test_properties_cross_to_the_other_dialect() -> None:
    properties = seen091(kept(message.encode(FULL)))
    assert properties.delivery_mode == 2
    assert properties.priority == 7
    assert properties.expiration == "60000"
    assert properties.message_id == "id-1"
    assert properties.user_id == "guest"
    assert properties.reply_to == "answers here"
    assert properties.correlation_id == "id-0"
    assert properties.content_type == "application/json"
    assert properties.content_encoding == "gzip"
    assert properties.timestamp is not None
    assert int(properties.timestamp.timestamp()) == 1_700_000_000
    assert properties.headers == {"cloudEvents:id": "1", "number": 5, "flag": True, "x-opt-note": "kept"}


def test_a_message_that_stays_in_its_dialect_is_byte_by_byte_the_same() -> None:
    data = message.encode(FULL)
    out = departed(kept(data), failures=2)
    assert bare(out) == bare(data)
    found = message.decode(out)
    assert (found.durable, found.priority, found.ttl) == (True, 7, 60_000)
    assert (found.first_acquirer, found.delivery_count) == (False, 2)
    assert found.annotations == {"x-opt-note": "kept", "other": 3, "x-exchange": "x", "x-routing-key": "a.b"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x" * 300,
        Value("text"),
        Value(None),
        Value({"a": [1, 2.5, {"b": b"bytes"}]}),
        Sequences(([1, 2], ["three"])),
    ],
    ids=repr,
)
def test_bodies_of_every_kind_stay_as_they_are(body: bytes | Value | Sequences) -> None:
    data = message.encode(Message(body=body, subject="s"))
    stored = kept(data)
    assert bare(departed(stored)) == bare(data)
    assert message.decode(departed(stored)).body == body
    if isinstance(body, bytes):
        assert stored.body == body
        assert seen091(stored).message_type is None
    else:
        assert seen091(stored).message_type == "amqp-1.0"
        again = published(stored.body, message_type="amqp-1.0")
        assert message.decode(departed(again)).body == body


def test_a_body_that_only_claims_to_be_of_the_other_dialect_is_data() -> None:
    assert message.decode(departed(published(b"no sections", message_type="amqp-1.0"))).body == b"no sections"


def test_several_data_sections_become_one() -> None:
    data = b"".join(codec.encode(Described(Ulong(0x75), each)) for each in (b"one", b"two", b""))
    stored = kept(data)
    assert stored.body == b"onetwo"
    assert message.decode(departed(stored)).body == b"onetwo"


def test_unusual_encodings_stay_as_they_are() -> None:
    descriptor = codec.encode(Symbol("amqp:data:binary"))
    data = b"\x00\x80" + (0x73).to_bytes(8, "big") + b"\xd0\x00\x00\x00\x05\x00\x00\x00\x01\x40"
    data += b"\x00" + descriptor + b"\xb0\x00\x00\x00\x02hi"
    stored = kept(data)
    assert stored.body == b"hi"
    assert departed(stored).endswith(data)


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        ("text", "text", None),
        (Ulong(2**64 - 1), "18446744073709551615", "ulong"),
        (IDENTITY, str(IDENTITY), "uuid"),
        (b"\x00\xff", "AP8=", "binary"),
        ("é" * 200, None, None),
    ],
)
def test_ids_of_any_type_cross_and_come_back(value: Any, text: str | None, kind: str | None) -> None:
    stored = kept(message.encode(Message(message_id=value, correlation_id=value)))
    properties = seen091(stored)
    headers = properties.headers or {}
    for name in ("message", "correlation"):
        assert getattr(properties, f"{name}_id") == text
        assert headers.get(f"x-{name}-id-type") == kind
    if text is None:
        assert headers["x-message-id"] == value
    stored.native = None
    back = message.decode(departed(stored))
    assert (back.message_id, back.correlation_id) == (value, value)
    assert type(back.message_id) is type(value)


VALUES: Mapping[str, tuple[Any, Any]] = {
    "none": (None, None),
    "true": (True, True),
    "ubyte": (Ubyte(200), 200),
    "ushort": (Ushort(60_000), 60_000),
    "uint": (Uint(4_000_000_000), 4_000_000_000),
    "ulong": (Ulong(5), 5),
    "large": (Ulong(2**64 - 1), "18446744073709551615"),
    "byte": (Byte(-5), -5),
    "short": (Short(-300), -300),
    "int": (Int(-70_000), -70_000),
    "long": (-(2**62), -(2**62)),
    "float": (Float(0.5), 0.5),
    "double": (0.1, 0.1),
    "char": (Char("é"), "é"),
    "uuid": (IDENTITY, str(IDENTITY)),
    "binary": (b"\x00\x01", b"\x00\x01"),
    "string": ("grüße", "grüße"),
    "symbol": (Symbol("sym"), "sym"),
}


def test_application_properties_of_every_type_become_headers() -> None:
    data = message.encode(Message(application_properties={name: value for name, (value, _) in VALUES.items()}))
    headers = tables.read_table(kept(data).properties.parts["headers"])[0]
    assert headers == {name: value for name, (_, value) in VALUES.items()}


def test_times_become_times() -> None:
    data = message.encode(Message(application_properties={"t": Timestamp(1_700_000_000_999), "b": Timestamp(-5)}))
    raw = kept(data).properties.raw_headers()
    assert dict(raw) == {b"t": tables.timestamp(1_700_000_000), b"b": tables.long(-5)}


def test_a_message_of_the_older_dialect_is_translated() -> None:
    stored = published(
        b"body",
        content_type="text/plain",
        content_encoding="utf-8",
        headers={
            "text": "ü", "number": 5, "flag": True, "none": None, "half": 0.5, "money": Decimal("1.5"),
            "table": {"dropped": 1}, "list": [1], "x-note": "annotation", "x-list": [1, {"a": "b"}],
        },
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="answers",
        expiration="5000",
        message_id="m",
        message_type="kind",
        user_id="guest",
        app_id="app",
    )  # fmt: skip
    found = message.decode(departed(stored))
    assert found.body == b"body"
    assert (found.durable, found.priority, found.ttl, found.first_acquirer) == (True, 3, 5000, True)
    assert (found.message_id, found.correlation_id, found.reply_to) == ("m", "c", "answers")
    assert (found.content_type, found.content_encoding, found.user_id) == ("text/plain", "utf-8", b"guest")
    assert found.subject == "a.b"
    assert found.application_properties == {
        "text": "ü", "number": 5, "flag": True, "none": None, "half": 0.5, "money": "1.5",
    }  # fmt: skip
    assert found.annotations == {
        "x-note": "annotation", "x-list": [1, {"a": "b"}], "x-basic-type": "kind", "x-basic-app-id": "app",
        "x-exchange": "x", "x-routing-key": "a.b",
    }  # fmt: skip


def test_a_message_without_any_properties_is_translated() -> None:
    found = message.decode(departed(published(b"")))
    assert (found.body, found.durable, found.message_id, found.subject) == (b"", False, None, "a.b")
    assert found.application_properties == {}


def test_what_surrounds_a_body_survives_the_store() -> None:
    stored = kept(message.encode(FULL))
    again = message_from(stored.address, stored.head, stored.body)
    assert (again.header, again.native) == (stored.header, stored.native)
    assert again.native
    assert unpack(again.native).pack() == again.native
    assert departed(again) == departed(stored)
    assert split_head(published().head) == (published().header, None)


def test_properties_that_only_the_older_dialect_has_come_back() -> None:
    first = published(b"body", message_type="kind", app_id="app")
    again = seen091(kept(departed(first)))
    assert (again.message_type, again.app_id, again.headers) == ("kind", "app", None)


def test_copies_are_a_matter_of_the_older_dialect() -> None:
    stored = kept(message.encode(Message(application_properties={"CC": "a", "BCC": "b"})))
    assert not stored.properties.has_copies


SIMPLE = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20) | st.binary(max_size=20)
    | st.floats(allow_nan=False) | st.uuids() | st.builds(Ulong, st.integers(0, 2**64 - 1))
)  # fmt: skip
ANY = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
SYMBOLS = st.text(st.characters(max_codepoint=127), max_size=10).map(Symbol)


@given(
    st.builds(
        Message,
        body=st.binary(max_size=300) | st.builds(Value, ANY),
        durable=st.booleans(),
        message_id=st.none() | st.text(max_size=300) | st.binary(max_size=300) | st.uuids(),
        subject=st.none() | st.text(max_size=50),
        reply_to=st.none() | st.text(max_size=300),
        content_type=st.none() | SYMBOLS,
        application_properties=st.dictionaries(st.text(max_size=300), SIMPLE, max_size=4),
        annotations=st.dictionaries(SYMBOLS.map(lambda name: Symbol("x-" + name)), ANY, max_size=3),
    )
)
def test_any_message_is_kept_and_comes_out_as_it_was(sent: Message) -> None:
    data = message.encode(sent)
    stored = kept(data)
    assert bare(departed(stored)) == bare(data)
    read_properties(stored.header)
    stored.native = None
    translated = message.decode(departed(stored))
    assert translated.body == sent.body
    assert translated.message_id == sent.message_id
