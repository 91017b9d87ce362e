"""The databases that the store must behave the same on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from support.postgresql import PostgreSQL, postgresql, why_not


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgreSQL]:
    if why_not():
        pytest.skip(why_not() or "")
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of either kind."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("cluster").fresh()
    with WakeupSocket(tmp_path) as wakeups:
        opened = Database.open(tmp_path, wakeups, url=url)
        try:
            yield opened
        finally:
            opened.close()
