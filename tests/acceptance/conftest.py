"""What the acceptance tests share: brokers and an upstream."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.amqp.amqp10 import proton
from support.rabbitmq import RabbitMQ, rabbitmq, why_not
from support.server import Server, pulpit
from support.upstream import running

# What pika says of brokers that a test kills is no news.
logging.getLogger("pika").setLevel(logging.CRITICAL)


@pytest.fixture(params=["embedded", "rabbitmq"])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server and the URL of its broker, once with the embedded one and once with a RabbitMQ."""
    if request.param == "embedded":
        with pulpit(tmp_path / "data") as server:
            yield server, server.amqp_url
        return
    if why_not():
        pytest.skip(why_not() or "")
    with (
        rabbitmq(tmp_path / "rabbitmq", ["rabbitmq_amqp1_0"]) as broker,
        pulpit(tmp_path / "data", f"[messaging]\nurl: {broker.url}\n") as server,
    ):
        yield server, broker.url


@pytest.fixture
def system10(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server that sends its events over AMQP 1.0 to a RabbitMQ, and the URL of that."""
    if not proton.available():
        pytest.skip("python-qpid-proton is not installed")
    if why_not():
        pytest.skip(why_not() or "")
    with rabbitmq(tmp_path / "rabbitmq", ["rabbitmq_amqp1_0"]) as broker:
        conf = f"[messaging]\nurl: {broker.url.replace('amqp:', 'amqp+10:')}\n"
        with pulpit(tmp_path / "data", conf) as server:
            yield server, broker.url


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ that the test may kill."""
    if why_not():
        pytest.skip(why_not() or "")
    with rabbitmq(tmp_path / "rabbitmq") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """One server with its embedded broker and one file repository, for tests that only look."""
    with pulpit(tmp_path_factory.mktemp("shared") / "data") as server, running() as upstream:
        upstream.put("a.iso", b"a")
        upstream.manifest()
        server.create_iso("files", upstream.url)
        yield server, server.amqp_url
