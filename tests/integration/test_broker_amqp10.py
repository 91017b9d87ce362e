"""AMQP 1.0 of the embedded broker over real sockets: Proton's own client, the other dialect beside it, TLS, kills."""

import json
import os
import random
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
import trustme
from pamqp import commands

from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.words import Terminus
from pulpit.broker.config import User
from pulpit.broker.passwords import Password
from support.amqp import Wire
from support.amqp10 import needs_amqp10
from support.broker_process import BrokerProcess, broker_process
from support.broker_thread import broker_thread
from support.server import Server, pulpit
from support.upstream import running
from support.waiting import until

proton = pytest.importorskip("proton", reason="python-qpid-proton is not installed")
reactor = pytest.importorskip("proton.reactor")
handlers = pytest.importorskip("proton.handlers")
utils = pytest.importorskip("proton.utils")

pytestmark = needs_amqp10
ROUNDS = int(os.environ.get("PULPIT_KILL_ROUNDS", "50")) // 5
TOPIC = "apache.org:legacy-amqp-topic-binding:string"
FINISHES = "pulp.server.repo.*.finish"
PAGE = Path(__file__).parents[2] / "docs" / "broker.md"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with broker_process(tmp_path_factory.mktemp("broker")) as process:
        yield process


@pytest.fixture
def client(broker: BrokerProcess) -> Iterator[Any]:
    connection = utils.BlockingConnection(f"amqp://guest:guest@127.0.0.1:{broker.port}", timeout=10)
    yield connection
    connection.close()


@pytest.fixture
def older(broker: BrokerProcess) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def topic_filter(pattern: str) -> Any:
    """Qpid's filter, as a client of Proton writes it."""
    return reactor.Filter({proton.symbol("pattern"): proton.Described(proton.symbol(TOPIC), pattern)})


def text(message: Any) -> bytes:
    return bytes(message.body)


# -- what Proton's blocking client does


def test_events_are_chosen_by_a_topic_filter(client: Any) -> None:
    receiver = client.create_receiver("amq.topic", options=topic_filter(FINISHES), credit=10)
    sender = client.create_sender("amq.topic")
    for subject in ("pulp.server.repo.sync.finish", "pulp.server.repo.publish.finish"):
        sender.send(proton.Message(body=subject.encode(), subject=subject))
    with pytest.raises(utils.SendException):
        sender.send(proton.Message(body=b"", subject="pulp.server.repo.sync.start"))
    seen = []
    for _ in range(2):
        seen.append(receiver.receive(10).subject)
        receiver.accept()
    assert seen == ["pulp.server.repo.sync.finish", "pulp.server.repo.publish.finish"]


def test_a_question_is_answered_by_way_of_a_dynamic_node(client: Any, broker: BrokerProcess) -> None:
    def serve() -> None:
        connection = utils.BlockingConnection(f"amqp://127.0.0.1:{broker.port}", timeout=10)
        questions = connection.create_receiver("questions", credit=1)
        question = questions.receive(10)
        answers = connection.create_sender(None)
        answers.send(
            proton.Message(
                address=question.reply_to, body=question.body.upper(), correlation_id=question.correlation_id
            )
        )
        questions.accept()
        connection.close()

    client.create_receiver("/queue/questions").close()
    server = threading.Thread(target=serve)
    server.start()
    answer = utils.SyncRequestResponse(client, "questions").call(proton.Message(body="hello"))
    server.join(10)
    assert answer.body == "HELLO"


def test_an_exchange_is_created_on_demand_as_qpid_does(client: Any, older: Any) -> None:
    class Creating(reactor.SenderOption):  # type: ignore[misc, name-defined]
        def apply(self, link: Any) -> None:
            link.target.capabilities.put_object(
                proton.Array(proton.UNDESCRIBED, proton.Data.SYMBOL, "create-on-demand", "topic")
            )
            properties = {proton.symbol("exchange-type"): "topic", proton.symbol("durable"): True}
            link.target.properties.put_object(properties)

    client.create_sender("on-demand", options=Creating()).close()
    older.exchange_declare("on-demand", "topic", durable=True)


def test_a_refused_link_leaves_the_others_alone(client: Any) -> None:
    good = client.create_receiver("amq.fanout", credit=1)
    with pytest.raises(utils.LinkDetached, match="amqp:not-found"):
        client.create_sender("nothing")
    client.create_sender("amq.fanout").send(proton.Message(body=b"x"))
    assert text(good.receive(10)) == b"x"
    good.accept()


