"""What survives: `kill -9` while publishing, restarts, backlogs larger than memory."""

import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pamqp import commands

from pulpit.amqp.amqp091.tables import write_table
from pulpit.broker.server import DATABASE
from support.amqp import Gone, Wire, refused
from support.embedded_broker import BrokerProcess, broker_process
from support.waiting import until

ROUNDS = int(os.environ.get("PULPIT_KILL_ROUNDS", "50"))


@contextmanager
def running(folder: Path, **settings: int) -> Iterator[BrokerProcess]:
    with broker_process(folder, **settings) as broker:
        yield broker


def publish_until_gone(wire: Wire, queue: str, first: int, confirmed: set[int], stop: threading.Event) -> int:
    """Publish numbered persistent messages with a window; collects what was confirmed, answers the next number."""
    number, offset, tag = first, first - 1, 0
    waiting: set[int] = set()
    try:
        while not stop.is_set():
            while len(waiting) < 200:
                wire.publish(b"%d" % number, queue, delivery_mode=2)
                waiting.add(number - offset)
                number += 1
            answer = wire.expect(commands.Basic.Ack, 5)
            tag = int(answer.delivery_tag)
            done = {each for each in waiting if each <= tag} if answer.multiple else {tag}
            waiting -= done
            confirmed |= {each + offset for each in done}
    except (OSError, Gone, TimeoutError):
        pass
    return number


