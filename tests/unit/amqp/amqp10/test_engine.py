"""The engine, talking to another one."""

import gc
import sys
import weakref
from collections.abc import Callable

import pytest

from pulpit.amqp.amqp10 import codec, proton
from pulpit.amqp.amqp10.codec import Described, Symbol, Uint, Ulong, Ushort
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.links import (
    Arrived,
    Attached,
    Broken,
    Closed,
    CreditChanged,
    Decided,
    Detached,
    Ended,
    Event,
    Opened,
    Sender,
    SessionEnded,
)
from pulpit.amqp.amqp10.sasl import SASL_HEADER
from pulpit.amqp.amqp10.types import (
    ACCEPTED,
    AMQP_HEADER,
    NOT_FOUND,
    RELEASED,
    TOO_LARGE,
    Condition,
    Modified,
    Outcome,
    Rejected,
    Terminus,
)
from pulpit.errors import ConfigurationError
from support.amqp10 import Pair, SessionBegun, asked, needs_amqp10, refuse

pytestmark = needs_amqp10


def test_both_sides_say_who_they_are() -> None:
    pair = Pair()
    pair.client = Engine(Setup(container="c", hostname="vhost:x", properties={"product": "Pulpit", "number": 3}))
    pair.client.open()
    assert pair.talk()[1] == [Opened(container="c", properties={"product": "Pulpit", "number": 3})]
    assert pair.server.hostname == "vhost:x"
    pair.server.open()
    assert pair.talk()[0] == [Opened(container="server", properties={})]
    pair.free()


def test_a_terminus_crosses_with_everything_it_says() -> None:
    pair = Pair().open()
    target = Terminus(
        address="pulp",
        durability=2,
        expiry="never",
        timeout=7,
        capabilities=("create-on-demand", "topic"),
        properties={"exchange-type": "topic", "durable": True},
    )
    pattern = Described(Symbol("apache.org:legacy-amqp-topic-binding:string"), "pulp.#")
    source = Terminus(address="q", copies=True, filters={"pattern": pattern})
    link = pair.client.sender(pair.client.begin(), "näme")
    link.attach(source=source, target=target)
    theirs = asked(pair.talk()[1])
    assert (theirs.name, theirs.source, theirs.target) == ("näme", source, target)
    theirs.attach(source=theirs.source, target=Terminus(coordinator=True))
    (attached,) = (event for event in pair.talk()[0] if isinstance(event, Attached))
    assert attached.link is link
    assert link.target == Terminus(coordinator=True)
    pair.free()


@pytest.mark.parametrize(
    "outcome",
    [
        ACCEPTED,
        RELEASED,
        Rejected(),
        Rejected(Condition("amqp:not-allowed", "nö")),
        Modified(failed=True),
        Modified(undeliverable=True),
    ],
    ids=repr,
)
def test_an_outcome_comes_back_for_each_message(outcome: Outcome) -> None:
    pair = Pair().open()
    sender, receiver = pair.sending()
    assert sender.send(b"a" * 10) == 1
    assert sender.send(b"b" * 200_000) == 2
    arrived = [event for event in pair.talk()[1] if isinstance(event, Arrived)]
    assert [(event.number, len(event.message), event.settled) for event in arrived] == [
        (1, 10, False),
        (2, 200_000, False),
    ]
    receiver.settle(2, outcome)
    assert pair.talk()[0] == [Decided(link=sender, number=2, outcome=outcome)]
    receiver.settle(2, ACCEPTED)
    receiver.settle(1, ACCEPTED)
    assert pair.talk()[0] == [Decided(link=sender, number=1, outcome=ACCEPTED)]
    pair.free()


def test_nothing_is_sent_without_credit() -> None:
    pair = Pair().open()
    sender, receiver = pair.sending(credit=1)
    for text in (b"1", b"2"):
        sender.send(text)
    first = [event for event in pair.talk()[1] if isinstance(event, Arrived)]
    assert [(event.message, event.settled) for event in first] == [(b"1", False)]
    receiver.grant(5)
    assert [event.message for event in pair.talk()[1] if isinstance(event, Arrived)] == [b"2"]
    assert sender.credit == 4
    pair.free()


