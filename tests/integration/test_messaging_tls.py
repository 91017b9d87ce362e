"""Events to a broker over TLS: verification, its error messages, client certificates, and no loss."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pika
import pytest

from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.broker.config import BrokerUser
from pulpit.delivery.notifiers.amqp091 import Amqp091
from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Retry
from pulpit.net.passwords import Password
from pulpit.server.messaging import broker_addresses, trust
from pulpit.settings import MessagingSettings
from support.authority import Authority
from support.embedded_broker import broker_thread
from support.made_events import event
from support.ports import free_port
from support.rabbitmq import certificate_log_in, needs_rabbitmq, rabbitmq

logging.getLogger("pika").setLevel(logging.CRITICAL)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@contextlib.asynccontextmanager
async def notifier(section: MessagingSettings) -> AsyncIterator[Notifier]:
    publisher = Publisher(broker_addresses(section), trust(section), by_certificate=bool(section.clientcert))
    kind = Amqp091(publisher, "amq.topic", source="/pulpit/test")
    opened = kind.open({})
    try:
        yield opened
    finally:
        await opened.close()
        await kind.close()


def deliver(section: MessagingSettings) -> Sequence[Outcome]:
    async def story() -> Sequence[Outcome]:
        async with notifier(section) as opened:
            return await opened.deliver([event(1)])

    return asyncio.run(story())


def broken(authority: Authority, other: Authority) -> dict[str, Path]:
    return {
        "certificate has expired": authority.issue("expired", expired=True),
        "Hostname mismatch": authority.issue("elsewhere", "broker.example.com"),
        "unable to get local issuer certificate": other.issue("stranger"),
    }


@pytest.mark.parametrize("words", ["certificate has expired", "mismatch", "unable to get local issuer certificate"])
def test_a_certificate_that_is_not_right_delays_in_a_sentence_and_loses_nothing(
    authority: Authority, tmp_path: Path, words: str
) -> None:
    wrong = next(path for why, path in broken(authority, Authority(tmp_path / "other")).items() if words in why)
    port = free_port()
    section = MessagingSettings(url=f"amqps://127.0.0.1:{port}/%2F", cacert=str(authority.file))
    context = authority.server(wrong)

    async def story() -> None:
        async with notifier(section) as opened:
            (outcome,) = await opened.deliver([event(1)])
            assert isinstance(outcome, Retry)
            assert outcome.reason.startswith(
                f"The broker at 127.0.0.1:{port} cannot be used: its certificate is not trusted: "
            )
            assert words in outcome.reason
            context.load_cert_chain(authority.issue("right"))
            assert list(await opened.deliver([event(1)])) == [DELIVERED]

    with broker_thread(port=port, ssl_context=context):
        asyncio.run(story())


def test_a_broker_without_tls_is_told_as_such(authority: Authority) -> None:
    with broker_thread() as broker:
        section = MessagingSettings(url=f"amqps://127.0.0.1:{broker.port}/%2F", cacert=str(authority.file))
        (outcome,) = deliver(section)
    assert isinstance(outcome, Retry)
    assert "TLS" in outcome.reason


def test_a_certificate_logs_in_to_the_embedded_broker(authority: Authority) -> None:
    context = authority.server(authority.issue("server"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_OPTIONAL
    users = {"robot": BrokerUser(password=Password("never used"))}
    mine = authority.issue("client", "robot@example.com", common_name="robot")
    with broker_thread(ssl_context=context, users=users) as broker:
        url = f"amqps://localhost:{broker.port}/%2F"
        assert list(deliver(MessagingSettings(url=url, cacert=str(authority.file), clientcert=str(mine)))) == [
            DELIVERED
        ]
        (refused,) = deliver(MessagingSettings(url=url, cacert=str(authority.file)))
    assert isinstance(refused, Retry)
    assert "the login was refused" in refused.reason


@pytest.fixture
def broker_that_asks(authority: Authority, tmp_path: Path) -> Iterator[int]:
    """A RabbitMQ that lets those in who show a certificate."""
    port, server = free_port(), authority.issue("server")
    settings = certificate_log_in(port, authority.file, server, must_show=True)
    with rabbitmq(tmp_path / "rabbitmq", ["rabbitmq_auth_mechanism_ssl"], settings) as broker:
        broker.control("add_user", "robot", "never used")
        broker.control("set_permissions", "robot", ".*", ".*", ".*")
        yield port


@needs_rabbitmq
def test_a_certificate_logs_in_to_rabbitmq(authority: Authority, broker_that_asks: int) -> None:
    url = f"amqps://localhost:{broker_that_asks}/%2F"
    known = authority.issue("client", "robot@example.com", common_name="robot")
    unknown = authority.issue("other", "nobody@example.com", common_name="nobody")
    base: dict[str, Any] = {"url": url, "cacert": str(authority.file)}
    assert list(deliver(MessagingSettings(**base, clientcert=str(known)))) == [DELIVERED]
    with_password = MessagingSettings(**base | {"url": url.replace("//", "//guest:guest@")}, clientcert=str(unknown))
    assert list(deliver(with_password)) == [DELIVERED]
    for section in (MessagingSettings(**base, clientcert=str(unknown)), MessagingSettings(**base)):
        (outcome,) = deliver(section)
        assert isinstance(outcome, Retry)
        assert "the login was refused" in outcome.reason or "it wants a client certificate" in outcome.reason
    with pytest.raises(pika.exceptions.AMQPConnectionError):  # nobody is let in without one
        pika.BlockingConnection(
            pika.ConnectionParameters(
                "localhost", broker_that_asks, ssl_options=pika.SSLOptions(authority.client(), "localhost")
            )
        )
