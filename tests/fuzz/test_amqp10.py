"""Hostile bytes and hostile orders of calls for AMQP 1.0: nothing crashes, everything ends in an event or an error."""

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pulpit.amqp10 import codec, message
from pulpit.amqp10.codec import DecodeError, Described, Ulong
from pulpit.amqp10.engine import Engine, Setup
from pulpit.amqp10.events import Broken, Closed
from pulpit.amqp10.sasl import SASL_HEADER, ClientLogin, Credentials, LoginFailed, ServerLogin
from pulpit.amqp10.words import AMQP_HEADER
from support.amqp10 import needs_amqp10

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary() | st.floats(allow_nan=False)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.builds(Described, scalars, inner)
)


@given(values)
def test_any_value_survives(value: Any) -> None:
    assert codec.decode(codec.encode(value))[0] == value


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        codec.decode(data)
    with contextlib.suppress(DecodeError):
        message.decode(data)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_log_in_or_an_error(data: bytes, greeted: bool) -> None:
    sent = SASL_HEADER + data if greeted else data
    with contextlib.suppress(LoginFailed):
        ClientLogin(Credentials(user="joe", password="x")).receive(sent)
    with contextlib.suppress(LoginFailed):
        ServerLogin(["PLAIN"]).receive(sent)


def _frame(code: int, fields: list[Any], channel: int = 0) -> bytes:
    body = b"\x00" + codec.encode(Ulong(code)) + codec.encode(fields)
    return (8 + len(body)).to_bytes(4, "big") + b"\x02\x00" + channel.to_bytes(2, "big") + body


frames = st.builds(_frame, st.integers(0x10, 0x19), st.lists(values, max_size=14), st.integers(0, 3))


@needs_amqp10
@settings(max_examples=300)
@given(st.lists(frames | st.binary(max_size=60), max_size=12), st.booleans())
def test_any_frames_are_taken_or_break_the_connection(sent: list[bytes], server: bool) -> None:
    engine = Engine(Setup(container="c"), server=server)
    engine.open()
    engine.receive(AMQP_HEADER)
    for piece in sent:
        engine.receive(piece)
        engine.tick(1)
        list(engine.events())
        engine.take_output()
    engine.receive_end()
    ends = [one for one in engine.events() if isinstance(one, Broken | Closed)]
    assert len(ends) <= 1
    assert engine.over
    engine.free()