def test_a_drained_link_gives_its_credit_back() -> None:
    pair = Pair().open()
    sender, receiver = pair.sending(credit=5)
    proton.load().pn_link_drain(receiver.pointer(), 0)
    assert pair.talk()[0] == [CreditChanged(link=sender)]
    assert sender.draining
    sender.drained()
    pair.talk()
    assert sender.credit == receiver.credit == 0
    receiver.grant(2)
    pair.talk()
    assert (sender.credit, sender.draining) == (2, False)
    pair.free()


def test_a_refused_link_is_attached_without_a_terminus_and_detached_with_the_reason() -> None:
    pair = Pair().open()
    link = pair.client.receiver(pair.client.begin(), "in")
    link.attach(source=Terminus(address="nothing"))
    condition = Condition(NOT_FOUND, "there is none")
    refuse(asked(pair.talk()[1]), condition)
    attached, detached = pair.talk()[0]
    assert isinstance(attached, Attached)
    assert detached == Detached(link=link, closed=True, condition=condition)
    assert not link.alive
    pair.free()


def test_a_session_that_ends_takes_its_links_along_and_no_other() -> None:
    pair = Pair().open()
    sender, _ = pair.sending()
    session = pair.client.begin()
    other = pair.client.sender(session, "other")
    other.attach(target=Terminus(address="a"))
    begun, _ = pair.talk()[1]
    assert isinstance(begun, SessionBegun)
    begun.session.end(Condition("amqp:internal-error", "oops"))
    assert SessionEnded(session=session, condition=Condition("amqp:internal-error", "oops")) in pair.talk()[0]
    assert (sender.alive, other.alive, session.alive, begun.session.alive) == (True, False, False, False)
    pair.free()


def test_what_is_over_cannot_be_used_and_says_so() -> None:
    pair = Pair().open()
    sender, receiver = pair.sending()
    sender.send(b"1")
    pair.talk()
    sender.detach()
    with pytest.raises(Ended):
        sender.send(b"2")
    with pytest.raises(Ended):
        sender.detach()
    pair.talk()
    acts: tuple[Callable[[], object], ...] = (
        lambda: receiver.settle(1, ACCEPTED),
        lambda: receiver.grant(1),
        lambda: receiver.target,
    )
    for act in acts:
        with pytest.raises(Ended):
            act()
    pair.client.close(Condition("amqp:connection:forced", "bye"))
    assert pair.talk()[1] == [Closed(condition=Condition("amqp:connection:forced", "bye"))]
    assert pair.client.over
    assert pair.server.over
    with pytest.raises(Ended):
        pair.client.begin()
    pair.free()
    pair.free()
    pair.client.open()
    pair.client.close()
    pair.client.receive(b"x")
    assert (pair.client.take_output(), pair.client.tick(1), list(pair.client.events())) == (b"", None, [])


def test_a_message_that_is_too_large_costs_its_link_and_nothing_else() -> None:
    pair = Pair(largest_message=1000).open()
    sender, receiver = pair.sending()
    sender.send(b"x" * 500_000)
    sender.send(b"y")
    at_client, at_server = pair.talk()
    (detached,) = (event for event in at_client if isinstance(event, Detached))
    assert detached.condition
    assert detached.condition.name == TOO_LARGE
    assert not any(isinstance(event, Arrived) for event in at_server)
    assert not receiver.alive
    assert not pair.client.over
    again, _ = pair.sending()
    assert again.alive
    pair.free()


def test_a_peer_that_is_silent_is_given_up_and_one_that_lives_is_not() -> None:
    pair = Pair(idle_timeout=10).open()
    now = 1000.0
    for _ in range(20):
        now += 4
        for side in (pair.client, pair.server):
            side.tick(now)
        pair.talk()
    assert list(pair.client.events()) == []
    due = pair.client.tick(now)
    assert due is not None
    assert now < due <= now + 10
    pair.client.tick(now + 11)
    (broken,) = pair.client.events()
    assert isinstance(broken, Broken)
    assert broken.condition.name == "amqp:resource-limit-exceeded"
    assert pair.client.over
    pair.free()


