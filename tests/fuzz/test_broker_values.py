"""Any AMQP 0-9-1 header or property passes through the broker unchanged."""

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame

from pulpit.amqp.amqp091 import tables
from support.broker_box import Box, BoxClient

NAMES = st.binary(max_size=20).filter(lambda name: name not in (b"CC", b"BCC", b"x-death"))


def packed(letter: bytes, size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size).map(lambda raw: letter + raw)


def measured(letter: bytes, inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return inner.map(lambda raw: letter + struct.pack(">I", len(raw)) + raw)


SIZES = {b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"L": 8, b"f": 4, b"d": 8, b"D": 5, b"T": 8}
LEAVES = st.one_of(
    st.just(b"V"),
    st.sampled_from([b"t\0", b"t\1"]),
    *(packed(letter, size) for letter, size in SIZES.items()),
    measured(b"S", st.binary(max_size=40)),
    measured(b"x", st.binary(max_size=40)),
)


def entries(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    entry = st.tuples(NAMES, values).map(lambda pair: bytes((len(pair[0]),)) + pair[0] + pair[1])
    return st.lists(entry, max_size=6).map(b"".join)


VALUES = st.recursive(
    LEAVES, lambda inner: measured(b"A", st.lists(inner, max_size=5).map(b"".join)) | measured(b"F", entries(inner))
)
SHORT = st.binary(max_size=255).map(lambda raw: bytes((len(raw),)) + raw)
TABLES = measured(b"", entries(VALUES))
PROPERTIES: list[tuple[int, st.SearchStrategy[bytes]]] = [
    (15, SHORT),
    (14, SHORT),
    (13, TABLES),
    (12, st.binary(min_size=1, max_size=1)),
    (11, st.binary(min_size=1, max_size=1)),
    (10, SHORT),
    (9, SHORT),
    (8, st.integers(1_000, 4_294_967_295).map(lambda number: bytes((len(str(number)),)) + str(number).encode())),
    (7, SHORT),
    (6, st.binary(min_size=8, max_size=8)),
    (5, SHORT),
    (4, st.just(b"\x05guest")),
    (3, SHORT),
    (2, SHORT),
]


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """A content header for a body of four bytes."""
    chosen = [(bit, draw(values)) for bit, values in PROPERTIES if draw(st.booleans())]
    flags = sum(1 << bit for bit, _ in chosen)
    return struct.pack(">HHQH", 60, 0, 4, flags) + b"".join(raw for _, raw in chosen)


def published(client: BoxClient, queue: str, content: bytes) -> None:
    parts = ((1, frame.marshal(commands.Basic.Publish(0, "", queue), 1)[7:-1]), (2, content), (3, b"body"))
    client.raw(b"".join(struct.pack(">BHI", kind, 1, len(raw)) + raw + b"\xce" for kind, raw in parts))


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        kind, _, size = struct.unpack_from(">BHI", data)
        found.append((kind, data[7 : 7 + size]))
        data = data[8 + size :]
    return found


def taken(client: BoxClient, queue: str) -> bytes:
    while client.connection.take_output():  # which may hold what another codec does not read
        client.box.timers.settle()
    client.connection.receive(frame.marshal(commands.Basic.Get(0, queue, True), 1))
    [header] = [payload for kind, payload in frames(client.connection.take_output()) if kind == 2]
    return header


@given(contents())
def test_a_content_header_comes_out_as_it_went_in(content: bytes) -> None:
    client = Box().client()
    client.send(commands.Queue.Declare(0, "q"))
    published(client, "q", content)
    assert taken(client, "q") == content


@given(TABLES)
def test_a_dead_letter_keeps_every_header(table: bytes) -> None:
    client = Box().client()
    client.send(commands.Queue.Declare(0, "dead"))
    arguments: Any = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.send(commands.Queue.Declare(0, "q", arguments=arguments))
    published(client, "q", struct.pack(">HHQH", 60, 0, 4, 1 << 13) + table)
    client.send(commands.Basic.Get(0, "q"))
    client.send(commands.Basic.Reject(1, False))
    before = dict(tables.split(table))
    after = dict(tables.split(taken(client, "dead")[14:]))
    assert {name: after[name] for name in before} == before
