"""`listen.py` with real brokers."""

import fcntl
import json
import signal
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from support.listen_script import SCRIPT, Listening, listening
from support.rabbitmq import needs_rabbitmq, rabbitmq
from support.server import pulpit
from support.tcp_proxy import cuttable
from support.waiting import until

EVENTS = ["repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish"]
ACK = 21
"""Bytes of a `basic.ack` in its frame (AMQP 0-9-1 sections 4.2.3 and 1.8.3.13)."""
SUBJECTS = [f"pulp.server.{event}" for event in EVENTS]


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A running broker on loopback, with `guest` and `guest`."""

    port: int


Listen = Callable[..., AbstractContextManager[Listening]]


@pytest.fixture(
    scope="module",
    params=[pytest.param("rabbitmq", marks=[pytest.mark.needs_rabbitmq, needs_rabbitmq]), "embedded"],
    name="broker",
)
def running_broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "rabbitmq":
        with rabbitmq(folder) as broker:
            yield Broker(port=broker.port)
    else:
        with pulpit(folder / "data") as server:
            yield Broker(port=server.broker_port)


@pytest.fixture
def listen(broker: Broker, tmp_path: Path) -> Listen:
    return partial(listening, tmp_path, "-a", "127.0.0.1", "-p", str(broker.port))


@pytest.fixture
def exchange() -> str:
    return f"pulp-{uuid.uuid4().hex}"


@contextmanager
def channel_at(broker: Broker) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port))
    try:
        yield connection.channel()
    finally:
        connection.close()


def fire(broker: Broker, exchange: str, *subjects: str, **properties: Any) -> None:
    with channel_at(broker) as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
        for subject in subjects:
            body = {"event_type": subject.removeprefix("pulp.server."), "payload": {"repo_id": "r"}}
            channel.basic_publish(exchange, subject, json.dumps(body).encode(), pika.BasicProperties(**properties))


def make_exchange(broker: Broker, exchange: str) -> None:
    fire(broker, exchange)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], SUBJECTS),
        (["-s", ""], SUBJECTS),
        (["-s", "pulp.server.repo.publish.*"], SUBJECTS[2:]),
        (["-s", "pulp.server.repo.*.finish"], SUBJECTS[1::2]),
    ],
)
def test_the_three_listings_of_the_seed(
    broker: Broker, listen: Listen, exchange: str, options: list[str], expected: list[str]
) -> None:
    make_exchange(broker, exchange)
    with listen("-e", exchange, "-q", "--count", str(len(expected)), *options) as listener:
        listener.until_ready()
        fire(broker, exchange, *SUBJECTS)
        assert listener.code() == 0
        assert listener.lines == expected


def test_an_exchange_that_does_not_exist_yet_is_waited_for_and_not_made(
    broker: Broker, listen: Listen, exchange: str
) -> None:
    with listen("-e", exchange, "-q") as listener:
        listener.until_told("does not exist yet")
        with channel_at(broker) as channel, pytest.raises(ChannelClosedByBroker):
            channel.exchange_declare(exchange, passive=True)
        make_exchange(broker, exchange)
        listener.until_ready()
        fire(broker, exchange, *SUBJECTS)
        assert listener.until_printed(4) == SUBJECTS
        assert listener.end() == 0
        assert len(listener.told) == 2


def test_nothing_stays_behind(broker: Broker, listen: Listen, exchange: str) -> None:
    make_exchange(broker, exchange)
    with listen("-e", exchange) as listener:
        listener.until_ready()
        assert listener.end() == 0
    with channel_at(broker) as channel:
        channel.confirm_delivery()
        with pytest.raises(UnroutableError):
            channel.basic_publish(exchange, "x", b"", mandatory=True)


def test_a_durable_queue_collects_while_nobody_listens(broker: Broker, listen: Listen, exchange: str) -> None:
    make_exchange(broker, exchange)
    queue = f"{exchange}-kept"
    with listen("-e", exchange, "-q", "--queue", queue, "--count", "1") as listener:
        listener.until_ready()
        fire(broker, exchange, *SUBJECTS)
        assert listener.code() == 0
        assert listener.lines == SUBJECTS[:1]
    with listen("-e", exchange, "-q", "--queue", queue, "--count", "3") as listener:
        assert listener.code() == 0
        assert listener.lines == SUBJECTS[1:]
    with channel_at(broker) as channel:
        channel.queue_delete(queue)


def test_a_broken_connection_is_made_again(broker: Broker, exchange: str, tmp_path: Path) -> None:
    make_exchange(broker, exchange)
    queue = f"{exchange}-kept"
    with cuttable(broker.port) as wire:
        address = ["-a", "127.0.0.1", "-p", str(wire.port)]
        with listening(tmp_path, *address, "-e", exchange, "-q", "--queue", queue) as listener:
            listener.until_ready()
            before = wire.sent
            fire(broker, exchange, *SUBJECTS[:2])
            listener.until_printed(2)
            until(lambda: wire.sent >= before + 2 * ACK, what="both acknowledgements on the wire")
            wire.cut()
            fire(broker, exchange, *SUBJECTS[2:])
            listener.until_ready(2)
            assert listener.until_printed(4) == SUBJECTS
            assert listener.end() == 0
            assert sum("lost" in line for line in listener.told) == 1
    with channel_at(broker) as channel:
        channel.queue_delete(queue)


def test_json_is_one_object_a_line(broker: Broker, listen: Listen, exchange: str) -> None:
    make_exchange(broker, exchange)
    with listen("-e", exchange, "--json", "--count", "1") as listener:
        listener.until_ready()
        fire(broker, exchange, SUBJECTS[0], message_id="m1", content_type="application/json", headers={"n": 7})
        assert listener.code() == 0
        [line] = listener.lines
    assert json.loads(line) == {
        "subject": SUBJECTS[0],
        "exchange": exchange,
        "headers": {"n": 7},
        "properties": {"content_type": "application/json", "message_id": "m1"},
        "redelivered": False,
        "body": {"event_type": EVENTS[0], "payload": {"repo_id": "r"}},
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_0_and_without_a_word(listen: Listen, number: int) -> None:
    with listen() as listener:
        listener.until_ready()
        assert listener.end(number) == 0
        assert len(listener.told) == 1


def test_ctrl_c_ends_the_wait_for_a_broker_too(tmp_path: Path) -> None:
    with listening(tmp_path, "-a", "127.0.0.1", "-p", "1") as listener:
        listener.until_told("cannot connect")
        assert listener.end(signal.SIGINT) == 0


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--count", "1"], 1)])
def test_the_time_can_be_up(listen: Listen, options: list[str], code: int) -> None:
    with listen("--timeout", "60", *options) as listener:
        listener.until_ready()
        assert listener.end(signal.SIGALRM) == code  # as the timer does


def test_a_time_that_is_up_before_there_is_a_broker_is_a_failure(tmp_path: Path) -> None:
    with listening(tmp_path, "-a", "127.0.0.1", "-p", "1", "--timeout", "0.5") as listener:
        assert listener.code() == 1
        assert "cannot connect" in listener.told[0]


def test_wrong_credentials_are_told_and_end_with_1(broker: Broker, tmp_path: Path) -> None:
    with listening(tmp_path, "--url", f"amqp://guest:geheim@127.0.0.1:{broker.port}") as listener:
        assert listener.code() == 1
        [line] = listener.told
        assert "refuses the user name or password" in line
        assert "geheim" not in line


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_names_that_cannot_be_are_refused(listen: Listen, name: str) -> None:
    with listen("-e", name) as listener:
        assert listener.code() == 1
        assert listener.told[0].startswith("--exchange: ")


def test_a_queue_of_another_kind_is_told(broker: Broker, listen: Listen, exchange: str) -> None:
    queue = f"{exchange}-other"
    with channel_at(broker) as channel:
        channel.queue_declare(queue, durable=False, exclusive=False)
        with listen("--queue", queue) as listener:
            assert listener.code() == 1
            assert "refuses the subscription" in listener.told[0]
        channel.queue_delete(queue)


def test_a_closed_pipe_ends_it_quietly(broker: Broker, exchange: str) -> None:
    make_exchange(broker, exchange)
    command = [sys.executable, str(SCRIPT), "-a", "127.0.0.1", "-p", str(broker.port), "-e", exchange, "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stderr.readline()
    process.stdout.close()
    fire(broker, exchange, *SUBJECTS)
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_ctrl_c_ends_it_while_nobody_takes_its_output(broker: Broker, exchange: str) -> None:
    make_exchange(broker, exchange)
    command = [sys.executable, str(SCRIPT), "-a", "127.0.0.1", "-p", str(broker.port), "-e", exchange, "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stderr.readline()
        room = fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        fire(broker, exchange, *["x" * 250] * (2 * room // 250))
        until(lambda: unread(process) > room - 500, what="listen.py to fill its output")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def unread(process: "subprocess.Popen[bytes]") -> int:
    """How many bytes of a process's output nobody has read."""
    assert process.stdout
    return int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_of_several_brokers_the_next_is_tried(broker: Broker, exchange: str, tmp_path: Path) -> None:
    make_exchange(broker, exchange)
    urls = f"amqp://127.0.0.1:1,amqp://127.0.0.1:{broker.port}"
    with listening(tmp_path, "--url", urls, "-e", exchange, "-q", "--count", "1") as listener:
        listener.until_ready()
        fire(broker, exchange, SUBJECTS[0])
        assert listener.code() == 0
        assert listener.told[0].startswith("cannot connect to amqp://127.0.0.1:1 ")