def test_bytes_that_are_no_protocol_break_the_connection_and_nothing_more() -> None:
    huge, short = b"\xff\xff\xff\xff\x02\x00\x00\x00", b"\x00\x00\x00\x09\x02\x00\x00\x00\xff"
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"AMQP\x00\x00\x09\x01",
        SASL_HEADER,
        AMQP_HEADER + huge,
        AMQP_HEADER + short,
    ):
        engine = Engine(Setup(container="client"))
        engine.open()
        engine.receive(data)
        assert any(isinstance(event, Broken) for event in engine.events())
        engine.take_output()
        assert engine.over
        engine.free()


def test_an_engine_that_nobody_frees_is_freed_by_python() -> None:
    pair = Pair().open()
    sender, _ = pair.sending()
    sender.send(b"x")
    pair.talk()
    gone = weakref.ref(pair.client)
    del pair
    gc.collect()
    assert gone() is None
    assert isinstance(sender, Sender)


def test_without_the_extra_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, proton.MODULE, None)
    proton.load.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match=r"pip install 'pulpit\[amqp10\]'"):
            Engine(Setup(container="c"))
    finally:
        proton.load.cache_clear()


def test_a_session_of_another_connection_carries_no_link() -> None:
    pair = Pair().open()
    session = pair.client.begin()
    for prepare in (pair.server.sender, pair.server.receiver):
        with pytest.raises(Ended, match="another connection"):
            prepare(session, "x")
    pair.free()


def frame(code: int, *fields: object, channel: int = 0) -> bytes:
    body = codec.described_list(code, fields)
    return (8 + len(body)).to_bytes(4, "big") + b"\x02\x00" + channel.to_bytes(2, "big") + body


def begin(channel: int, remote: int | None) -> bytes:
    answered = None if remote is None else Ushort(remote)
    return frame(0x11, answered, Uint(0), Uint(100), Uint(100), channel=channel)


def attach(name: str, handle: int) -> bytes:
    source, target = (Described(Ulong(code), []) for code in (0x28, 0x29))
    return frame(0x12, name, Uint(handle), False, None, None, source, target, None, None, Uint(0))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "frames",
    [
        [begin(0, 0), begin(0, 0), frame(0x17)],
        [begin(0, 0), begin(1, 0), frame(0x17)],
        [begin(0, None), frame(0x17)],
        [begin(0, 0), attach("x", 0), attach("b", 0), frame(0x17)],
        [begin(0, 0), attach("b", 0), frame(0x17)],
        [begin(0, 0), frame(0x12, "no handle")],
        [b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\xa3\x01x"],
    ],
)
def test_what_proton_would_not_survive_breaks_the_connection(frames: list[bytes], whole: bool) -> None:
    engine = Engine(Setup(container="client"))
    engine.open()
    sender = engine.sender(engine.begin(), "x")
    sender.attach(target=Terminus(address="a"))
    engine.take_output()
    sender.send(b"waiting")
    said = b"".join((AMQP_HEADER, frame(0x10, "server"), *frames))
    events: list[Event] = []
    for piece in [said] if whole else [bytes((byte,)) for byte in said]:
        engine.receive(piece)
        events += list(engine.events())
        engine.take_output()
    assert isinstance(events[-1], Broken)
    assert engine.over
    assert not sender.alive
    engine.free()


def test_a_channel_and_a_handle_can_be_used_again() -> None:
    pair = Pair().open()
    for _ in range(3):
        session = pair.client.begin()
        for name in ("a", "b"):
            link = pair.client.sender(session, name)
            link.attach(target=Terminus(address="x"))
            theirs = asked(pair.talk()[1])
            theirs.attach(target=theirs.target)
            pair.talk()
            link.detach()
            assert any(isinstance(event, Detached) for event in pair.talk()[0])
        session.end()
        assert any(isinstance(event, SessionEnded) for event in pair.talk()[0])
    assert not pair.client.over
    pair.free()
