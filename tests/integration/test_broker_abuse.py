"""What a stranger uses is counted and released: floods, unfinished messages, connections without a login."""

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pamqp import body, commands, frame, header

from pulpit.broker import schema
from pulpit.broker.config import BrokerUser
from pulpit.errors import ConfigurationError
from pulpit.net.passwords import Password, hash_password
from support.amqp import HELLO, Gone, Wire
from support.embedded_broker import BrokerThread, broker_thread
from support.waiting import until

MEBIBYTE = 1024 * 1024


@contextlib.contextmanager
def flood(port: int, data: bytes) -> Iterator[None]:
    """Write this on a connection for as long as the block lasts, as fast as it is taken."""
    over = threading.Event()
    with Wire(port, seconds=60) as wire:

        def write() -> None:
            with contextlib.suppress(OSError):
                while not over.is_set():
                    wire.socket.sendall(data)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            over.set()
            wire.socket.shutdown(socket.SHUT_RDWR)
            thread.join()


def empty(queue: str) -> bytes:
    head = header.ContentHeader(0, 0, commands.Basic.Properties())
    return (frame.marshal(commands.Basic.Publish(0, "", queue), 1) + frame.marshal(head, 1)) * 10_000


def tiny_pieces(queue: str) -> bytes:
    head = header.ContentHeader(0, 2000, commands.Basic.Properties())
    start = frame.marshal(commands.Basic.Publish(0, "", queue), 1) + frame.marshal(head, 1)
    return (start + frame.marshal(body.ContentBody(b"xx"), 1) * 1000) * 50


def acknowledgements(_queue: str) -> bytes:
    return frame.marshal(commands.Basic.Recover(True), 1) * 10_000


@pytest.mark.parametrize("what", [empty, tiny_pieces, acknowledgements])
def test_one_that_floods_leaves_the_loop_to_others(what: Callable[[str], bytes]) -> None:
    """Between two turns of a connection everybody else has one."""
    with broker_thread() as broker, Wire(broker.port) as other:
        queue = other.queue(exclusive=False, arguments={"x-max-length": 10})
        with flood(broker.port, what(queue)):
            time.sleep(0.3)
            turns, ended = 0, time.process_time() + 2
            while time.process_time() < ended:  # of this process, which floods and is flooded
                broker.ask(lambda _: None)
                other.ready(queue)
                turns += 1
        assert turns >= 10  # there were none in two seconds


