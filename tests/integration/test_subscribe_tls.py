"""`pulpit.subscribe` over TLS, with a client certificate as the login."""

import asyncio
import ssl
from contextlib import closing
from pathlib import Path

import pika
import pytest
import trustme
from pika.credentials import ExternalCredentials

import pulpit
from pulpit.broker.config import BrokerUser
from pulpit.net.passwords import Password
from support.embedded_broker import broker_thread

CA = "ca.pem"
CERTIFICATE = "client.pem"


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder with an authority, and a certificate for ann."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / CA)
    client = authority.issue_cert("client@example.org", common_name="ann")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / CERTIFICATE)
    (tmp_path / CERTIFICATE).chmod(0o600)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return tmp_path


def server_context(papers: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=papers / CA)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(papers / "server.pem")
    return context


def publish(port: int, papers: Path) -> None:
    context = ssl.create_default_context(cafile=papers / CA)
    context.load_cert_chain(papers / CERTIFICATE)
    parameters = pika.ConnectionParameters(
        "127.0.0.1", port, credentials=ExternalCredentials(), ssl_options=pika.SSLOptions(context, "127.0.0.1")
    )
    with closing(pika.BlockingConnection(parameters)) as connection:
        connection.channel().basic_publish("amq.topic", "a.b", b"{}")


def test_a_certificate_is_shown_and_logs_in(papers: Path) -> None:
    async def story(port: int) -> None:
        url = f"amqps://127.0.0.1:{port}"
        async with pulpit.subscribe(url, ca_path=papers / CA, client_cert=papers / CERTIFICATE) as events:
            await asyncio.to_thread(publish, port, papers)
            event = await asyncio.wait_for(anext(events), 10)
            assert event.subject == "a.b"

    users = {"ann": BrokerUser(password=Password("never used"))}
    with broker_thread(ssl_context=server_context(papers), users=users) as broker:
        asyncio.run(story(broker.port))


def test_a_key_that_others_can_read_is_refused(papers: Path) -> None:
    (papers / CERTIFICATE).chmod(0o644)
    with pytest.raises(pulpit.ConfigurationError, match="client_cert: others can read the key"):
        pulpit.subscribe("amqps://localhost", ca_path=papers / CA, client_cert=papers / CERTIFICATE)
