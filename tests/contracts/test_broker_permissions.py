"""Who may do what: configure, write and read, for exchanges and queues by name, and for topics by key."""

from collections.abc import Iterator
from typing import Any

import pytest
from pamqp import commands
from pamqp.base import Frame

from support.amqp import Wire, refused
from support.restricted_users import PASSWORD

EXCHANGE = "perm.in"


@pytest.fixture(autouse=True)
def exchange(port: int) -> Iterator[None]:
    with Wire(port) as wire:
        wire.exchange(EXCHANGE)
        wire.exchange("worker.dead")
        wire.exchange("worker.alternate")
        wire.declare("jobs", exclusive=False)
        wire.declare("scanner.q", exclusive=False)
        wire.bind("scanner.q", EXCHANGE, "#")
        yield
        for queue in ("jobs", "scanner.q", "worker.q"):
            wire.call(commands.Queue.Delete(0, queue))
        for name in (EXCHANGE, "worker.dead", "worker.alternate", "worker.x", "asker.x"):
            wire.call(commands.Exchange.Delete(0, name))


def as_user(port: int, login: str) -> Wire:
    return Wire(port, user=login, password=PASSWORD)


def no(what: str, login: str, cause: tuple[int, int]) -> Any:
    text = f"access to {what} in vhost '/' refused for user '{login}'"
    return refused(403, text, cause=cause)


def confirmed(wire: Wire, key: str, **given: Any) -> None:
    """Publish, and wait until the broker has said what it thinks of it."""
    wire.call(commands.Confirm.Select())
    wire.publish(b"x", key, exchange=EXCHANGE, **given)
    wire.expect(commands.Basic.Ack)


def test_whoever_may_write_to_an_exchange_publishes_there_and_nowhere_else(port: int) -> None:
    with as_user(port, "ci") as wire:
        confirmed(wire, "any.key")
    for exchange, title in (("amq.topic", "amq.topic"), ("", "amq.default"), ("absent", "absent")):
        with as_user(port, "ci") as wire, no(f"exchange '{title}'", "ci", (60, 40)):
            wire.publish(b"x", "jobs", exchange=exchange)
            wire.expect(Frame)
    with Wire(port) as wire:
        assert wire.ready("jobs") == 0


def test_a_refused_publish_costs_the_channel_and_not_the_connection(port: int) -> None:
    with as_user(port, "ci") as wire:
        with no("exchange 'amq.direct'", "ci", (60, 40)):
            wire.publish(b"x", "k", exchange="amq.direct")
            wire.expect(Frame)
        wire.send(commands.Channel.CloseOk())
        wire.open(1)
        confirmed(wire, "k")


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (commands.Queue.Declare(0, "mine"), "queue 'mine'"),
        (commands.Queue.Declare(0, "jobs"), "queue 'jobs'"),
        (commands.Queue.Bind(0, "jobs", EXCHANGE, "k"), "queue 'jobs'"),
        (commands.Queue.Unbind(0, "jobs", EXCHANGE, "k"), "queue 'jobs'"),
        (commands.Queue.Purge(0, "jobs"), "queue 'jobs'"),
        (commands.Queue.Delete(0, "jobs"), "queue 'jobs'"),
        (commands.Queue.Delete(0, "absent"), "queue 'absent'"),
        (commands.Basic.Consume(0, "jobs"), "queue 'jobs'"),
        (commands.Basic.Get(0, "absent"), "queue 'absent'"),
        (commands.Exchange.Declare(0, "mine", "topic"), "exchange 'mine'"),
        (commands.Exchange.Declare(0, EXCHANGE, "topic"), f"exchange '{EXCHANGE}'"),
        (commands.Exchange.Delete(0, EXCHANGE), f"exchange '{EXCHANGE}'"),
        (commands.Exchange.Bind(0, "amq.topic", EXCHANGE, "k"), "exchange 'amq.topic'"),
        (commands.Exchange.Bind(0, EXCHANGE, "amq.topic", "k"), "exchange 'amq.topic'"),
        (commands.Exchange.Unbind(0, EXCHANGE, "amq.topic", "k"), "exchange 'amq.topic'"),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else str(value),
)
def test_everything_else_is_refused_to_one_who_may_only_publish(port: int, method: Any, what: str) -> None:
    with as_user(port, "ci") as wire, no(what, "ci", divmod(method.index, 1 << 16)):
        wire.call(method)