def begun(port: int, size: int, piece: int) -> Wire:
    """A connection with a message of which so many bytes have come, in such pieces."""
    wire = Wire(port, seconds=20)
    head = header.ContentHeader(0, 10 * MEBIBYTE, commands.Basic.Properties())
    start = frame.marshal(commands.Basic.Publish(0, "", "nowhere"), 1) + frame.marshal(head, 1)
    wire.raw(start + frame.marshal(body.ContentBody(bytes(piece)), 1) * (size // piece))
    return wire


def test_unfinished_messages_count_and_are_not_read_further_while_memory_is_short() -> None:
    """At a limit of 16 MiB not much more is held, and every message can be finished after the other."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(broker_thread(memory_limit=16 * MEBIBYTE))
        wires = [stack.enter_context(begun(broker.port, 2 * MEBIBYTE, 65_536)) for _ in range(6)]
        until(lambda: broker.ask(lambda each: each.state.store.memory.used) >= 12 * MEBIBYTE)

        def finish(wire: Wire) -> None:
            with contextlib.suppress(OSError):
                wire.raw(frame.marshal(body.ContentBody(bytes(65_536)), 1) * (8 * MEBIBYTE // 65_536))
                wire.send(commands.Basic.Qos(0, 1))
                while not isinstance(wire.read(60)[1], commands.Basic.QosOk):
                    pass

        threads = [threading.Thread(target=finish, args=(wire,)) for wire in wires]
        for thread in threads:
            thread.start()
        most = 0
        while any(thread.is_alive() for thread in threads):
            most = max(most, broker.ask(lambda each: each.state.store.memory.used))
            time.sleep(0.005)
        for thread in threads:
            thread.join()
        assert most < 16 * MEBIBYTE + 10 * MEBIBYTE + 6 * MEBIBYTE
        until(lambda: broker.ask(lambda each: each.state.store.memory.used) == 0)


def test_a_body_in_tiny_pieces_counts_with_what_it_costs() -> None:
    with broker_thread() as broker, begun(broker.port, 200_000, 2):
        until(lambda: broker.ask(lambda each: each.state.store.memory.used) >= 200_000)
        assert broker.ask(lambda each: each.state.store.memory.used) < 400_000  # joined, not a hundred thousand objects


def test_what_a_consumer_hoards_is_not_held_twice_when_it_is_on_the_disk(tmp_path: Path) -> None:
    """A consumer without prefetch, and a backlog of four times the limit; whatever it gives back comes whole."""
    with (
        broker_thread(data_dir=tmp_path, memory_limit=16 * MEBIBYTE, max_message_size=MEBIBYTE) as broker,
        Wire(broker.port, seconds=60) as wire,
    ):
        queue = wire.declare("hoard", exclusive=False, durable=True).queue
        for number in range(640):
            wire.publish(number.to_bytes(4) + bytes(100_000), queue, delivery_mode=2)
        until(lambda: wire.ready(queue) == 640)
        with Wire(broker.port, seconds=60) as hoarder:
            hoarder.consume(queue)
            tags = [hoarder.content().method.delivery_tag for _ in range(640)]
            assert broker.ask(lambda each: each.state.store.memory.used) < 16 * MEBIBYTE
            hoarder.send(commands.Basic.Ack(tags[319], True))
            hoarder.send(commands.Basic.Qos(0, 0))
            hoarder.expect(commands.Basic.QosOk)
        until(lambda: wire.ready(queue) == 320)
        for number in range(320, 640):
            content = wire.get(queue)
            assert content is not None
            assert content.body == number.to_bytes(4) + bytes(100_000)
            assert content.method.redelivered
        until(lambda: broker.ask(lambda each: each.state.store.memory.used) == 0)


def test_a_hoarded_message_that_is_rejected_goes_whole_to_the_dead_letters(tmp_path: Path) -> None:
    with (
        broker_thread(data_dir=tmp_path, memory_limit=2 * MEBIBYTE, max_message_size=MEBIBYTE) as broker,
        Wire(broker.port, seconds=60) as wire,
    ):
        wire.declare("dead", exclusive=False, durable=True)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        queue = wire.declare("hoard", exclusive=False, durable=True, arguments=arguments).queue
        for number in range(100):
            wire.publish(number.to_bytes(4) + bytes(50_000), queue, delivery_mode=2)
        until(lambda: wire.ready(queue) == 100)
        with Wire(broker.port, seconds=60) as hoarder:
            hoarder.consume(queue)
            tag = [hoarder.content().method.delivery_tag for _ in range(100)][-1]
            hoarder.send(commands.Basic.Nack(tag, True, False))
            until(lambda: wire.ready("dead") == 100)
        for number in range(100):
            content = wire.get("dead")
            assert content is not None
            assert content.body == number.to_bytes(4) + bytes(50_000)


def test_many_that_never_log_in_keep_nobody_out() -> None:
    """The oldest of the address that has most of them is disconnected."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(broker_thread(max_connections_handshaking=16, handshake_timeout=60))
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", broker.port), timeout=60)) for _ in range(40)
        ]
        for _ in range(3):
            stack.enter_context(Wire(broker.port)).queue()
        assert broker.ask(lambda each: len(each.sockets.logging_in)) <= 16
        with contextlib.suppress(ConnectionResetError):
            assert idle[0].recv(1) == b""
        idle[-1].sendall(HELLO)
        assert idle[-1].recv(1000)


def files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("broker.db*"))


