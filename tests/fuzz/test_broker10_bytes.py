"""Bytes from strangers who speak AMQP 1.0: conversations with wrong bytes, frames out of order, and garbage.

PULPIT_FUZZ_ROUNDS is how many conversations are mutated; ten thousand make a campaign. A crash of Proton itself would
end this very process, so the seed of each round is written to PULPIT_FUZZ_TRACE, if that names a file.
"""

import contextlib
import logging
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from pulpit.amqp.amqp10 import message
from pulpit.amqp.amqp10.codec import DecodeError, Described, Symbol
from pulpit.amqp.amqp10.message import Message, Value
from pulpit.amqp.amqp10.sasl import SASL_HEADER
from pulpit.amqp.amqp10.words import (
    ACCEPTED,
    AMQP_HEADER,
    RELEASED,
    TOPIC_FILTER,
    Modified,
    Outcome,
    Rejected,
    Terminus,
)
from pulpit.broker.dialect10 import addresses, departure, sections
from pulpit.broker.dialect10.arrival import Arrival, BadMessage
from pulpit.broker.message import Entry
from support.amqp10 import needs_amqp10
from support.broker_box import Box
from support.broker_box10 import Box10Client

ROUNDS = int(os.environ.get("PULPIT_FUZZ_ROUNDS", "200"))
TRACE = os.environ.get("PULPIT_FUZZ_TRACE")


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda rest: b"\x00\x53\x73\xc0" + rest))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    with contextlib.suppress(DecodeError, BadMessage):
        kept = Arrival(data).message("x", "key")
        entry = Entry(id=1, message=kept, queue=None, priority=0, expires_at=None)
        again = sections.cut(departure.Departures().write(entry))
        assert again.body == kept.body


@given(st.text(max_size=40) | st.text("/%aq", max_size=20).map(lambda rest: "/" + rest))
def test_any_text_is_an_address_or_none(text: str) -> None:
    with contextlib.suppress(addresses.BadAddress):
        assert addresses.read_address(text).name is not None


VERBS = st.sampled_from(["PUT", "GET", "POST", "DELETE"])
PATHS = st.sampled_from(
    ["/queues/q", "/queues/q/messages", "/exchanges/x", "/bindings", "/bindings/src=amq.topic;dstq=q;key=", "/queues/%"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8) | st.floats() | st.binary()
NAMES = st.sampled_from(
    ["durable", "exclusive", "type", "arguments", "source", "destination_queue", "binding_key", "x-max-length"]
)
BODIES = st.recursive(SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=4) | st.lists(inner, max_size=2))


@needs_amqp10
@given(st.lists(st.tuples(VERBS, PATHS, BODIES), min_size=1, max_size=4))
def test_any_request_to_the_node_management_is_answered(asked: list[tuple[str, str, object]]) -> None:
    client = Box10Client(furnished())
    session = client.session()
    answers = client.receiver("/management", session=session, credit=10)
    requests = client.sender("/management", session=session)
    for verb, path, body in asked:
        requests.send(request(verb, path, body))
    found = [message.decode(each).subject for each in client.arrived(answers)]
    assert len(found) == len(asked)
    assert set(found) <= {"200", "201", "204", "400", "403", "404", "409"}
    assert client.connection.state == "running"
    client.connection.lost()


# -- conversations


class Recording(Box10Client):
    """A client whose bytes are kept."""

    def __init__(self, box: Box) -> None:
        self.sent = b""
        super().__init__(box)

    def raw(self, data: bytes) -> None:
        self.sent += data
        super().raw(data)


def conversation() -> bytes:
    """Everything that a busy client says, from its first byte to its last."""
    client = Recording(furnished())
    session = client.session()
    pattern = {"f": Described(Symbol(TOPIC_FILTER), "a.#")}
    subscriber = client.receiver(
        Terminus(address="amq.topic", filters=pattern, capabilities=("x",)), session=session, credit=10
    )
    sender = client.sender("amq.topic", session=session)
    for number in range(4):
        sender.send(message.encode(Message(body=b"x" * 10, subject="a.b", message_id=str(number), durable=True)))
    sender.send(message.encode(Message(body=Value({"a": [1, 2]}), subject="a", application_properties={"n": 1})))
    client.talk()
    outcomes: tuple[Outcome, ...] = (ACCEPTED, RELEASED, Rejected(), Modified(failed=True))
    for number, outcome in enumerate(outcomes, 1):
        subscriber.settle(number, outcome)
    client.talk()
    created = Terminus(address="new", capabilities=("create-on-demand", "topic"), properties={"exchange-type": "topic"})
    client.sender(created, session=session, name="create").detach()
    client.receiver(Terminus(dynamic=True), session=session, name="dynamic", credit=1).drain()
    client.receiver("nothing", session=session, name="refused")
    client.receiver("/management", session=session, name="answers", credit=10)
    clerk = client.sender("/management", session=session, name="requests")
    clerk.send(request("PUT", "/queues/made", {"arguments": {"x-max-length": 3}}))
    clerk.send(request("POST", "/bindings", {"source": "amq.topic", "destination_queue": "made", "binding_key": "#"}))
    client.talk()
    large = client.sender(Terminus(), session=client.session(), name="relay")
    large.send(message.encode(Message(body=b"y" * 300_000, to="q")))
    client.talk()
    session.end()
    client.talk()
    client.engine.close()
    client.talk()
    return client.sent


