"""Two servers on one PostgreSQL share the listeners, and one takes over when the other dies."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support import postgresql as pg
from support import rabbitmq as rmq
from support.server import Server, pulpit
from support.subscriber import subscribed
from support.waiting import until

logging.getLogger("pika").setLevel(logging.CRITICAL)
EXCHANGES = ["a", "b", "c", "d"]


@pytest.fixture
def conf(tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """A configuration for both servers, the broker's URL and the database's."""
    for why_not in (pg.why_not(), rmq.why_not()):
        if why_not:
            pytest.skip(why_not)
    with pg.postgresql() as cluster, rmq.rabbitmq(tmp_path / "rabbitmq") as broker:
        url = cluster.fresh()
        storage = tmp_path / "shared"
        text = f"[database]\nurl: {url}\n[messaging]\nurl: {broker.url}\n[storage]\nurl: {storage}\n"
        yield text, broker.url, url


def fire(server: Server, number: int) -> None:
    server.call("POST", "/pulpit/v1/events", {"event_type": "build.done", "payload": {"n": number}})


def owners(url: str) -> dict[str, int]:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        rows: Any = connection.execute(sa.text("SELECT lease_owner, count(*) FROM listeners GROUP BY 1")).all()
    engine.dispose()
    return {row[0]: row[1] for row in rows if row[0]}


def test_listeners_are_shared_and_taken_over(tmp_path: Path, conf: tuple[str, str, str]) -> None:
    text, broker, database = conf
    with pulpit(tmp_path / "one", text) as one, pulpit(tmp_path / "two", text) as two:
        (two.data_dir / "admin-password").write_text(one.password)  # there is one administrator, made by the first
        with (
            subscribed(broker, "a", queue="a") as a,
            subscribed(broker, "b", queue="b") as b,
            subscribed(broker, "c", queue="c") as c,
            subscribed(broker, "d", queue="d") as d,
        ):
            for exchange in EXCHANGES:
                one.listen(exchange)
            until(lambda: sorted(owners(database).values()) == [2, 2], what="a fair share", seconds=40)
            for number in range(10):
                fire(one if number % 2 else two, number)
            for subscriber in (a, b, c, d):
                subscriber.wait_for(10)
            one.kill()
            for number in range(10, 20):
                fire(two, number)
            for subscriber in (a, b, c, d):
                subscriber.wait_for(20)
                assert [arrived.body["payload"]["n"] for arrived in subscriber.arrived] == list(range(20))
                assert subscriber.numbers == sorted(subscriber.numbers)
            assert list(owners(database).values()) == [4]


def test_a_copy_of_a_data_folder_is_refused_while_the_first_is_alive(
    tmp_path: Path, conf: tuple[str, str, str]
) -> None:
    """And it is not refused any more when the first has stopped, or when it has a name of its own."""
    text, _, _ = conf
    with pulpit(tmp_path / "one", text) as one:
        copy = Server(tmp_path / "copy", text)
        shutil.copytree(one.data_dir, copy.data_dir, ignore=shutil.ignore_patterns("bell", "*.lock"))
        done = refused_start(copy)
        assert done.returncode == 78, done.stderr
        assert "this folder is a copy" in done.stderr
        assert "Traceback" not in done.stderr
        one.stop()
        copy.start()
        copy.stop()
        one.start()
        (copy.data_dir / "node").unlink()
        copy.start()
        copy.stop()


def refused_start(server: Server) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pulpit.cli", "serve", "--config", str(server.data_dir.parent / "copy.conf")]
    command += ["--data-dir", str(server.data_dir), "--port", "0", "--broker-port", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