def test_the_room_of_what_was_purged_is_given_back(tmp_path: Path) -> None:
    """File and log shrink while the broker runs, and the purge is answered at once."""
    with broker_thread(data_dir=tmp_path) as broker, Wire(broker.port, seconds=60) as wire:
        queue = wire.declare("q", exclusive=False, durable=True).queue
        for _ in range(800):
            wire.publish(bytes(100_000), queue, delivery_mode=2)
        until(lambda: wire.ready(queue) == 800)
        until(lambda: broker.ask(lambda each: each.state.store.unwritten_bytes) == 0)
        assert files(tmp_path) > 70 * MEBIBYTE
        assert wire.call(commands.Queue.Purge(0, queue), answer=commands.Queue.PurgeOk).message_count == 800
        until(lambda: files(tmp_path) < 40 * MEBIBYTE, what="the file to shrink")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda path: (
                sqlite3.connect(path).execute(f"PRAGMA user_version = {schema.VERSION + 1}").connection.commit()
            ),
            "was written by a later version of Pulpit; start that version, or move the file away",
        ),
        (lambda path: path.write_bytes(b"junk" * 5000), "cannot be opened as a database: file is not a database"),
        (lambda path: path.write_bytes(path.read_bytes()[:6000]), "cannot be opened as a database"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be opened as a database"),
    ],
    ids=["newer", "junk", "cut off", "a folder"],
)
def test_a_store_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    """What `pulpit broker` and `pulpit serve` end with, exit code 78."""
    with broker_thread(data_dir=tmp_path) as broker, Wire(broker.port) as wire:
        wire.declare("q", exclusive=False, durable=True)
    path = tmp_path / "broker.db"
    for log in tmp_path.glob("broker.db-*"):
        log.unlink()
    spoil(path)
    with pytest.raises(ConfigurationError) as refused:
        BrokerThread(broker._config).start()
    assert str(path) in str(refused.value)
    assert sentence in str(refused.value)


def amqplain(login: bytes, password: bytes) -> bytes:
    return b"".join(
        bytes((len(name),)) + name + b"S" + len(value).to_bytes(4) + value
        for name, value in ((b"LOGIN", login), (b"PASSWORD", password))
    )


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("typed", ["\u00e9t\u00e9", "e\u0301te\u0301"], ids=["composed", "decomposed"])
def test_letters_outside_ascii_log_in_by_every_mechanism(hashed: bool, encoding: str, typed: str) -> None:
    """A name and a password, however they are typed."""
    try:
        raw = typed.encode(encoding)
    except UnicodeEncodeError:
        return
    password = hash_password("\u00e9t\u00e9") if hashed else "\u00e9t\u00e9"
    with broker_thread(
        users={"\u00e9t\u00e9": BrokerUser(password=Password(password))}, failed_login_delay=0.0
    ) as broker:
        assert _sent(broker.port, "PLAIN", b"\0" + raw + b"\0" + raw)
        assert _sent(broker.port, "AMQPLAIN", amqplain(raw, raw))
        assert not _sent(broker.port, "PLAIN", b"\0" + raw + b"\0" + raw + b"x")


def _sent(port: int, mechanism: str, response: bytes) -> bool:
    """Log in with the very bytes."""
    with Wire(port, opened=False) as wire:
        wire.raw(HELLO)
        wire.expect(commands.Connection.Start)
        name = mechanism.encode()
        payload = b"\x00\x0a\x00\x0b" + bytes(4) + bytes((len(name),)) + name
        payload += len(response).to_bytes(4) + response + b"\x05en_US"
        wire.raw(b"\x01\x00\x00" + len(payload).to_bytes(4) + payload + b"\xce")
        try:
            wire.expect(commands.Connection.Tune)
        except Gone:
            return False
        return True