class Many(handlers.MessagingHandler):  # type: ignore[misc, name-defined]
    """Proton's examples simple_send and simple_recv in one: as many as credit allows, until all are confirmed."""

    def __init__(self, url: str, address: str, count: int, size: int) -> None:
        super().__init__(prefetch=100)
        self.url, self.address, self.count = url, address, count
        self.body = b"x" * size
        self.sent = self.confirmed = 0
        self.received: list[int] = []

    def on_start(self, event: Any) -> None:
        connection = event.container.connect(self.url)
        event.container.create_receiver(connection, self.address)
        event.container.create_sender(connection, self.address)

    def on_sendable(self, event: Any) -> None:
        while event.sender.credit and self.sent < self.count:
            event.sender.send(proton.Message(id=self.sent, body=self.body, durable=True))
            self.sent += 1

    def on_accepted(self, event: Any) -> None:
        self.confirmed += event.link.is_sender
        self._end(event)

    def on_message(self, event: Any) -> None:
        self.received.append(event.message.id)
        self._end(event)

    def _end(self, event: Any) -> None:
        if self.confirmed == len(self.received) == self.count:
            event.connection.close()


@pytest.mark.parametrize(("count", "size"), [(3000, 100), (40, 500_000)])
def test_many_messages_come_in_order_and_once(broker: BrokerProcess, count: int, size: int) -> None:
    many = Many(f"amqp://127.0.0.1:{broker.port}", f"/queue/many-{size}", count, size)
    reactor.Container(many).run()
    assert many.received == list(range(count))


# -- both dialects


def test_what_pika_publishes_proton_receives(client: Any, older: Any) -> None:
    receiver = client.create_receiver("/exchange/amq.topic/cross.#", credit=1)
    properties = pika.BasicProperties(
        content_type="application/json",
        headers={"cloudEvents:id": "1", "number": 5},
        delivery_mode=2,
        correlation_id="c",
        message_id="m",
        timestamp=1_700_000_000,
        reply_to="answers",
        expiration="60000",
        user_id="guest",
    )
    older.basic_publish("amq.topic", "cross.event", b'{"a": 1}', properties)
    message = receiver.receive(10)
    receiver.accept()
    assert (text(message), message.subject, message.durable) == (b'{"a": 1}', "cross.event", True)
    assert (message.id, message.correlation_id, message.reply_to) == ("m", "c", "answers")
    assert (message.content_type, message.creation_time, message.ttl) == ("application/json", 1_700_000_000, 60)
    assert message.properties == {"cloudEvents:id": "1", "number": 5}
    assert message.user_id == b"guest"


def test_what_proton_sends_pika_consumes(client: Any, older: Any) -> None:
    queue = older.queue_declare("", exclusive=True).method.queue
    older.queue_bind(queue, "amq.topic", "cross.#")
    client.create_sender("/exchanges/amq.topic").send(
        proton.Message(
            body=b"body",
            inferred=True,
            subject="cross.back",
            id="m",
            correlation_id=proton.ulong(7),
            content_type=proton.symbol("text/plain"),
            reply_to="/queues/answers",
            durable=True,
            priority=9,
            ttl=60,
            creation_time=1_700_000_000,
            properties={"text": "ü", "flag": True},
        )
    )
    method, properties, body = next(older.consume(queue, inactivity_timeout=10))
    assert (method.routing_key, body) == ("cross.back", b"body")
    assert (properties.message_id, properties.correlation_id, properties.reply_to) == ("m", "7", "answers")
    assert (properties.content_type, properties.delivery_mode, properties.priority) == ("text/plain", 2, 9)
    assert (properties.expiration, properties.timestamp) == ("60000", 1_700_000_000)
    assert properties.headers == {"text": "ü", "flag": True, "x-correlation-id-type": "ulong"}


def test_consumers_of_both_dialects_share_a_queue(client: Any, older: Any) -> None:
    older.queue_declare("shared", durable=True)
    receiver = client.create_receiver("shared", credit=2)
    older.basic_qos(prefetch_count=2)
    for number in range(4):
        older.basic_publish("", "shared", b"%d" % number)
    mine = []
    for _ in range(2):
        mine.append(text(receiver.receive(10)))
        receiver.accept()
    receiver.close()
    rest = []
    for method, _, body in older.consume("shared", inactivity_timeout=10):
        rest.append(body)
        older.basic_ack(method.delivery_tag)
        if len(rest) == 2:
            break
    older.cancel()
    assert sorted(mine + rest) == [b"0", b"1", b"2", b"3"]


# -- the seed's scenario


def clients(server: Server) -> list[dict[str, Any]]:
    """Those that speak AMQP 1.0 and consume, as the server tells."""
    found = server.call("GET", "/pulpit/v1/broker")["connections"]
    return [each for each in found if each["dialect"] == "AMQP 1.0" and each["consumers"]]


