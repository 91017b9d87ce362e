"""The client of AMQP 1.0 against a real RabbitMQ with its plug-in, and against peers that speak otherwise."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp10 import message
from pulpit.amqp.amqp10.client import ClientSettings, Connection, connect
from pulpit.amqp.amqp10.message import Message
from pulpit.amqp.amqp10.types import ACCEPTED, NOT_FOUND, Cause, Lost, Terminus
from support.amqp10 import needs_amqp10
from support.ports import free_port
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq

pytestmark = [needs_amqp10, needs_rabbitmq]
SETTINGS = ClientSettings(name="test", connect_timeout=5)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq"), ["rabbitmq_amqp1_0"]) as running:
        yield running


def at(port: int, user: str = "guest", password: str | None = None) -> BrokerAddress:
    return BrokerAddress(host="127.0.0.1", port=port, user=user, password=password or "guest")


@contextlib.asynccontextmanager
async def connected(broker: RabbitMQ) -> AsyncIterator[Connection]:
    connection = await connect(at(broker.port), SETTINGS)
    try:
        yield connection
    finally:
        await connection.close()


def test_what_is_sent_is_accepted_and_received(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with connected(broker) as connection:
            assert connection.remote
            assert connection.remote.properties["product"] == "RabbitMQ"
            receiver = await connection.receiver(Terminus(address="/exchange/amq.topic/a.#"), window=10)
            sender = await connection.sender(Terminus(address="/exchange/amq.topic"))
            await sender.credited()
            for number in range(1, 101):
                body = str(number).encode()
                assert sender.send(message.encode(Message(body=body, subject="a.b", durable=True))) == number
            await sender.settled(100)
            assert [sender.take_outcome(number) for number in range(1, 101)] == [ACCEPTED] * 100
            for number in range(1, 101):
                delivery = await receiver.next()
                assert message.decode(delivery.message).body == str(number).encode()
                receiver.settle(delivery)

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_refused_link_says_why_and_harms_no_other(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with connected(broker) as connection:
            good = await connection.sender(Terminus(address="/exchange/amq.topic"))
            with pytest.raises(Lost, match="no exchange 'nothing'") as caught:
                await connection.sender(Terminus(address="/exchange/nothing"))
            assert caught.value.condition
            assert caught.value.condition.name == NOT_FOUND
            await good.credited()
            await good.settled(good.send(message.encode(Message(body=b"x"))))

    asyncio.run(asyncio.wait_for(story(), 60))


def test_when_the_connection_is_given_up_everything_on_it_is_lost(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with connected(broker) as connection:
            sender = await connection.sender(Terminus(address="/exchange/amq.topic"))
            receiver = await connection.receiver(Terminus(address="/exchange/amq.topic/a"))
            waiting = asyncio.create_task(receiver.next())
            await asyncio.sleep(0)
            number = sender.send(message.encode(Message(body=b"x")))
            connection.abandon()
            await sender.settled(number)
            assert not sender.decided(number)
            for act in (lambda: waiting, sender.credited, lambda: connection.sender(Terminus(address="/exchange/a"))):
                with pytest.raises(Lost):
                    await act()

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.parametrize(("user", "password"), [("guest", "wrong"), ("nobody", "x")])
def test_a_log_in_that_fails_is_said_without_the_password(broker: RabbitMQ, user: str, password: str) -> None:
    async def story() -> None:
        with pytest.raises(Lost, match="The login was refused") as caught:
            await connect(at(broker.port, user, password), SETTINGS)
        assert caught.value.cause is Cause.LOGIN
        assert "wrong" not in str(caught.value)

    asyncio.run(asyncio.wait_for(story(), 60))


@contextlib.asynccontextmanager
async def peer(says: bytes) -> AsyncIterator[int]:
    """Run something that says a few bytes to everybody, and nothing more."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def test_a_peer_that_is_not_there_or_speaks_otherwise_is_said_in_words() -> None:
    async def story() -> None:
        with pytest.raises(Lost, match="cannot be reached: Connection refused") as caught:
            await connect(at(free_port()), SETTINGS)
        assert caught.value.cause is Cause.UNREACHABLE
        async with peer(b"AMQP\x00\x00\x09\x01") as port:
            with pytest.raises(Lost, match="speaks AMQP 0-9-1") as caught:
                await connect(at(port), SETTINGS)
            assert caught.value.cause is Cause.PROTOCOL
        async with peer(b"") as port:
            with pytest.raises(Lost, match="did not answer in time") as caught:
                await connect(at(port), ClientSettings(name="test", connect_timeout=0.3))
            assert caught.value.cause is Cause.SILENT

    asyncio.run(asyncio.wait_for(story(), 60))
