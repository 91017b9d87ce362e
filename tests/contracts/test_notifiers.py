"""The contract of `pulpit.delivery.notifiers.port`, for every kind of notifier."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp10.client import ClientSettings
from pulpit.amqp.amqp10.publisher import Publisher
from pulpit.amqp.amqp10.types import ACCEPTED
from pulpit.clock import system_clock
from pulpit.delivery.notifiers import amqp_listener, email_config
from pulpit.delivery.notifiers.amqp10 import Amqp10
from pulpit.delivery.notifiers.email import Email
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.kinds import SwitchedOff
from pulpit.delivery.notifiers.port import Delivered, NotifierType, Retry
from pulpit.errors import InvalidValue
from pulpit.listener_options import AMQP, EMAIL
from pulpit.net.addresses import parse_networks
from pulpit.settings import EmailSettings as Settings
from support.amqp10 import needs_amqp10
from support.amqp10_peer import SILENT, peer
from support.kafka import kafka_cluster, needs_kafka
from support.made_events import event
from support.mailserver import mailserver
from support.nats import nats_server, needs_nats
from support.webhooks import raw, sink

SLOW = "slow@example.com"


@dataclass(frozen=True, kw_only=True)
class World:
    """A kind of notifier, with a far side that takes everything and one that never answers."""

    kind: NotifierType
    works: dict[str, Any]
    hangs: dict[str, Any] | None
    hanging: NotifierType | None = None
    """The kind whose far side hangs, where a configuration does not choose it."""
    lanes: bool = False
    """Whether its listeners may have lanes, so that it is called for several repositories at a time."""


Worlds = Callable[[], AbstractAsyncContextManager[World]]


@contextlib.asynccontextmanager
async def http() -> AsyncIterator[World]:
    kind = Http(system_clock, allow=parse_networks("127.0.0.0/8"))
    async with sink() as far, raw(None, close=False) as silent:
        try:
            yield World(kind=kind, works={"url": far.url}, hangs={"url": silent, "timeout": 1}, lanes=True)
        finally:
            await kind.close()


@contextlib.asynccontextmanager
async def email() -> AsyncIterator[World]:
    async def hang() -> str | None:
        await asyncio.sleep(30)
        return None

    async with mailserver() as far:
        kind = Email(Settings(enabled=True, host="127.0.0.1", port=far.port, timeout=1), system_clock)
        far.on_data = lambda: hang() if SLOW in far.asked else None
        yield World(kind=kind, works={"addresses": ["joe@example.com"]}, hangs={"addresses": [SLOW]}, lanes=True)


@contextlib.asynccontextmanager
async def email_disabled() -> AsyncIterator[World]:
    yield World(
        kind=SwitchedOff(EMAIL, email_config.read, "Off."), works={"addresses": ["joe@example.com"]}, hangs=None
    )


@contextlib.asynccontextmanager
async def amqp_disabled() -> AsyncIterator[World]:
    yield World(kind=SwitchedOff(AMQP, amqp_listener.check_config, "Off."), works={}, hangs=None)


@contextlib.asynccontextmanager
async def amqp_10() -> AsyncIterator[World]:
    hang = {"routing_key": "hang"}
    async with peer(judge=lambda _, message: SILENT if message.subject == "hang" else ACCEPTED) as far:
        publisher = Publisher([BrokerAddress(host="127.0.0.1", port=far.port)], ClientSettings(name="test"))
        kind = Amqp10(publisher, "pulp", accept_timeout=5)
        try:
            yield World(kind=kind, works={"exchange": "pulp"}, hangs=hang)
        finally:
            await kind.close()


@contextlib.asynccontextmanager
async def nats() -> AsyncIterator[World]:
    from pulpit.delivery.notifiers.nats_connection import NatsServers  # noqa: PLC0415 - an extra of the installation
    from pulpit.delivery.notifiers.nats_jetstream import Nats  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory() as folder, nats_server(Path(folder)) as far:
        kind = Nats(NatsServers(urls=(far.url,)), "CONTRACT")
        async with raw(None, close=False) as silent:
            hanging = Nats(NatsServers(urls=(silent.replace("http:", "nats:").rsplit("/", 1)[0],)), "CONTRACT")
            try:
                yield World(kind=kind, works={"subject": "contract.{event_type}"}, hangs={}, hanging=hanging)
            finally:
                await kind.close()
                await hanging.close()


@contextlib.asynccontextmanager
async def kafka() -> AsyncIterator[World]:
    from pulpit.delivery.notifiers.kafka import Kafka, KafkaBrokers  # noqa: PLC0415 - an extra of the installation

    with kafka_cluster() as far:
        async with raw(None, close=False) as silent:
            kind = Kafka(KafkaBrokers(servers=far.servers), "contract")
            address = silent.removeprefix("http://").partition("/")[0]
            hanging = Kafka(KafkaBrokers(servers=address), "contract", message_timeout=1)
            try:
                yield World(kind=kind, works={}, hangs={}, hanging=hanging)
            finally:
                await kind.close()
                await hanging.close()


WORLDS = [
    http,
    email,
    email_disabled,
    amqp_disabled,
    pytest.param(amqp_10, marks=needs_amqp10, id="amqp_10"),
    pytest.param(nats, marks=needs_nats, id="nats"),
    pytest.param(kafka, marks=needs_kafka, id="kafka"),
]


@pytest.fixture(params=WORLDS, ids=lambda param: param.__name__)
def world(request: pytest.FixtureRequest) -> Worlds:
    chosen: Worlds = request.param
    return chosen


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


def test_delivers_every_event_with_one_outcome_each(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            notifier = here.kind.open(here.works)
            await notifier.prepare()
            outcomes = await notifier.deliver([event(number) for number in range(1, 4)])
            assert [type(outcome) for outcome in outcomes] == [Delivered] * 3
            await notifier.close()

    run(story)


def test_a_far_side_that_hangs_is_a_retry_within_a_bounded_time(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            if here.hangs is None:
                return
            notifier = (here.hanging or here.kind).open(here.hangs)
            (outcome,) = await asyncio.wait_for(notifier.deliver([event(1), event(2)]), 20)
            assert isinstance(outcome, Retry)
            assert outcome.reason.endswith(".")
            await notifier.close()

    run(story)


def test_can_be_cancelled_at_any_moment_and_used_again(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            notifier = here.kind.open(here.works)
            for pause in (0.0, 0.001, 0.003, 0.01):
                task = asyncio.create_task(_deliver(here, [1, 2]))
                await asyncio.sleep(pause)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            outcomes = await notifier.deliver([event(3)])
            assert [type(outcome) for outcome in outcomes] == [Delivered]
            await notifier.close()

    run(story)


def test_one_that_takes_lanes_is_called_for_several_repositories_at_a_time(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            if not here.lanes:
                return
            here.kind.check_config({**here.works, "lanes": 4})
            notifier = here.kind.open({**here.works, "lanes": 4})
            calls = [asyncio.create_task(notifier.deliver([event(number)])) for number in range(1, 6)]
            await asyncio.sleep(0)
            calls[0].cancel()
            outcomes = await asyncio.gather(*calls[1:])
            assert [type(outcome) for (outcome,) in outcomes] == [Delivered] * 4
            await notifier.close()

    run(story)


async def _deliver(here: World, numbers: list[int]) -> None:
    notifier = here.kind.open(here.works)
    try:
        await notifier.deliver([event(number) for number in numbers])
    finally:
        await notifier.close()


def test_closing_is_harmless_before_use_and_twice(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            notifier = here.kind.open(here.works)
            await notifier.close()
            await notifier.close()
            await here.kind.close()
            await here.kind.close()

    run(story)


def test_what_is_checked_and_accepted_can_be_opened_and_strange_keys_are_refused(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            here.kind.check_config(here.works)
            with pytest.raises(InvalidValue) as caught:
                here.kind.check_config({**here.works, "colour": "red"})
            assert caught.value.property_names == ["notifier_config"]

    run(story)


def test_a_configuration_that_nobody_checked_is_still_opened(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            notifier = here.kind.open({"colour": "red", "url": 7, "addresses": 7})
            (outcome,) = await notifier.deliver([event()])
            assert isinstance(outcome, Delivered | Retry)
            await notifier.close()

    run(story)


def test_paces_and_declarations_are_sane(world: Worlds) -> None:
    async def story() -> None:
        async with world() as here:
            pace = here.kind.pace
            assert pace.batch >= 1
            assert pace.overlap >= 1
            assert timedelta(0) < pace.first_retry <= pace.longest_retry
            assert here.kind.kind.flaw() is None

    run(story)