def test_the_finishes_of_a_sync_reach_a_receiver_with_a_topic_filter(tmp_path: Path) -> None:
    with running() as upstream, pulpit(tmp_path / "data") as server:
        upstream.put("a.iso", b"a" * 4096)
        upstream.manifest()
        server.listen("pulp")
        server.create_iso("files", upstream.url)
        url = server.amqp_url.replace("%2F", "")
        connection = utils.BlockingConnection(url, timeout=20)
        receiver = connection.create_receiver("pulp", options=topic_filter(FINISHES), credit=10)
        code = PAGE.read_text().split("```python\n")[1].split("```")[0].replace("5672", str(server.broker_port))
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as example:
            until(lambda: len(clients(server)) == 2, what="the example of the page")
            server.ended(server.sync("files"))
            assert example.stdout
            assert [example.stdout.readline() for _ in range(2)] == [
                "pulp.server.repo.sync.finish\n",
                "pulp.server.repo.publish.finish\n",
            ]
            example.kill()
        printed = []
        for _ in range(2):
            message = receiver.receive(20)
            receiver.accept()
            printed.append((message.subject, json.loads(text(message))["payload"]["result"]))
        until(lambda: len(clients(server)) == 1, what="the end of the example")
        (seen,) = clients(server)
        connection.close()
    assert printed == [
        ("pulp.server.repo.sync.finish", "success"),
        ("pulp.server.repo.publish.finish", "success"),
    ]
    assert (seen["consumers"], seen["delivered"]) == (1, 2)


# -- security


def test_a_certificate_logs_in_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    authority.issue_cert("localhost").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    mine = authority.issue_cert("client@example.org", common_name="ann")
    mine.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ann.pem"))
    domain = proton.SSLDomain(proton.SSLDomain.MODE_CLIENT)
    domain.set_credentials(str(tmp_path / "ann.pem"), str(tmp_path / "ann.pem"), None)
    domain.set_trusted_ca_db(str(tmp_path / "ca.pem"))
    domain.set_peer_authentication(proton.SSLDomain.VERIFY_PEER_NAME)
    users = {"ann": User(password=Password("never used"))}
    with broker_thread(ssl_context=server, users=users) as broker:
        connection = utils.BlockingConnection(
            f"amqps://localhost:{broker.port}", timeout=10, ssl_domain=domain, allowed_mechs="EXTERNAL"
        )
        (seen,) = broker.ask(lambda each: each.status().connections)
        connection.close()
    assert (seen.user, seen.secure, seen.dialect) == ("ann", True, "AMQP 1.0")


@pytest.mark.parametrize(
    ("url", "users"),
    [
        ("amqp://guest:wrong@127.0.0.1:{}", None),
        ("amqp://127.0.0.1:{}", {"ann": User(password=Password("x"))}),
    ],
)
def test_who_may_not_come_in_stays_outside(url: str, users: dict[str, User] | None) -> None:
    settings: dict[str, Any] = {} if users is None else {"users": users}
    with broker_thread(failed_login_delay=0.01, **settings) as broker:
        with pytest.raises(proton.ConnectionException, match="uthenticat"):
            utils.BlockingConnection(url.format(broker.port), timeout=10)
        assert broker.ask(lambda each: len(each.status().connections)) == 0


def test_memory_that_runs_out_holds_publishers_up_and_lets_them_go_on() -> None:
    with broker_thread(memory_limit=2_000_000, max_message_size=100_000) as broker:
        many = Many(f"amqp://127.0.0.1:{broker.port}", "/queue/q", 60, 90_000)
        running = threading.Thread(target=reactor.Container(many).run, daemon=True)
        with Wire(broker.port) as filling, Wire(broker.port) as clearing:
            filling.declare("full", exclusive=False)
            for _ in range(30):
                filling.publish(b"x" * 90_000, "full")
            until(lambda: broker.ask(lambda each: each.house.alarm), what="an alarm")
            running.start()
            until(lambda: broker.ask(lambda each: len(each.status().connections)) == 3, what="the third client")
            assert many.sent == 0
            filling.hang_up()
            clearing.call(commands.Queue.Purge(0, "full"))
            running.join(30)
        assert not running.is_alive()
        assert many.received == list(range(60))


def test_a_receiver_that_does_not_read_gets_a_piece_of_the_queue_only() -> None:
    with broker_thread() as broker, Wire(broker.port) as wire, Wire(broker.port, opened=False) as stuck:
        wire.declare("q", exclusive=False)
        for _ in range(400):
            wire.publish(b"x" * 100_000, "q")
        client = Engine(Setup(container="stuck"))
        client.open()
        link = client.receiver(client.begin(), "in")
        link.attach(source=Terminus(address="q"))
        link.grant(1_000_000)
        stuck.raw(client.take_output())
        until(lambda: broker.ask(lambda each: each.status().delivered) > 0, what="a first delivery")
        until(lambda: wire.ready("q") == wire.ready("q"), what="a pause")
        assert wire.ready("q") > 250
        with Wire(broker.port) as other:
            assert other.get("q")
        client.free()