def test_that_a_broker_does_not_speak_tls_is_told(broker: Broker, tmp_path: Path) -> None:
    url = f"amqps://127.0.0.1:{broker.port}"
    with listening(tmp_path, "--url", url) as listener:
        until(lambda: listener.told, what="a sentence")
        assert listener.told[0] == f"cannot connect to {url} (it does not speak TLS), trying again"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["--url", "amqp://127.0.0.1:{port}", "--queue-type", "quorum"], "quorum"),
        (["--url", "amqp://127.0.0.1:{port},amqp://127.0.0.1:1"], "quorum"),
        (["--url", "amqp://127.0.0.1:{port},amqp://127.0.0.1:1", "--queue-type", "classic"], "classic"),
        (["--url", "amqp://127.0.0.1:{port}"], "classic"),
    ],
)
def test_a_durable_queue_at_several_brokers_is_a_quorum_queue(
    broker: Broker, exchange: str, tmp_path: Path, options: list[str], kind: str
) -> None:
    make_exchange(broker, exchange)
    queue = f"{exchange}-kept"
    where = [option.format(port=broker.port) for option in options]
    with listening(tmp_path, *where, "-e", exchange, "-q", "--queue", queue, "--count", "1") as listener:
        listener.until_ready()
        fire(broker, exchange, SUBJECTS[0], delivery_mode=2)
        assert listener.code() == 0
    with channel_at(broker) as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        channel.queue_delete(queue)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--queue-type", "quorum"], "--queue-type: is that of a durable queue"),
        (["--queue", ""], "--queue: must have a name"),
        (["--url", "amqps://localhost", "--ca-path", "/nowhere"], "--ca-path: /nowhere cannot be read"),
        (["--url", "amqp://localhost,"], "--url: address 2 of 2: it must begin with"),
    ],
)
def test_options_that_cannot_be_used_are_named(tmp_path: Path, options: list[str], words: str) -> None:
    with listening(tmp_path, *options) as listener:
        assert listener.code() == 1
        assert listener.told[0].startswith(words)