def request(verb: str, path: str, body: object) -> bytes:
    """One for the node /management."""
    return message.encode(Message(body=Value(body), subject=verb, to=path, message_id=path, reply_to="$me"))


def furnished() -> Box:
    box = Box(memory_limit=4_000_000, max_message_size=1_000_000)
    box.client().send(commands.Queue.Declare(0, "q"))
    return box


def frames(data: bytes) -> list[bytes]:
    """A conversation cut into its headers and frames."""
    found = []
    while data:
        size = 8 if data.startswith(b"AMQP") else max(8, int.from_bytes(data[:4], "big"))
        found.append(data[:size])
        data = data[size:]
    return found


PIECES = (b"\x00", b"\xc0\xff\xff", b"\xd0\xff\xff\xff\xff", b"\x40", b"\xf0" + b"\xff" * 8, b"\x00" * 40)
DEPTHS = (
    b"\xd0\x00\x00\x10\x00\x00\x00\x00\x01",
    b"\x00",
    b"\xc0\xf0\x01",
    b"\xd1\x00\x00\x10\x00\x00\x00\x00\x02\x40",
)


def _flip(chance: random.Random, frame: bytes) -> bytes:
    """Change some bytes, most of them near the beginning, where the performative is."""
    changed = bytearray(frame)
    for _ in range(chance.choice((1, 1, 2, 4))):
        changed[chance.randrange(min(len(changed), chance.choice((16, 64, 400))))] = chance.choice(
            (0, 1, 0x40, 0x45, 0x53, 0x70, 0x80, 0xC0, 0xD0, 0xE0, 0xF0, 0xFF, chance.randrange(256))
        )
    return bytes(changed)


def _shorten(chance: random.Random, frame: bytes) -> bytes:
    """Take a piece out, and let the length tell the truth."""
    at = chance.randrange(8, len(frame) + 1) if len(frame) > 8 else len(frame)
    rest = frame[:at] + frame[at + chance.randrange(1, 9) :]
    return len(rest).to_bytes(4, "big") + rest[4:]


def _stuff(chance: random.Random, frame: bytes) -> bytes:
    """Put a piece in, and let the length tell the truth."""
    at = chance.randrange(8, len(frame) + 1) if len(frame) > 8 else len(frame)
    piece = chance.choice(
        (b"\x00", b"\xc0\xff\xff", b"\xd0\xff\xff\xff\xff", b"\x40", b"\xf0" + b"\xff" * 8, b"\x00" * 40)
    )
    rest = frame[:at] + piece * chance.choice((1, 3)) + frame[at:]
    return len(rest).to_bytes(4, "big") + rest[4:]


def _nest(chance: random.Random, frame: bytes) -> bytes:
    """Put lists, descriptors and maps within each other at the end of a performative."""
    deep = chance.choice(
        (b"\xd0\x00\x00\x10\x00\x00\x00\x00\x01", b"\x00", b"\xc0\xf0\x01", b"\xd1\x00\x00\x10\x00\x00\x00\x00\x02\x40")
    )
    rest = frame[:20] + deep * chance.choice((10, 300, 5000)) + b"\x40" * 8
    return len(rest).to_bytes(4, "big") + rest[4:]


def _channel(chance: random.Random, frame: bytes) -> bytes:
    """Say it on another channel."""
    return frame[:6] + chance.choice((b"\x00\x00", b"\x00\x01", b"\x00\x07", b"\xff\xff")) + frame[8:]


CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (_flip, _flip, _flip, _shorten, _stuff, _nest, _channel)


def mutated(chance: random.Random, parts: list[bytes]) -> list[bytes]:
    """A conversation in which some things go wrong."""
    told = list(parts)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(1, len(told))
        what = chance.randrange(10)
        if what < 6:
            told[at] = chance.choice(CHANGES)(chance, told[at])
        elif what == 6:
            told.insert(at, told[chance.randrange(1, len(told))])
        elif what == 7 and len(told) > 2:
            del told[at]
        elif what == 8:
            other = chance.randrange(1, len(told))
            told[at], told[other] = told[other], told[at]
        else:
            told.insert(at, chance.randbytes(chance.randrange(1, 60)))
    return told


