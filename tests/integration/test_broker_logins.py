"""Users and passwords outside ASCII at both brokers, by every way to log in."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import amqp
import pytest

import pulpit
from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.broker.config import BrokerUser
from pulpit.net.passwords import Password
from pulpit.server.messaging import broker_addresses
from pulpit.settings import MessagingSettings
from support.embedded_broker import broker_thread
from support.listen_script import listening
from support.rabbitmq import needs_rabbitmq, rabbitmq

USER, PASSWORD = "jörg@日本", "pä/ß:%é, ☃"


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("rabbitmq", marks=[pytest.mark.needs_rabbitmq, needs_rabbitmq])]
)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if request.param == "embedded":
        with broker_thread(users={USER: BrokerUser(password=Password(PASSWORD))}) as broker:
            yield broker.port
        return
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as node:
        node.control("add_user", USER, PASSWORD)
        node.control("set_permissions", USER, ".*", ".*", ".*")
        yield node.port


def encoded(port: int) -> str:
    return f"amqp://{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"


def private(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def test_a_program_subscribes(port: int) -> None:
    async def story() -> None:
        async with pulpit.subscribe([encoded(port)]):
            pass

    asyncio.run(story())


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_url_may_stand_in_a_file_with_whatever_mark_an_editor_puts_before_it(
    port: int, tmp_path: Path, mark: str
) -> None:
    path = private(tmp_path / "url", f"{mark}{encoded(port)}\n")
    with listening(tmp_path, "--url-file", path) as listener:
        listener.until_ready()
        assert listener.end() == 0


def test_a_server_publishes_by_a_user_and_a_password_of_their_own_keys(port: int, tmp_path: Path) -> None:
    async def story(section: MessagingSettings) -> None:
        publisher = Publisher(broker_addresses(section))
        await publisher.channel_for("pulp")
        await publisher.close()

    path = private(tmp_path / "password", f"{PASSWORD}\r\n")
    url = f"amqp://127.0.0.1:{port}"
    asyncio.run(story(MessagingSettings(url=url, username=USER, password_file=path)))
    asyncio.run(story(MessagingSettings(url=f"amqp://{quote(USER, safe='')}@127.0.0.1:{port}", password_file=path)))


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_other_clients_log_in(port: int, mechanism: str) -> None:
    make: Any = amqp  # it has no types
    with make.Connection(f"127.0.0.1:{port}", userid=USER, password=PASSWORD, login_method=mechanism) as connection:
        assert connection.connected
