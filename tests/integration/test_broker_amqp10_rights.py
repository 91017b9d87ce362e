"""Permissions hold over AMQP 1.0 as over 0-9-1: the same users, the same words, another dialect."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pulpit.broker.config import User
from pulpit.broker.passwords import Password
from pulpit.broker.permissions import EXCHANGE, QUEUE, READ, WRITE, Grant
from support.amqp import Wire
from support.amqp10 import needs_amqp10
from support.broker_thread import BrokerThread, broker_thread
from support.waiting import until

proton = pytest.importorskip("proton", reason="python-qpid-proton is not installed")
utils = pytest.importorskip("proton.utils")

pytestmark = needs_amqp10

UNAUTHORIZED = "amqp:unauthorized-access"


def user(*grants: Grant) -> User:
    return User(password=Password("x"), grants=grants)


def grant(operation: str, kind: str, name: str, key: str | None = None) -> Grant:
    return Grant(operations=frozenset({operation}), kinds=frozenset({kind}), name=name, key=key)


USERS = {
    "ci": user(grant(WRITE, EXCHANGE, "amq.topic")),
    "zoo": user(grant(WRITE, EXCHANGE, "amq.topic", "zoo.#"), grant(READ, EXCHANGE, "amq.topic", "zoo.#")),
    "scanner": user(grant(READ, EXCHANGE, "amq.topic")),
    "worker": user(grant(READ, QUEUE, "jobs")),
    "stranger": user(),
    "admin": user(Grant()),
}


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    with (
        broker_thread(users=USERS, failed_login_delay=0.01) as running,
        Wire(running.port, user="admin", password="x") as wire,
    ):
        wire.declare("jobs", exclusive=False)
        wire.bind("jobs", "amq.topic", "#")
        yield running


def connect(broker: BrokerThread, login: str) -> Any:
    return utils.BlockingConnection(f"amqp://{login}:x@127.0.0.1:{broker.port}", timeout=10)


def refused(broker: BrokerThread, login: str, *, to: str | None = None, source: str | None = None) -> str:
    """What is said to one who sends to an address, or opens a link from it."""
    connection = connect(broker, login)
    try:
        with pytest.raises(proton.ProtonException) as caught:
            if to:
                connection.create_sender(to).send(proton.Message(subject="zoo.a", body=b"x"))
            else:
                connection.create_receiver(source)
    finally:
        connection.close()
    return str(caught.value)


def test_whoever_may_write_sends_and_whoever_may_read_receives(broker: BrokerThread) -> None:
    publisher, reader = connect(broker, "ci"), connect(broker, "scanner")
    receiver = reader.create_receiver("amq.topic", credit=10)
    publisher.create_sender("amq.topic").send(proton.Message(subject="a.b", body=b"x"))
    assert receiver.receive(timeout=10).subject == "a.b"
    for connection in (publisher, reader):
        connection.close()


@pytest.mark.parametrize(
    ("login", "link"),
    [
        ("ci", {"to": "amq.direct"}),
        ("ci", {"source": "amq.topic"}),
        ("scanner", {"to": "amq.topic"}),
        ("scanner", {"source": "amq.fanout"}),
        ("worker", {"source": "amq.topic"}),
        ("worker", {"to": "jobs"}),
        ("ci", {"source": "jobs"}),
    ],
)
def test_everything_else_is_refused(broker: BrokerThread, login: str, link: dict[str, str]) -> None:
    said = refused(broker, login, **link)
    assert UNAUTHORIZED in said
    assert f"refused for user '{login}'" in said


def test_a_permission_by_key_is_asked_for_every_message(broker: BrokerThread) -> None:
    connection = connect(broker, "zoo")
    sender = connection.create_sender("amq.topic")
    sender.send(proton.Message(subject="zoo.a", body=b"x"))
    with pytest.raises((utils.SendException, utils.LinkDetached)):
        sender.send(proton.Message(subject="farm.a", body=b"x"))
    connection.close()


@pytest.mark.parametrize("copies", [["farm.a"], proton.Array(proton.UNDESCRIBED, proton.Data.STRING, "farm.a")])
def test_a_copy_is_no_way_around_a_permission_by_key(broker: BrokerThread, copies: Any) -> None:
    connection = connect(broker, "zoo")
    with Wire(broker.port, user="admin", password="x") as wire:
        queue = wire.queue()
        wire.bind(queue, "amq.topic", "farm.#")
        sender = connection.create_sender("amq.topic")
        with contextlib.suppress(proton.ProtonException):  # it may be refused, or be taken for an ordinary property
            sender.send(proton.Message(subject="zoo.a", body=b"x", properties={"CC": copies, "BCC": copies}))
        assert wire.get(queue) is None
    connection.close()


def test_one_without_any_permission_may_not_even_enter(broker: BrokerThread) -> None:
    with pytest.raises(proton.ProtonException, match="refused for user 'stranger'"):
        connect(broker, "stranger")


def test_whoever_has_other_rights_now_is_disconnected(broker: BrokerThread) -> None:
    connection = connect(broker, "worker")
    broker.ask(lambda each: each.admit(USERS | {"worker": user()}))
    with pytest.raises(proton.ProtonException, match="rights of user 'worker' have changed"):
        until(lambda: connection.create_sender("amq.topic") is None, seconds=10)
    broker.ask(lambda each: each.admit(USERS))