def test_what_is_there_may_be_asked_by_everybody(port: int) -> None:
    with as_user(port, "ci") as wire:
        assert wire.declare("jobs", passive=True).queue == "jobs"
        wire.exchange("amq.topic", passive=True)


def test_whoever_may_read_an_exchange_binds_a_queue_of_his_own(port: int) -> None:
    with as_user(port, "scanner") as wire, as_user(port, "ci") as publisher:
        queue = wire.declare("scanner.mine").queue
        wire.bind(queue, EXCHANGE, "#")
        wire.consume(queue)
        confirmed(publisher, "a.b")
        assert wire.content().body == b"x"
        with no(f"exchange '{EXCHANGE}'", "scanner", (60, 40)):
            wire.publish(b"x", "k", exchange=EXCHANGE)
            wire.expect(Frame)
    with as_user(port, "scanner") as wire, no("exchange 'amq.topic'", "scanner", (50, 20)):
        wire.declare("scanner.mine")
        wire.bind("scanner.mine", "amq.topic", "#")


def test_a_name_that_the_broker_finds_needs_leave_too(port: int) -> None:
    with as_user(port, "scanner") as wire, refused(403, "access to queue 'amq.gen-", cause=(50, 10)):
        wire.queue()


def test_the_empty_name_means_the_queue_declared_last_here_too(port: int) -> None:
    with as_user(port, "asker") as wire:
        wire.declare("asker.q")
        with no("queue 'asker.q'", "asker", (60, 20)):
            wire.consume("")


def test_consuming_needs_no_more_than_read(port: int) -> None:
    with Wire(port) as wire, as_user(port, "worker") as worker:
        wire.publish(b"job", "jobs")
        worker.consume("jobs", no_ack=True)
        assert worker.content().body == b"job"


def test_dead_letters_need_read_on_the_queue_and_write_on_the_exchange(port: int) -> None:
    dead = {"x-dead-letter-exchange": "worker.dead"}
    with as_user(port, "worker") as wire:
        wire.declare("worker.q", exclusive=False, arguments=dead)
    with as_user(port, "worker") as wire, no("exchange 'amq.topic'", "worker", (50, 10)):
        wire.declare("worker.other", arguments={"x-dead-letter-exchange": "amq.topic"})
    with as_user(port, "asker") as wire, no("queue 'asker.q'", "asker", (50, 10)):
        wire.declare("asker.q", arguments=dead)


def test_an_alternate_exchange_needs_read_here_and_write_there(port: int) -> None:
    with as_user(port, "worker") as wire:
        wire.exchange("worker.x", arguments={"alternate-exchange": "worker.dead"})
    with as_user(port, "worker") as wire, no("exchange 'amq.fanout'", "worker", (40, 10)):
        wire.exchange("worker.y", arguments={"alternate-exchange": "amq.fanout"})
    with as_user(port, "asker") as wire, no("exchange 'asker.x'", "asker", (40, 10)):
        wire.exchange("asker.x", arguments={"alternate-exchange": "amq.fanout"})


def test_one_without_any_permission_may_not_even_enter(port: int) -> None:
    with refused(530, "access to vhost '/' refused for user 'stranger'", hard=True):
        as_user(port, "stranger")


def test_a_topic_permission_limits_the_keys_of_a_publisher(port: int) -> None:
    with as_user(port, "zoo") as wire:
        confirmed(wire, "zoo.sync.start")
        with no(f"topic 'farm.sync' in exchange '{EXCHANGE}'", "zoo", (60, 40)):
            wire.publish(b"x", "farm.sync", exchange=EXCHANGE)
            wire.expect(Frame)


@pytest.mark.parametrize("key", ["zoo.#", "#", "farm.sync", "zoo.a.b"])
def test_a_topic_permission_limits_the_keys_of_a_binding(port: int, key: str) -> None:
    with as_user(port, "zoo") as wire:
        queue = wire.queue()
        wire.bind(queue, EXCHANGE, "zoo.sync")
        with no(f"topic '{key}' in exchange '{EXCHANGE}'", "zoo", (50, 20)):
            wire.bind(queue, EXCHANGE, key)
