"""Random bytes and random orders of calls for AMQP 1.0: nothing crashes, everything ends in an event or an error."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulpit.amqp.amqp10 import codec, message
from pulpit.amqp.amqp10.codec import DecodeError, Described, Ulong
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.links import Arrived, Broken, Closed, Ended, Link, Receiver, Sender, Session
from pulpit.amqp.amqp10.sasl import SASL_HEADER, ClientLogin, Credentials, LoginFailed
from pulpit.amqp.amqp10.types import ACCEPTED, AMQP_HEADER, RELEASED, Condition, Modified, Rejected, Terminus
from support.amqp10 import Asked, Pair, ServerEngine, needs_amqp10, refuse

NONSENSE = b"\xff" * 200_000

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
def test_any_bytes_are_a_login_or_an_error(data: bytes, greeted: bool) -> None:
    sent = SASL_HEADER + data if greeted else data
    with contextlib.suppress(LoginFailed):
        ClientLogin(Credentials(user="joe", password="x")).receive(sent)


def _frame(code: int, fields: list[Any], channel: int = 0) -> bytes:
    body = b"\x00" + codec.encode(Ulong(code)) + codec.encode(fields)
    return (8 + len(body)).to_bytes(4, "big") + b"\x02\x00" + channel.to_bytes(2, "big") + body


frames = st.builds(_frame, st.integers(0x10, 0x19), st.lists(values, max_size=14), st.integers(0, 3))


@needs_amqp10
@settings(max_examples=60)
@given(st.lists(frames | st.binary(max_size=60), max_size=12))
def test_any_frames_are_taken_or_break_the_connection(sent: list[bytes]) -> None:
    engine = Engine(Setup(container="c"))
    engine.open()
    engine.receive(AMQP_HEADER)
    for piece in sent:
        engine.receive(piece)
        engine.tick(1)
        list(engine.events())
        engine.take_output()
    engine.receive(NONSENSE)
    ends = [part for part in engine.events() if isinstance(part, Broken | Closed)]
    assert len(ends) <= 1
    assert engine.over
    engine.free()


def _recorded() -> list[bytes]:
    """What a server says to a client that sends and receives, piece by piece."""
    pair, said = Pair(), []
    take_output = pair.server.take_output

    def listened() -> bytes:
        output = take_output()
        said.append(output)
        return output

    pair.server.take_output = listened  # type: ignore[method-assign] # to hear it
    sender, receiver = pair.open().sending()
    sender.send(b"x" * 3000)
    for event in pair.talk()[1]:
        _answer(random.Random(1), event, [])  # noqa: S311 - it must come out the same again
    theirs = pair.client.receiver(sender.session, "in")
    theirs.attach(source=Terminus(address="q"))
    kept: list[Any] = []
    for event in pair.talk()[1]:
        _answer(random.Random(1), event, kept)  # noqa: S311
    theirs.grant(5)
    pair.talk()
    kept[0].send(b"y" * 70_000)
    pair.talk()
    receiver.detach(Condition("amqp:link:stolen"))
    pair.talk()
    sender.session.end()
    pair.talk()
    pair.client.close()
    pair.talk()
    pair.free()
    return [part for part in said if part]


@needs_amqp10
def test_a_server_that_says_anything_but_the_right_thing_breaks_a_connection_at_most() -> None:
    recorded = _recorded()
    assert sum(map(len, recorded)) > 70_000
    for seed in range(1000):
        luck = random.Random(seed)  # noqa: S311 - it must come out the same again
        client = Engine(Setup(container="client", largest_message=50_000))
        client.open()
        sender = client.sender(client.begin(), "out")
        sender.attach(target=Terminus(address="exchange"))
        client.take_output()
        sender.send(b"waiting")
        for piece in _mutated(luck, recorded):
            client.receive(piece)
            for event in client.events():
                _answer(luck, event, [])
            client.take_output()
            client.tick(luck.random() * 100)
        client.receive(NONSENSE)
        assert client.over
        client.free()


def _mutated(luck: random.Random, pieces: list[bytes]) -> list[bytes]:
    changed = [bytearray(piece) for piece in pieces]
    for _ in range(luck.choice((1, 2, 5, 20))):
        piece = luck.choice(changed)
        at = luck.randrange(len(piece) + 1)
        match luck.randrange(4):
            case 0:
                piece[at : at + 1] = luck.randbytes(1)
            case 1:
                del piece[at : at + luck.randrange(1, 9)]
            case 2:
                piece[at:at] = luck.randbytes(luck.randrange(1, 9))
            case _:
                changed.insert(luck.randrange(len(changed)), bytearray(piece))
    return [bytes(piece) for piece in changed]


@needs_amqp10
@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_calls_on_both_sides_leaves_the_process_alive(seed: int) -> None:
    luck = random.Random(seed)  # noqa: S311 - it must come out the same again
    pair = Pair(largest_message=5000).open()
    kept: list[Any] = [pair.client.begin()]
    for _ in range(400):
        side = luck.choice((pair.client, pair.server))
        part = luck.choice(kept)
        with contextlib.suppress(Ended):
            luck.choice(_ACTS)(luck, side, part, kept)
        if luck.random() < 0.5:
            for event in [event for events in pair.talk() for event in events]:
                _answer(luck, event, kept)
        kept = kept[-50:]
    pair.free()
    for part in kept:
        assert not part.alive


def _answer(luck: random.Random, event: Any, kept: list[Any]) -> None:
    with contextlib.suppress(Ended):
        match event:
            case Asked(link=link):
                kept.append(link)
                link.attach(source=Terminus(address="s"), target=Terminus(address="t")) if luck.random() < 0.8 else (
                    refuse(link, Condition("amqp:not-found"))
                )
                if isinstance(link, Receiver):
                    link.grant(luck.randrange(5))
            case Arrived(link=link, number=number):
                link.settle(number, luck.choice(_OUTCOMES))


_OUTCOMES = (ACCEPTED, RELEASED, Rejected(Condition("a:b", "c")), Rejected(), Modified(failed=True))


def _begin(_luck: random.Random, side: Engine, _one: Any, kept: list[Any]) -> None:
    kept.append(side.begin())


def _link(luck: random.Random, side: Engine, part: Any, kept: list[Any]) -> None:
    session = part if isinstance(part, Session) else part.session
    link = (side.sender if luck.random() < 0.5 else side.receiver)(
        side.begin() if luck.random() < 0.2 else session, "x"
    )
    kept.append(link)
    if luck.random() < 0.9:
        link.attach(source=Terminus(address="q"), target=Terminus(address="t"))


def _send(luck: random.Random, _side: Engine, part: Any, _kept: list[Any]) -> None:
    if isinstance(part, Sender):
        part.send(b"x" * luck.choice((0, 1, 100, 4000, 100_000)))


def _flow(luck: random.Random, _side: Engine, part: Any, _kept: list[Any]) -> None:
    if isinstance(part, Receiver):
        part.grant(luck.randrange(5))
    elif isinstance(part, Sender) and part.draining:
        part.drained()


def _settle(luck: random.Random, _side: Engine, part: Any, _kept: list[Any]) -> None:
    if isinstance(part, Receiver):
        part.settle(luck.randrange(20), luck.choice(_OUTCOMES))


def _end(luck: random.Random, _side: Engine, part: Any, _kept: list[Any]) -> None:
    if luck.random() < 0.2:
        part.detach(Condition("a:b")) if isinstance(part, Link) else part.end()


def _look(_luck: random.Random, _side: Engine, part: Any, _kept: list[Any]) -> None:
    if isinstance(part, Link):
        _ = part.source, part.target, part.largest_message


def _tear(luck: random.Random, side: Engine, _one: Any, _kept: list[Any]) -> None:
    if luck.random() < 0.02:
        nonsense = (lambda: None) if isinstance(side, ServerEngine) else lambda: side.receive(luck.randbytes(20))
        luck.choice((side.free, side.close, nonsense))()


_ACTS: tuple[Callable[[random.Random, Engine, Any, list[Any]], None], ...] = (
    _begin, _link, _link, _send, _send, _send, _flow, _flow, _settle, _end, _look, _tear,
)  # fmt: skip
