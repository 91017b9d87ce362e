"""Servers that share a PostgreSQL: heartbeats, leases of listeners, and names that are taken."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from pulpit.clock import system_clock
from pulpit.errors import DatabaseUnavailable
from pulpit.store import listeners, repositories, schedules, servers, tasks
from pulpit.store.database import Database, database_time
from pulpit.store.listeners import Listener, Move
from pulpit.store.servers import Instance
from pulpit.store.tasks import NewTask
from pulpit.store.wakeups import WakeupSocket
from pulpit.tasks import queue
from pulpit.tasks.completion import Completion, end
from pulpit.tasks.recovery import LOOK_SPACING, LOOKS, SilentServers
from pulpit.tasks.schedules import meet_slots
from pulpit.tasks.supervisor import Supervisor
from support.ports import free_port
from support.postgresql import PostgreSQL, postgresql

ONE = Instance(node="one", id="1", home="here")
TWO = Instance(node="two", id="2", home="there")
HOUR = timedelta(hours=1)


@pytest.fixture
def shared(tmp_path: Path, cluster: PostgreSQL) -> Iterator[Database]:
    with WakeupSocket(tmp_path) as wakeups:
        database = Database.open(tmp_path, wakeups, url=cluster.fresh())
        try:
            yield database
        finally:
            database.close()


def add_listeners(database: Database, count: int) -> list[Listener]:
    with database.write() as tx:
        return [listeners.add(tx, "http", {}, ["*"], now=system_clock()) for _ in range(count)]


def renew(database: Database, me: Instance) -> set[str] | None:
    with database.write() as tx:
        return servers.renew(tx, me)


def run_a_task(database: Database, worker: str) -> tasks.Task:
    with database.write() as tx:
        tasks.add(tx, NewTask(task_type="x", arguments={}, tags=[]), now=system_clock())
        task = tasks.claim(tx, worker, now=system_clock())
    assert task
    return task


def state_of(database: Database, task: tasks.Task) -> str:
    with database.read() as connection:
        return tasks.get(connection, task.id).state


@contextmanager
def supervising(database: Database, node: str, skew: timedelta) -> Iterator[Supervisor]:
    yield Supervisor(
        database,
        lambda: system_clock() + skew,
        node=node,
        count=0,
        module="",
        briefing={},
        stop_timeout=1,
        recover=lambda _: None,
    )


@pytest.mark.parametrize("skew", [timedelta(seconds=90), timedelta(days=20), timedelta(days=-20)])
def test_a_server_whose_clock_is_wrong_declares_nobody_dead(shared: Database, skew: timedelta) -> None:
    """The other says that it is alive, and its running task goes on."""
    task = run_a_task(shared, "worker-0.aa@two")
    renew(shared, TWO)
    with supervising(shared, "one", skew) as supervisor:
        for _ in range(LOOKS + 2):
            supervisor._silent._next_look = 0
            renew(shared, TWO)
            asyncio.run(supervisor._end_dead_servers())
    assert state_of(shared, task) == tasks.RUNNING


def test_leases_are_judged_by_the_clock_of_the_database(shared: Database) -> None:
    """Nothing that a server says about time reaches a lease."""
    add_listeners(shared, 4)
    mine = renew(shared, ONE)
    assert mine is not None
    assert len(mine) == 4
    assert renew(shared, TWO) == set()
    mine = renew(shared, ONE)
    assert mine is not None
    assert len(mine) == 2
    with shared.read() as connection:
        until = connection.execute(sa.text("SELECT max(lease_until) FROM listeners")).scalar_one()
        now = database_time(connection)
    assert abs(until / 1e6 - (now + servers.LEASE).timestamp()) < 5


def test_a_server_that_stands_still_is_dead_and_its_tasks_end(shared: Database) -> None:
    task = run_a_task(shared, "worker-0.aa@two")
    renew(shared, TWO)
    with supervising(shared, "one", timedelta(0)) as supervisor:
        for look in range(LOOKS + 1):
            assert state_of(shared, task) == tasks.RUNNING, look
            supervisor._silent._next_look = 0
            asyncio.run(supervisor._end_dead_servers())
    assert state_of(shared, task) == tasks.ERROR
    with shared.read() as connection:
        assert servers.heartbeats(connection) == {}


def test_tasks_of_a_server_that_has_no_row_any_more_end_too(shared: Database) -> None:
    """Whoever struck it off was killed before it had ended them."""
    task, own = run_a_task(shared, "worker-0.aa@gone"), run_a_task(shared, "worker-0.bb@one")
    with supervising(shared, "one", timedelta(0)) as supervisor:
        for _ in range(LOOKS + 1):
            supervisor._silent._next_look = 0
            asyncio.run(supervisor._end_dead_servers())
    assert state_of(shared, task) == tasks.ERROR
    assert state_of(shared, own) == tasks.RUNNING


def test_a_look_that_the_database_kept_waiting_is_one_look() -> None:
    now = 0.0
    silent = SilentServers(lambda: now)
    beat = system_clock()
    for _ in range(LOOKS):
        assert silent.dead({"two": beat}) == []
        now += LOOK_SPACING
    now += 3600  # the database paused: nobody could say anything
    assert silent.dead({"two": beat + timedelta(seconds=1)}) == []
    for _ in range(LOOKS):
        now += LOOK_SPACING
        dead = silent.dead({"two": beat + timedelta(seconds=1)})
    assert dead == ["two"]


def test_looks_in_quick_succession_count_once() -> None:
    silent = SilentServers(lambda: 5.0)
    beat = system_clock()
    assert [silent.dead({"two": beat}) for _ in range(50)] == [[]] * 50


def test_the_name_of_a_living_server_of_another_folder_is_not_given_away(shared: Database) -> None:
    copy = replace(ONE, id="9", home="copy")
    with shared.write() as tx:
        assert servers.enter(tx, ONE) is None
    with shared.write() as tx:
        seen_at = servers.enter(tx, copy)
    assert seen_at is not None
    renew(shared, ONE)
    with shared.write() as tx:
        assert not servers.take_over(tx, copy, seen_at=seen_at)
    assert renew(shared, ONE) == set()
    assert renew(shared, copy) is None


def test_a_restart_in_the_same_folder_and_a_folder_whose_server_died_have_the_name(shared: Database) -> None:
    """Nobody waits who need not, and the one that was superseded holds nothing."""
    add_listeners(shared, 1)
    with shared.write() as tx:
        assert servers.enter(tx, ONE) is None
    again = replace(ONE, id="3")
    with shared.write() as tx:
        assert servers.enter(tx, again) is None
    moved = replace(ONE, id="4", home="moved")
    with shared.write() as tx:
        seen_at = servers.enter(tx, moved)
        assert seen_at is not None
    with shared.write() as tx:
        assert servers.take_over(tx, moved, seen_at=seen_at)
    assert renew(shared, again) is None
    with shared.write() as tx:
        servers.leave(tx, again)
    mine = renew(shared, moved)
    assert mine is not None
    assert len(mine) == 1


def test_servers_and_their_cursors_never_wait_for_one_another_in_a_circle(shared: Database) -> None:
    """Renewing, leaving and settling lock the same rows, many times at once."""
    every = add_listeners(shared, 30)
    for position, listener in enumerate(every):
        with shared.write() as tx:
            listeners.change(tx, listener.id, position=position)

    def renewing(me: Instance) -> Callable[[int], None]:
        def work(_: int) -> None:
            renew(shared, me)

        return work

    def leaving(_: int) -> None:
        with shared.write() as tx:
            servers.leave(tx, TWO)

    def settling(order: int) -> Callable[[int], None]:
        def work(step: int) -> None:
            moves = [Move(listener_id=listener.id, epoch=1, position=100 + step) for listener in every[::order]]
            with shared.write() as tx:
                listeners.settle(tx, moves)

        return work

    _at_once([renewing(ONE), renewing(TWO), leaving, settling(1), settling(-1)], times=25)


def test_tasks_schedules_and_events_never_wait_for_one_another_in_a_circle(shared: Database) -> None:
    """Whoever ends a task, cancels one, meets a slot or deletes a repository also writes events."""
    now = system_clock()
    with shared.write() as tx:
        for name in ("a", "b", "c"):
            repositories.add(tx, name, display_name=None, description=None, notes={}, now=now)
            repositories.add_importer(tx, name, "iso_importer", {}, now=now)
            new = schedules.NewSchedule(
                repo_id=name,
                action="sync",
                plugin_id="iso_importer",
                schedule="PT1S",
                override_config={},
                principal_login="admin",
                enabled=True,
                failure_threshold=None,
                first_run=now,
                next_run=now,
                remaining_runs=None,
            )
            schedules.add(tx, new, now=now)

    def meeting(step: int) -> None:
        meet_slots(shared, lambda: now + step * HOUR)

    def ending(step: int) -> None:
        with shared.write() as tx:
            task = tasks.claim(tx, f"w{step}@one", now=now)
        if task:
            end(shared, task, Completion(state=tasks.FINISHED), lambda: now)

    def cancelling(_: int) -> None:
        with shared.read() as connection:
            found = tasks.search(connection, states=[tasks.WAITING, tasks.RUNNING])
        for task in found:
            with shared.write() as tx:
                queue.cancel(tx, task.id, clock=lambda: now)

    def removing(step: int) -> None:
        with shared.write() as tx:
            repositories.remove_importer(tx, "c")
            repositories.add_importer(tx, "c", "iso_importer", {}, now=now)
            queue.sync(tx, "c", None, login=None, clock=lambda: now + step * HOUR)

    _at_once([meeting, ending, ending, cancelling, removing], times=25)


def _at_once(works: list[Callable[[int], None]], *, times: int) -> None:
    """Do all of them again and again at the same time; a deadlock would be one of them unavailable."""
    failures: list[BaseException] = []

    def again_and_again(work: Callable[[int], None]) -> None:
        for step in range(times):
            try:
                work(step)
            except DatabaseUnavailable as error:
                failures.append(error.__cause__ or error)

    threads = [threading.Thread(target=again_and_again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [], "\n".join(map(str, failures))


def test_servers_that_keep_their_files_elsewhere_are_rivals(shared: Database) -> None:
    here, there = replace(ONE, storage="a"), replace(TWO, storage="a")
    with shared.write() as tx:
        assert servers.enter(tx, here) is None
        servers.say_storage(tx, here)
        assert servers.rivals(tx, there) == {}
        assert set(servers.rivals(tx, replace(TWO, storage="b"))) == {"one"}
        assert set(servers.rivals(tx, TWO)) == {"one"}  # its files are its own
        servers.leave(tx, here)
        assert servers.rivals(tx, TWO) == {}


def test_workers_without_a_server_take_no_share_of_the_listeners(shared: Database) -> None:
    add_listeners(shared, 2)
    workers = replace(TWO, delivers=False)
    with shared.write() as tx:
        assert servers.beat(tx, workers)
        assert not servers.beat(tx, replace(workers, id="another process"))

    assert len(renew(shared, ONE) or ()) == 2


def test_a_secret_is_that_of_whoever_came_first(shared: Database) -> None:
    with shared.write() as tx:
        assert servers.shared_secret(tx, "key", "first") == "first"
        assert servers.shared_secret(tx, "key", "second") == "first"


def test_a_postgresql_that_vanished_is_noticed_and_a_url_may_say_when(tmp_path: Path, cluster: PostgreSQL) -> None:
    """A machine that is cut off sends nothing, not even that it is gone: TCP alone waits for a quarter of an hour."""
    url = cluster.fresh()
    for given, patience_ms in (("", 20_000), ("?tcp_user_timeout=5000", 5_000)):
        with (
            WakeupSocket(tmp_path) as wakeups,
            closing(Database.open(tmp_path, wakeups, url=url + given)) as database,
            database.read() as connection,
        ):
            driver: Any = connection.connection.dbapi_connection
            with socket.fromfd(driver.fileno(), socket.AF_INET, socket.SOCK_STREAM) as tcp:
                assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == patience_ms
                assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10


def test_a_server_that_freezes_while_it_renews_does_not_keep_the_others_from_it(shared: Database) -> None:
    """PostgreSQL ends the transaction of a client that says nothing; soon enough for leases not to expire."""
    add_listeners(shared, 1)
    with pytest.raises(DatabaseUnavailable), shared.write() as frozen:
        servers.renew(frozen, ONE)
        assert renew(shared, TWO) is not None


def test_a_client_that_vanishes_does_not_keep_its_locks(shared: Database) -> None:
    """They are free again before those who wait for them give up, and also if it vanishes while it waits itself."""
    with shared.read() as connection:
        kept = {name: _setting(connection, name) for name in ("idle_in_transaction_session_timeout", "lock_timeout")}
        watched = {
            name: _setting(connection, name) for name in ("tcp_user_timeout", "client_connection_check_interval")
        }
    assert 0 < kept["idle_in_transaction_session_timeout"] < kept["lock_timeout"]
    assert 0 < watched["client_connection_check_interval"] < watched["tcp_user_timeout"] < kept["lock_timeout"]


def _setting(connection: sa.Connection, name: str) -> int:
    """A setting of this session in milliseconds."""
    shown = sa.text("SELECT setting::integer FROM pg_settings WHERE name = :name")
    milliseconds: int = connection.execute(shown, {"name": name}).scalar_one()
    return milliseconds


def test_of_several_hosts_the_one_that_accepts_writes_is_used(tmp_path: Path, cluster: PostgreSQL) -> None:
    """One is gone, one is read-only as a standby is; each may have a port."""
    url = make_url(cluster.fresh())
    with postgresql() as standby:
        engine = sa.create_engine(standby.url().replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"CREATE DATABASE {url.database}"))
            connection.execute(sa.text(f"ALTER USER postgres PASSWORD '{url.password}'"))
            connection.execute(sa.text("ALTER SYSTEM SET default_transaction_read_only = on"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        engine.dispose()
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{make_url(standby.url()).port},127.0.0.1:{url.port}"
        several = f"postgresql://{url.username}:{url.password}@{hosts}/{url.database}"
        with WakeupSocket(tmp_path) as wakeups, closing(Database.open(tmp_path, wakeups, url=several)) as database:
            add_listeners(database, 1)
            with database.read() as connection:
                assert len(listeners.every(connection)) == 1


@pytest.mark.usefixtures("cluster")  # which skips where there is no PostgreSQL
def test_a_postgresql_that_was_restarted_a_moment_ago_costs_no_transaction(tmp_path: Path) -> None:
    """The connections that are kept have been hung up, which is seen before they are used."""
    with (
        postgresql() as own,
        WakeupSocket(tmp_path) as wakeups,
        closing(Database.open(tmp_path, wakeups, url=own.fresh())) as database,
    ):
        for _ in range(2):
            with database.read() as first, database.read() as second:
                assert database_time(first) <= database_time(second)
            own.stop()
            own.start()
            with database.write() as tx:
                listeners.add(tx, "http", {}, ["*"], now=system_clock())
        with database.read() as connection:
            assert len(listeners.every(connection)) == 2
