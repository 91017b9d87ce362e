"""Strangers cannot use up memory, disk or connections, guess passwords fast, or delay other clients."""

import base64
import hashlib
import os
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from pamqp import body, commands, frame, header

from pulpit.broker.config import BrokerUser
from pulpit.broker.permissions import EXCHANGE, QUEUE, Grant
from pulpit.errors import ConfigurationError
from pulpit.net.passwords import Password
from support.amqp import HELLO, Gone, Wire, refused
from support.authority import Authority
from support.embedded_broker import broker_thread
from support.waiting import until


def test_a_slow_reader_holds_nobody_up_and_costs_little() -> None:
    with broker_thread(memory_limit=64 * 1024 * 1024) as broker, Wire(broker.port) as slow, Wire(broker.port) as fast:
        slow.exchange("news", "fanout")
        for wire in (slow, fast):
            queue = wire.queue(arguments={"x-max-length": 200})
            wire.bind(queue, "news")
            wire.consume(queue, no_ack=True)
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with Wire(broker.port) as publisher:
            for _ in range(600):
                publisher.publish(bytes(100_000), exchange="news")
                assert len(fast.content().body) == 100_000
        unsent = broker.ask(
            lambda each: max(
                socket._transport.get_write_buffer_size() for socket in each.sockets.open if socket._transport
            )
        )
        assert unsent < 8 * 1024 * 1024


def test_publishers_are_blocked_while_memory_is_short() -> None:
    with broker_thread(memory_limit=2 * 1024 * 1024) as broker, Wire(broker.port) as wire, Wire(broker.port) as other:
        queue = other.queue(exclusive=False)
        wire.call(commands.Confirm.Select())
        sender = threading.Thread(target=_send, args=(wire, queue, 100))
        sender.start()
        until(lambda: broker.ask(lambda each: each.status().alarm) == "low on memory")
        until(lambda: any(isinstance(wire.read()[1], commands.Connection.Blocked) for _ in range(200)))
        assert other.ready(queue) < 100
        while other.get(queue) is not None or sender.is_alive():
            pass
        sender.join()
        until(lambda: any(isinstance(wire.read()[1], commands.Connection.Unblocked) for _ in range(200)))


def _send(wire: Wire, queue: str, count: int) -> None:
    for _ in range(count):
        wire.publish(bytes(100_000), queue)


def test_publishers_are_blocked_while_the_disk_is_full(tmp_path: Path) -> None:
    with broker_thread(data_dir=tmp_path, disk_free_limit=2**60) as broker, Wire(broker.port) as wire:
        until(lambda: broker.ask(lambda each: each.status().alarm) == "low on disk")
        wire.publish(b"x", "q")
        assert wire.expect(commands.Connection.Blocked).reason == "low on disk"


def test_a_connection_too_many_is_sent_away() -> None:
    gone = pytest.raises((Gone, ConnectionError))
    with broker_thread(max_connections=2) as broker, Wire(broker.port), Wire(broker.port), gone:
        Wire(broker.port)


def test_those_who_do_not_log_in_are_sent_away() -> None:
    with broker_thread(handshake_timeout=0.2) as broker:
        for said in (b"", HELLO[:4], HELLO, HELLO + struct.pack(">BHI", 1, 0, 100)):
            with Wire(broker.port, opened=False) as wire:
                wire.raw(said)
                with pytest.raises(Gone):
                    while True:
                        wire.read(5)
        until(lambda: broker.ask(lambda each: (len(each.sockets.logging_in), len(each.sockets.open))) == (0, 0))


def test_queues_are_limited() -> None:
    with broker_thread(max_queues=2) as broker, Wire(broker.port) as wire:
        wire.queue()
        wire.queue()
        with refused(406, "queue limit (2) is reached"):
            wire.queue()


def test_messages_are_limited() -> None:
    with broker_thread(max_message_size=1000) as broker, Wire(broker.port) as wire:
        queue = wire.queue()
        wire.publish(bytes(1000), queue)
        assert wire.ready(queue) == 1
        wire.publish(bytes(1001), queue)
        with refused(406, "message size 1001 is larger than configured max size 1000", cause=(60, 40)):
            wire.expect(commands.Basic.Ack)
        wire.send(commands.Channel.CloseOk())
        wire.open(1)


