"""Both brokers for the contract tests: the embedded one and a real RabbitMQ, started once for all modules."""

from collections.abc import Iterator

import pytest

from support.embedded_broker import BrokerProcess, broker_process
from support.rabbitmq import RabbitMQ, major_version, rabbitmq, why_not
from support.restricted_users import definitions, write_people


@pytest.fixture(autouse=True)
def _differs_in_rabbitmq_4(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("rabbitmq_4_differs")
    if marker and request.node.callspec.params.get("amqp") == "rabbitmq" and major_version() >= 4:
        pytest.skip(f"RabbitMQ 4 {marker.args[0]}")


@pytest.fixture(scope="session", params=["embedded", "rabbitmq"])
def amqp(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerProcess | RabbitMQ]:
    """A broker that speaks AMQP 0-9-1, with the user guest and the people with few rights."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        with broker_process(folder, **write_people(folder)) as embedded:
            yield embedded
    else:
        if reason := why_not():
            pytest.skip(reason)
        with rabbitmq(folder) as reference:
            reference.control("import_definitions", str(definitions(folder)))
            yield reference


@pytest.fixture(scope="session")
def port(amqp: BrokerProcess | RabbitMQ) -> int:
    return amqp.port
