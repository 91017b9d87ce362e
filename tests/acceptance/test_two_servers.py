"""Two servers on one PostgreSQL share the listeners, and one takes over when the other dies."""

import logging
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
        yield f"[database]\nurl: {url}\n[messaging]\nurl: {broker.url}\n", broker.url, url


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
                subscriber.wait_for(20, seconds=60)
                assert [arrived.body["payload"]["n"] for arrived in subscriber.arrived] == list(range(20))
                assert subscriber.numbers == sorted(subscriber.numbers)
            assert list(owners(database).values()) == [4]