def test_confirmed_messages_survive_kill_9(tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - moments to kill at
    with running(tmp_path) as broker:
        with Wire(broker.port) as wire:
            wire.declare("kept", exclusive=False, durable=True)
        following = 1
        for _ in range(ROUNDS):
            confirmed: set[int] = set()
            with Wire(broker.port) as wire:
                wire.call(commands.Confirm.Select())
                killer = threading.Timer(chance.uniform(0.02, 0.2), broker.kill)
                killer.start()
                first, following = following, publish_until_gone(wire, "kept", following, confirmed, threading.Event())
                killer.join()
            broker.start()
            with Wire(broker.port) as wire:
                found = [int(body) for body in wire.drain("kept")]
                wire.exchange(f"after-{first}", durable=True)  # answered when the disk knows that they were taken
            assert found == sorted(set(found)), "out of order or twice"
            assert confirmed <= set(found), "lost after a confirm"
            assert all(first <= number < following for number in found), "from an earlier round"


def test_what_was_delivered_before_a_crash_comes_again_marked(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        with Wire(broker.port) as wire:
            wire.declare("kept", exclusive=False, durable=True)
            wire.call(commands.Tx.Select())
            for _ in range(3):
                wire.publish(b"x", "kept", delivery_mode=2)
            wire.call(commands.Tx.Commit(), answer=commands.Tx.CommitOk)
        with Wire(broker.port) as wire:
            wire.consume("kept")
            wire.content()
            broker.kill()
        broker.start()
        with Wire(broker.port) as wire:
            content = wire.get("kept")
            assert content
            assert content.method.redelivered


def test_durable_things_survive_and_others_do_not(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        with Wire(broker.port) as wire:
            for durable in (True, False):
                name = "durable" if durable else "passing"
                wire.declare(name, exclusive=False, durable=durable, arguments={"x-max-priority": 3})
                wire.exchange(name, "topic", durable=durable)
                wire.bind(name, name, "a.#")
            wire.bind("durable", "amq.topic", "b.*")
            wire.call(commands.Exchange.Bind(0, "durable", "amq.direct", "c"))
            wire.call(commands.Confirm.Select())
            wire.publish(b"persistent", "durable", delivery_mode=2, priority=2)
            wire.expect(commands.Basic.Ack)
            wire.publish(b"transient", "durable", delivery_mode=1)
            wire.expect(commands.Basic.Ack)
        broker.kill()
        broker.start()
        with Wire(broker.port) as wire:
            assert wire.drain("durable") == [b"persistent"]
            wire.declare("durable", exclusive=False, durable=True, arguments={"x-max-priority": 3})
            wire.exchange("durable", "topic", durable=True)
            for exchange, key in (("durable", "a.x"), ("amq.topic", "b.x")):
                wire.publish(key.encode(), key, exchange=exchange)
            assert sorted(wire.drain("durable")) == [b"a.x", b"b.x"]
            with refused(404):
                wire.declare("passing", passive=True)
        with Wire(broker.port) as wire, refused(404):
            wire.exchange("passing", passive=True)


def test_acknowledged_and_purged_messages_do_not_come_back(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        with Wire(broker.port) as wire:
            for name in ("acknowledged", "purged", "deleted"):
                wire.declare(name, exclusive=False, durable=True)
                wire.bind(name, "amq.fanout")
            wire.call(commands.Confirm.Select())
            for number in range(5):
                wire.publish(b"%d" % number, exchange="amq.fanout", delivery_mode=2)
                wire.expect(commands.Basic.Ack)
            assert len(wire.drain("acknowledged")) == 5
            wire.call(commands.Queue.Purge(0, "purged"))
            wire.call(commands.Queue.Delete(0, "deleted"))
            wire.publish(b"last", "purged", delivery_mode=2)
            wire.expect(commands.Basic.Ack)
        broker.stop()
        broker.start()
        with Wire(broker.port) as wire:
            assert (wire.drain("acknowledged"), wire.drain("purged")) == ([], [b"last"])
            with refused(404):
                wire.declare("deleted", passive=True)


def test_a_clean_end_keeps_the_redelivered_flags_exact(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        with Wire(broker.port) as wire:
            wire.declare("kept", exclusive=False, durable=True)
            for number in range(3):
                wire.publish(b"%d" % number, "kept", delivery_mode=2)
            assert wire.get("kept", no_ack=False)
            broker.stop()
        broker.start()
        with Wire(broker.port) as wire:
            contents = [wire.get("kept") for _ in range(3)]
            assert [each.method.redelivered for each in contents if each] == [True, False, False]


def test_a_quorum_queue_counts_from_the_start_of_the_broker(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        with Wire(broker.port) as wire:
            wire.declare("kept", exclusive=False, durable=True, arguments={"x-queue-type": "quorum"})
            wire.publish(b"x", "kept", delivery_mode=2)
            counts = []
            for _ in range(3):
                content = wire.get("kept", no_ack=False)
                assert content
                wire.send(commands.Basic.Reject(content.method.delivery_tag, True))
                counts.append(content.properties.headers)
            assert counts == [{"x-delivery-count": count} for count in range(3)]
            broker.stop()
        broker.start()
        with Wire(broker.port) as wire:
            content = wire.get("kept")
            assert content
            assert content.properties.headers == {"x-delivery-count": 1}


def test_a_queue_from_a_release_that_took_more_arguments_is_still_there(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        with Wire(broker.port) as wire:
            wire.declare("old", exclusive=False, durable=True)
        broker.stop()
        with closing(sqlite3.connect(tmp_path / "data" / DATABASE)) as database, database:
            database.execute(
                "UPDATE queue SET arguments = ?", (write_table({"x-max-age": "1D", "x-queue-version": 9}),)
            )
        broker.start()
        with Wire(broker.port) as wire:
            assert wire.declare("old", exclusive=False, durable=True, passive=True).queue == "old"


def test_clients_are_told_when_the_broker_ends(tmp_path: Path) -> None:
    with running(tmp_path) as broker, Wire(broker.port) as wire:
        stopper = threading.Thread(target=broker.stop)
        stopper.start()
        with refused(320, "CONNECTION_FORCED", hard=True):
            wire.expect(commands.Basic.Ack)
        wire.send(commands.Connection.CloseOk(), 0)
        stopper.join()


@pytest.mark.parametrize("mode", [1, 2])
def test_a_backlog_larger_than_memory_is_held_on_disk(tmp_path: Path, mode: int) -> None:
    memory = 16 * 1024 * 1024
    count, size = 2000, 50_000
    with running(tmp_path, memory_limit=memory) as broker:
        before = _resident(broker.pid)
        with Wire(broker.port, seconds=60) as wire:
            wire.declare("long", exclusive=False, durable=True)
            wire.call(commands.Confirm.Select())
            body = os.urandom(size)
            confirmed = 0
            for number in range(count):
                wire.publish(b"%05d" % number + body, "long", delivery_mode=mode)
                if number % 50 == 49:
                    while confirmed < number + 1:
                        answer = wire.expect(commands.Basic.Ack)
                        confirmed = answer.delivery_tag if answer.multiple else confirmed + 1
            grown = _resident(broker.pid) - before
            assert grown < 6 * memory, f"{grown} bytes for a backlog of {count * size}"
            assert wire.ready("long") == count
            for number in range(count):
                content = wire.get("long")
                assert content
                assert content.body[:5] == b"%05d" % number
            assert wire.get("long") is None


def test_a_backlog_on_disk_can_be_purged_and_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, memory_limit=2 * 1024 * 1024) as broker, Wire(broker.port, seconds=60) as wire:
        wire.declare("long", exclusive=False, durable=True)
        wire.declare("other", exclusive=False, durable=True)
        wire.bind("long", "amq.fanout")
        wire.bind("other", "amq.fanout")
        for _ in range(1500):
            wire.publish(os.urandom(2000), exchange="amq.fanout", delivery_mode=2)
        until(lambda: wire.ready("long") == 1500)
        assert wire.call(commands.Queue.Purge(0, "long")).message_count == 1500
        wire.publish(b"after", "long", delivery_mode=2)
        assert wire.drain("long") == [b"after"]
        assert len(wire.drain("other")) == 1500


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    text = Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with running(tmp_path / "one") as broker:
        second = BrokerProcess(tmp_path / "two")
        second._settings = second._settings.replace(str(second.port), str(broker.port))
        with pytest.raises(AssertionError, match="Address already in use"):
            second.start()
            until(lambda: second._answers() and False)
        second.kill()


def test_a_folder_serves_one_broker_at_a_time(tmp_path: Path) -> None:
    with running(tmp_path):
        second = BrokerProcess(tmp_path)
        with pytest.raises(AssertionError, match="is used by another broker"):
            second.start()