def test_unfinished_messages_are_limited() -> None:
    with broker_thread(max_message_size=1_000_000) as broker:
        with Wire(broker.port) as wire:
            for channel in range(1, 20):
                if channel > 1:
                    wire.send(commands.Channel.Open(), channel)
                head = header.ContentHeader(0, 900_000, commands.Basic.Properties())
                parts: list[Any] = [commands.Basic.Publish(0, "", "q"), head, body.ContentBody(bytes(100_000))]
                wire.raw(b"".join(frame.marshal(part, channel) for part in parts))
            with refused(506, "RESOURCE_ERROR", hard=True):
                for _ in range(20):
                    wire.expect(commands.Channel.OpenOk)
        until(lambda: broker.ask(lambda each: each.status().memory_used) == 0)


def test_frames_before_the_login_are_short() -> None:
    with broker_thread() as broker, Wire(broker.port, opened=False) as wire:
        wire.raw(HELLO + struct.pack(">BHI", 1, 0, 100_000) + bytes(1000))
        wire.expect(commands.Connection.Start)
        with refused(501, hard=True):
            wire.expect(commands.Connection.Tune)


def test_a_table_nested_a_thousand_deep_ends_one_connection_only() -> None:
    inner = b""
    for _ in range(1000):
        inner = b"\x01aF" + struct.pack(">I", len(inner)) + inner
    arguments = struct.pack(">I", len(inner)) + inner
    payload = struct.pack(">HHHB", 50, 10, 0, 0) + b"\x02" + arguments
    with broker_thread() as broker, Wire(broker.port) as good, Wire(broker.port) as wire:
        wire.raw(struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce")
        with refused(501, "nest deeper", hard=True):
            wire.expect(commands.Queue.DeclareOk)
        assert good.queue()


def test_failed_logins_slow_down() -> None:
    with broker_thread(failed_login_delay=0.1) as broker:
        times = []
        for _ in range(3):
            begin = time.monotonic()
            with refused(403, "ACCESS_REFUSED", hard=True):
                Wire(broker.port, password="wrong")
            times.append(time.monotonic() - begin)
        assert times[0] >= 0.1
        assert times[2] >= 0.4
        with Wire(broker.port) as wire:
            assert wire.queue()


def hashed(password: str) -> str:
    salt = os.urandom(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=2**10, r=8, p=1, dklen=32)
    return f"scrypt$1024$8$1${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def test_users_have_hashed_passwords_and_virtual_hosts() -> None:
    users = {"ann": BrokerUser(password=Password(hashed("secret")), virtual_hosts=frozenset({"blue"}))}
    with broker_thread(users=users, virtual_hosts=("/", "blue"), failed_login_delay=0.01) as broker:
        with Wire(broker.port, user="ann", password="secret", vhost="blue") as wire:
            assert wire.queue()
        with refused(530, "access to vhost '/' refused for user 'ann'", hard=True):
            Wire(broker.port, user="ann", password="secret")
        for user, password in (("ann", "wrong"), ("ann", ""), ("bob", "secret"), ("guest", "guest")):
            with refused(403, hard=True):
                Wire(broker.port, user=user, password=password, vhost="blue")
    assert "secret" not in repr(users)


def test_virtual_hosts_share_nothing() -> None:
    with broker_thread(virtual_hosts=("/", "blue")) as broker, Wire(broker.port) as one:
        one.declare("q", exclusive=False)
        with Wire(broker.port, vhost="blue") as two, refused(404, "no queue 'q' in vhost 'blue'"):
            two.declare("q", passive=True)


def test_a_certificate_logs_in() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert("client@example.org", common_name="ann").configure_cert(client)
    users = {"ann": BrokerUser(password=Password("never used"))}
    with broker_thread(ssl_context=server, users=users) as broker, Wire(broker.port, opened=False) as wire:
        wire.socket = client.wrap_socket(wire.socket, server_hostname="127.0.0.1")
        wire.raw(HELLO)
        start = wire.expect(commands.Connection.Start)
        assert "EXTERNAL" in start.mechanisms.split()
        wire.send(commands.Connection.StartOk({}, "EXTERNAL", ""), 0)
        wire.expect(commands.Connection.Tune)
        wire.send(commands.Connection.TuneOk(2047, 131072, 0), 0)
        wire.send(commands.Connection.Open("/"), 0)
        wire.expect(commands.Connection.OpenOk)
        (seen,) = broker.ask(lambda each: each.status().connections)
        assert (seen.user, seen.secure) == ("ann", True)


def may(**limits: Any) -> dict[str, BrokerUser]:
    """One user who may publish to some exchanges, and read what the tests declare."""
    own = Grant(kinds=frozenset({QUEUE}), name="amq.gen-*")
    return {"guest": BrokerUser(password=Password("guest"), grants=(own, Grant(kinds=frozenset({EXCHANGE}), **limits)))}


def test_a_copy_is_no_way_around_a_permission_by_key() -> None:
    with broker_thread(users=may(name="amq.topic", key="zoo.#")) as broker:
        for header in ("CC", "BCC"):
            with Wire(broker.port) as wire, refused(403, "topic 'farm.x' in exchange 'amq.topic'"):
                wire.publish(b"x", "zoo.a", exchange="amq.topic", headers={header: ["zoo.b"]})
                wire.publish(b"x", "zoo.a", exchange="amq.topic", headers={header: ["zoo.b", "farm.x"]})
                wire.expect(commands.Basic.Ack)


@pytest.mark.parametrize("exchange", ["amq.fanout", "amq.headers"])
def test_where_the_key_does_not_decide_a_permission_by_key_gives_nothing(exchange: str) -> None:
    with broker_thread(users=may(key="zoo.#")) as broker, Wire(broker.port) as wire:
        queue = wire.queue()
        wire.bind(queue, "amq.topic", "zoo.a")
        wire.bind(queue, "amq.direct", "zoo.a")
        with refused(403, f"access to exchange '{exchange}'"):
            wire.bind(queue, exchange, "zoo.a")


def test_a_transaction_is_no_way_around_a_permission() -> None:
    with broker_thread(users=may(name="amq.topic")) as broker, Wire(broker.port) as wire:
        wire.call(commands.Tx.Select())
        with refused(403, "exchange 'amq.direct'"):
            wire.publish(b"x", "k", exchange="amq.direct")
            wire.call(commands.Tx.Commit(), answer=commands.Tx.CommitOk)


def test_a_peer_that_begins_no_tls_is_hung_up_on(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server(authority.issue("server"))
    with (
        broker_thread(ssl_context=context, handshake_timeout=0.3) as broker,
        socket.create_connection(("127.0.0.1", broker.port), timeout=60) as silent,
    ):
        assert silent.recv(1) == b""


def test_beyond_this_machine_the_broker_wants_users_and_tls() -> None:
    with pytest.raises(ConfigurationError, match="TLS"), broker_thread(host="0.0.0.0"):  # noqa: S104 - that is the point
        pass


def test_the_status_tells_what_there_is() -> None:
    with broker_thread() as broker, Wire(broker.port) as wire:
        name = wire.queue(arguments={"x-max-length": 10})
        wire.bind(name, "amq.topic", "a.#")
        for _ in range(3):
            wire.publish(b"12345", name)
        wire.consume(name, "mine")
        wire.send(commands.Basic.Cancel("mine"))
        held = wire.content()
        assert held.body == b"12345"
        status = broker.ask(lambda each: each.status())
        (queue,) = status.queues
        assert (queue.name, queue.messages_ready + queue.messages_unacknowledged) == (name, 3)
        assert (queue.published, queue.arguments) == (3, {"x-max-length": 10})
        assert any((each.source, each.routing_key) == ("amq.topic", "a.#") for each in status.bindings)
        assert {each.name for each in status.exchanges} >= {"", "amq.direct", "amq.topic"}
        (connection,) = status.connections
        assert (connection.user, connection.vhost, connection.channels) == ("guest", "/", 1)
        assert status.memory_used > 0


def test_a_quorum_queue_is_a_durable_one() -> None:
    with broker_thread() as broker, Wire(broker.port) as wire:
        wire.declare("q", exclusive=False, durable=True, arguments={"x-queue-type": "quorum"})
        (queue,) = broker.ask(lambda each: each.status().queues)
        assert queue.durable
        with refused(406, "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/'"):
            wire.declare("q", exclusive=False, durable=True)
        wire.open(2)
        wire.call(commands.Basic.Qos(0, 1, True), 2, answer=commands.Basic.QosOk)
        wire.consume("q", channel=2)
        with refused(406, "queue 'q' in vhost '/' in use"):
            wire.call(commands.Queue.Delete(0, "q", if_unused=True), 2)
        wire.open(3)
        wire.call(commands.Queue.Delete(0, "q", if_unused=True), 3, answer=commands.Queue.DeleteOk)


def test_streams_are_refused() -> None:
    text = "invalid arg 'x-queue-type' for queue 'q' in vhost '/': \"unsupported queue type 'stream'\""
    with broker_thread() as broker, Wire(broker.port) as wire, refused(406, text):
        wire.declare("q", exclusive=False, durable=True, arguments={"x-queue-type": "stream"})


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"frame_max": 1024}, "negotiated frame_max = 1024 is lower than the minimum allowed value (4096)"),
        ({"frame_max": 200_000}, "negotiated frame_max = 200000 is higher than the maximum allowed value (131072)"),
        ({"channel_max": 0}, "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
    ],
)
def test_tuning_beyond_the_limits_says_why(settings: Any, text: str) -> None:
    with broker_thread() as broker, refused(530, text, hard=True, cause=(10, 31)):
        Wire(broker.port, **settings)