@pytest.mark.parametrize("sent", [b"AMQP", b"AMQP\x03\x01\x00", b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"])
def test_who_does_not_go_on_is_hung_up_on(sent: bytes) -> None:
    with broker_thread(handshake_timeout=0.3) as broker, Wire(broker.port, opened=False) as wire:
        wire.raw(sent)
        wire.socket.settimeout(10)
        while wire.socket.recv(4096):
            pass
        until(lambda: broker.ask(lambda each: (len(each.sockets), each.handshaking)) == (0, 0), what="the end of it")


# -- what survives


class Publishing(handlers.MessagingHandler):  # type: ignore[misc, name-defined]
    """Sends numbered durable messages until the connection breaks; collects what was accepted."""

    def __init__(self, url: str, first: int, killer: threading.Timer) -> None:
        super().__init__(auto_settle=True)
        self.url, self.following, self.killer = url, first, killer
        self.accepted: set[int] = set()
        self._waiting: dict[Any, int] = {}

    def on_start(self, event: Any) -> None:
        event.container.create_sender(event.container.connect(self.url, reconnect=False), "kept")

    def on_sendable(self, event: Any) -> None:
        while event.sender.credit:
            delivery = event.sender.send(proton.Message(body=b"%d" % self.following, inferred=True, durable=True))
            self._waiting[delivery.tag] = self.following
            self.following += 1

    def on_accepted(self, event: Any) -> None:
        if not self.accepted:
            self.killer.start()
        self.accepted.add(self._waiting.pop(event.delivery.tag))


def test_accepted_messages_survive_kill_9(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - moments to kill at
    with broker_process(tmp_path) as broker:
        with Wire(broker.port) as wire:
            wire.declare("kept", exclusive=False, durable=True)
        following, accepted = 1, 0
        for _ in range(ROUNDS):
            first = following
            killer = threading.Timer(chance.uniform(0.0, 0.2), broker.kill)
            publishing = Publishing(f"amqp://127.0.0.1:{broker.port}", first, killer)
            reactor.Container(publishing).run()
            killer.join()
            following = publishing.following
            broker.start()
            with Wire(broker.port) as wire:
                found = [int(body) for body in wire.drain("kept")]
            assert found == sorted(set(found)), "out of order or twice"
            assert publishing.accepted <= set(found), "lost after it was accepted"
            assert all(first <= each < following for each in found), "from an earlier round"
            accepted += len(publishing.accepted)
        assert accepted >= ROUNDS


def test_a_message_is_the_same_after_a_restart(tmp_path: Path) -> None:
    sent = proton.Message(
        id=proton.ulong(5), subject="s", body={"a": [1, 2.5, "three"]}, durable=True, properties={"b": b"bytes"}
    )
    with broker_process(tmp_path) as broker:
        connection = utils.BlockingConnection(f"amqp://127.0.0.1:{broker.port}", timeout=10)
        connection.create_sender("/queue/kept").send(sent)
        broker.kill()
        broker.start()
        connection = utils.BlockingConnection(f"amqp://127.0.0.1:{broker.port}", timeout=10)
        receiver = connection.create_receiver("kept", credit=1)
        message = receiver.receive(10)
        receiver.accept()
        connection.close()
    assert (message.id, message.subject, message.body, message.durable) == (5, "s", sent.body, True)
    assert {name: bytes(value) for name, value in message.properties.items()} == {"b": b"bytes"}


def test_a_durable_subscription_outlives_the_broker(tmp_path: Path) -> None:
    with broker_process(tmp_path) as broker:

        def subscribed() -> Any:
            container = reactor.Container()
            container.container_id = "me"
            connection = utils.BlockingConnection(f"amqp://127.0.0.1:{broker.port}", timeout=10, container=container)
            return connection, connection.create_receiver(
                "amq.topic", name="sub", options=[reactor.DurableSubscription(), topic_filter("a.*")], credit=1
            )

        _, receiver = subscribed()
        broker.kill()
        broker.start()
        connection = utils.BlockingConnection(f"amqp://127.0.0.1:{broker.port}", timeout=10)
        connection.create_sender("amq.topic").send(proton.Message(body=b"missed", subject="a.b", durable=True))
        connection.close()
        connection, receiver = subscribed()
        assert text(receiver.receive(10)) == b"missed"
        receiver.accept()
        receiver.close()
        connection.close()
