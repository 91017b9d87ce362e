"""AMQP 1.0 of the embedded broker and of RabbitMQ 3.10 with its plug-in: what is the same in both."""

from collections.abc import Iterator
from typing import Any

import pika
import pytest

from support.amqp10 import needs_amqp10
from support.broker_process import BrokerProcess, broker_process
from support.rabbitmq import RabbitMQ, rabbitmq, why_not

proton = pytest.importorskip("proton", reason="python-qpid-proton is not installed")
utils = pytest.importorskip("proton.utils")
pytestmark = needs_amqp10


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerProcess | RabbitMQ]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        with broker_process(folder) as embedded:
            yield embedded
    else:
        if reason := why_not():
            pytest.skip(reason)
        with rabbitmq(folder, ["rabbitmq_amqp1_0"]) as reference:
            yield reference


@pytest.fixture
def client(broker: BrokerProcess | RabbitMQ) -> Iterator[Any]:
    connection = utils.BlockingConnection(f"amqp://guest:guest@127.0.0.1:{broker.port}", timeout=10)
    yield connection
    connection.close()


@pytest.fixture
def older(broker: BrokerProcess | RabbitMQ) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        yield connection.channel()


def text(message: Any) -> bytes:
    return bytes(message.body)


def test_subjects_are_routed_to_a_pattern(client: Any) -> None:
    receiver = client.create_receiver("/exchange/amq.topic/repo.*.finish", credit=5)
    sender = client.create_sender("/exchange/amq.topic")
    for subject in ("repo.sync.start", "repo.sync.finish", "other", "repo.publish.finish"):
        sender.send(proton.Message(body=subject.encode(), subject=subject), error_states=[])
    seen = []
    for _ in range(2):
        seen.append(text(receiver.receive(10)))
        receiver.accept()
    assert seen == [b"repo.sync.finish", b"repo.publish.finish"]


def test_a_key_stands_in_the_address(client: Any) -> None:
    receiver = client.create_receiver("/topic/a.#", credit=5)
    client.create_sender("/topic/a.b").send(proton.Message(body=b"x"))
    assert text(receiver.receive(10)) == b"x"
    receiver.accept()


def test_a_queue_is_made_where_it_is_named(client: Any, older: Any, broker: BrokerProcess | RabbitMQ) -> None:
    client.create_sender("/queue/made").send(proton.Message(body=b"1"))
    assert older.queue_declare("made", passive=True).method.message_count == 1
    older.queue_declare("made", durable=isinstance(broker, BrokerProcess))
    receiver = client.create_receiver("/amq/queue/made", credit=1)
    assert text(receiver.receive(10)) == b"1"
    receiver.accept()


def test_what_is_given_back_comes_again_marked_and_what_is_rejected_is_gone(client: Any, older: Any) -> None:
    older.queue_declare("outcomes", durable=True)
    client.create_sender("/amq/queue/outcomes").send(proton.Message(body=b"x"))
    receiver = client.create_receiver("/amq/queue/outcomes", credit=1)
    assert receiver.receive(10).first_acquirer
    receiver.release(delivered=False)
    receiver.flow(1)
    assert not receiver.receive(10).first_acquirer
    receiver.reject()
    client.create_sender("/topic/a")  # whose answer comes behind what was said before
    assert older.queue_declare("outcomes", passive=True).method.message_count == 0


def test_properties_reach_the_older_dialect(client: Any, older: Any, broker: BrokerProcess | RabbitMQ) -> None:
    older.queue_declare("crossing", durable=True)
    client.create_sender("/amq/queue/crossing").send(
        proton.Message(
            body=b"body", inferred=True, id="m", correlation_id="c", durable=True, priority=7, user_id=b"guest",
            content_type="text/plain", creation_time=1_700_000_000, properties={"text": "ü", "flag": True},
        )
    )  # fmt: skip
    method, properties, body = next(older.consume("crossing", inactivity_timeout=10, auto_ack=True))
    assert (method.routing_key, body) == ("crossing", b"body")
    assert (properties.message_id, properties.correlation_id, properties.user_id) == ("m", "c", "guest")
    assert (properties.delivery_mode, properties.priority, properties.content_type) == (2, 7, "text/plain")
    if isinstance(broker, BrokerProcess):  # the plug-in hides the former, and takes milliseconds for seconds
        assert properties.headers == {"text": "ü", "flag": True}
        assert properties.timestamp == 1_700_000_000


def test_properties_come_from_the_older_dialect(client: Any, older: Any, broker: BrokerProcess | RabbitMQ) -> None:
    receiver = client.create_receiver("/exchange/amq.topic/back.#", credit=1)
    properties = pika.BasicProperties(
        message_id="m", correlation_id="c", reply_to="answers", delivery_mode=2, content_type="text/plain",
        timestamp=1_700_000_000, headers={"text": "ü", "number": 5},
    )  # fmt: skip
    older.basic_publish("amq.topic", "back.here", b"body", properties)
    message = receiver.receive(10)
    receiver.accept()
    assert (text(message), message.subject, message.durable) == (b"body", "back.here", True)
    assert (message.id, message.correlation_id, message.content_type) == ("m", "c", "text/plain")
    if isinstance(broker, BrokerProcess):  # the plug-in drops headers
        assert message.properties == {"text": "ü", "number": 5}


def test_what_goes_nowhere_is_told_here_and_not_there(client: Any, broker: BrokerProcess | RabbitMQ) -> None:
    sender = client.create_sender("/exchange/amq.topic")
    delivery = sender.send(proton.Message(body=b"x", subject="nobody"), error_states=[])
    embedded = isinstance(broker, BrokerProcess)
    assert delivery.remote_state == (proton.Delivery.RELEASED if embedded else proton.Delivery.ACCEPTED)


def test_a_refused_link_costs_the_link_here_and_the_session_there(broker: BrokerProcess | RabbitMQ) -> None:
    connection = utils.BlockingConnection(f"amqp://guest:guest@127.0.0.1:{broker.port}", timeout=3)
    good = connection.create_sender("/exchange/amq.topic")
    with pytest.raises((utils.LinkDetached, proton.Timeout)):
        connection.create_sender("/exchange/none")
    embedded = isinstance(broker, BrokerProcess)
    assert bool(good.link.session.state & proton.Endpoint.REMOTE_ACTIVE) == embedded
    connection.close()