def test_an_unknown_method_is_named() -> None:
    with broker_thread() as broker, Wire(broker.port) as wire:
        wire.raw(struct.pack(">BHIHH", 1, 1, 4, 60, 999) + b"\xce")
        with refused(540, "unknown method 60.999", hard=True, cause=(60, 999)):
            wire.expect(commands.Basic.QosOk)


def test_the_broker_says_what_really_runs() -> None:
    with broker_thread() as broker, Wire(broker.port) as wire:
        properties = wire.start.server_properties
        assert properties["product"] == "RabbitMQ"
        assert str(properties["platform"]).startswith("Pulpit ")
        assert "Pulpit" in str(properties["information"])
    with broker_thread(product="Pulpit") as broker, Wire(broker.port) as wire:
        assert wire.start.server_properties["product"] == "Pulpit"


@pytest.mark.parametrize(("size", "taken"), [(8192, True), (8193, False)])
def test_a_login_may_take_a_frame_of_8_kib(size: int, taken: bool) -> None:
    """E8: RabbitMQ 3.10 takes 4,096 bytes, newer ones this."""
    with broker_thread() as broker, Wire(broker.port, opened=False) as wire:
        wire.raw(HELLO)
        wire.expect(commands.Connection.Start)
        start = frame.marshal(commands.Connection.StartOk({"x": ""}, "PLAIN", "\0guest\0guest"), 0)
        padding = "x" * (size - (len(start) - 8))
        login = frame.marshal(commands.Connection.StartOk({"x": padding}, "PLAIN", "\0guest\0guest"), 0)
        assert len(login) == size + 8
        wire.raw(login)
        if taken:
            wire.expect(commands.Connection.Tune)
        else:
            with refused(501, "FRAME_ERROR", hard=True):
                wire.expect(commands.Connection.Tune)


def test_a_confirm_comes_before_the_return_of_a_later_publish() -> None:
    """As the extension of PHP expects it; RabbitMQ keeps this order too, unless it has much to do."""
    with broker_thread() as broker, Wire(broker.port) as wire:
        wire.call(commands.Confirm.Select(), answer=commands.Confirm.SelectOk)
        wire.publish(b"first", "nowhere")
        wire.publish(b"second", "nowhere", mandatory=True)
        first = wire.expect(commands.Basic.Ack)
        assert (first.delivery_tag, first.multiple) == (1, False)
        assert wire.content(commands.Basic.Return).body == b"second"
        assert wire.expect(commands.Basic.Ack).delivery_tag == 2
