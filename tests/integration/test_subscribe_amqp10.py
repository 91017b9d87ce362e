"""Subscribing over AMQP 1.0 at a broker that knows no AMQP 0-9-1, as Qpid C++ is: a filter on the exchange."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pulpit
from pulpit.amqp.amqp10.codec import Char, Described, Float, Symbol, Timestamp, Ubyte, Ulong
from pulpit.amqp.amqp10.message import Message, Value
from support.amqp10 import needs_amqp10
from support.amqp10_peer import peer

pytestmark = needs_amqp10


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


def test_links_and_containers_are_unique_unless_the_subscription_stays() -> None:
    """Three listeners side by side, of which no broker takes one for another."""

    async def story() -> None:
        async with peer(properties={"product": "qpid-cpp"}) as broker:
            url = f"amqp+10://guest:guest@127.0.0.1:{broker.port}"
            async with (
                pulpit.subscribe(url, exchange="pulp"),
                pulpit.subscribe(url, exchange="pulp"),
                pulpit.subscribe(url, exchange="pulp", queue="kept"),
            ):
                pass
            containers, names = zip(*broker.links, strict=True)
            assert len(set(containers)) == len(set(names)) == 3
            assert broker.links[2] == ("kept", "kept")
            assert [source.durability for source in broker.sources] == [0, 0, 2]

    run(story)


def test_values_that_json_does_not_have_and_messages_that_are_none_are_handed_out() -> None:
    odd = {
        "seconds": Timestamp(-(2**63)),
        "float": Float("nan"),
        "double": 1.75,
        "infinite": float("-inf"),
        "ulong": Ulong(2**64 - 1),
        "ubyte": Ubyte(7),
        "char": Char("\U0001f40d"),
        "raw": b"\xff",
    }
    messages = [
        Message(subject="a.b", application_properties=odd, body=b"{}"),
        Message(subject="a.b", body=Value([Described(Symbol("x"), {1: None}), b"\xff", float("nan")])),
        Message(subject="a.b", message_id=Ulong(5), creation_time=2**62, body=b'{"event_type": 5}'),
        Message(subject="elsewhere", body=b"{}"),
        Message(subject="a.c", body=b"last"),
    ]

    async def story() -> None:
        told: list[str] = []
        tell = lambda _level, sentence: told.append(sentence)  # noqa: E731 - read once
        async with peer(outgoing=list(messages)) as broker:
            url = f"amqp+10://guest:guest@127.0.0.1:{broker.port}"
            async with pulpit.subscribe(url, exchange="pulp", subject="a.*", on_news=tell) as events:
                came = [await anext(events) for _ in range(4)]
        assert [event.subject for event in came] == ["a.b", "a.b", "a.b", "a.c"]
        assert came[0].headers["double"] == 1.75
        assert came[0].headers["ulong"] == 2**64 - 1
        assert came[3].body == b"last"
        assert len(told) == 1

    run(story)