def play(told: list[bytes], chance: random.Random) -> Box:
    """Say it all to a broker, in pieces."""
    box = furnished()
    client = Box10Client(box, opened=False)
    for part in told:
        step = chance.choice((len(part), len(part), 7, 1000)) or 1
        for start in range(0, len(part), step):
            client.raw(part[start : start + step])
        client.take()
        if client.connection.finished:
            break
        if chance.random() < 0.05:
            box.timers.pass_time(16_000)
    client.take()
    client.connection.lost()
    box.timers.settle()
    return box


@needs_amqp10
def test_a_conversation_with_mistakes_ends_one_connection_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    parts = frames(conversation())
    assert parts[0] == SASL_HEADER
    assert AMQP_HEADER in parts
    for number in range(ROUNDS):
        if TRACE:
            Path(TRACE).write_text(f"{number}\n")
        chance = random.Random(number)  # noqa: S311 - the same mistakes in every run
        box = play(mutated(chance, parts), chance)
        host = box.house.hosts["/"]
        assert [queue for queue in host.queues.values() if queue.consumers or queue.unacknowledged] == [], number
        other = Box10Client(box)
        link = other.sender("q")
        link.send(message.encode(Message(body=b"works")))
        assert other.outcomes(link) == [ACCEPTED], number
        other.connection.lost()
        assert not caplog.records, (number, caplog.text)


def _list(fields: list[bytes]) -> bytes:
    body = b"".join(fields)
    return b"\xd0" + struct.pack(">II", len(body) + 4, len(fields)) + body


def _deep(kind: str) -> bytes:
    """Values within each other, as many as fit into one frame."""
    if kind == "descriptors":
        return b"\x00" * 130_000 + b"\x53\x10\x45"
    if kind == "described":
        return b"\x00\x53\x01" * 43_000 + b"\x40"
    head = b"\xd1" if kind == "maps" else b"\xf0" if kind == "arrays" else b"\xd0"
    count, more, start = (2, 6, b"\x40") if kind == "maps" else (1, 5, b"")
    size = 9 + len(start)
    levels = range(13_000, 0, -1)
    return b"".join(head + struct.pack(">II", level * size - more + 1, count) + start for level in levels) + b"\x40"


NOTHING = b"\x40"
PERFORMATIVES: dict[str, Callable[[bytes], list[bytes]]] = {
    "\x10": lambda deep: [b"\xa1\x01c", *[NOTHING] * 8, deep],  # open, properties
    "\x11": lambda deep: [NOTHING, b"\x43", b"\x43", b"\x43", NOTHING, NOTHING, NOTHING, deep],  # begin, properties
    "\x12": lambda deep: [b"\xa1\x01l", b"\x43", b"\x41", NOTHING, NOTHING, deep],  # attach, source
    "\x13": lambda deep: [NOTHING, b"\x43", b"\x43", b"\x43", *[NOTHING] * 6, deep],  # flow, properties
    "\x15": lambda deep: [b"\x41", b"\x43", b"\x43", b"\x41", deep],  # disposition, state
    "\x18": lambda deep: [b"\x00\x53\x1d" + _list([b"\xa3\x01x", NOTHING, deep])],  # close, error
}


@needs_amqp10
@pytest.mark.parametrize("kind", ["descriptors", "described", "lists", "maps", "arrays"])
@pytest.mark.parametrize("code", sorted(PERFORMATIVES))
def test_values_within_each_other_do_no_harm(code: str, kind: str) -> None:
    box = Box()
    client = Box10Client(box)
    client.session()
    client.talk()
    body = b"\x00\x53" + code.encode() + _list(PERFORMATIVES[code](_deep(kind)))
    client.raw(struct.pack(">IBBH", len(body) + 8, 2, 0, 0) + body)
    client.take()
    client.connection.lost()
    assert Box10Client(box).connection.state == "running"


@needs_amqp10
@given(st.lists(st.binary(max_size=80), max_size=6), st.sampled_from([b"", SASL_HEADER, AMQP_HEADER]))
def test_a_connection_survives_garbage(pieces: list[bytes], header: bytes) -> None:
    box = Box()
    client = Box10Client(box, opened=False)
    client.raw(header)
    for piece in pieces:
        client.raw(piece)
        client.take()
    client.connection.lost()
    assert Box10Client(box).connection.state == "running"
