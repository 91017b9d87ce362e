"""A process that does one piece of work on a repository and kills itself at its n-th transaction that writes.

Run as a script: data folder, repository, what to do, n, and whether to die `before` or `after` the commit. It dies by
SIGKILL, or ends well if the work has fewer transactions.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from pulpit.content.iso import Iso
from pulpit.content.limits import Limits
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.repositories.publish import publish
from pulpit.repositories.sync import sync
from pulpit.storage.folder import FolderStorage
from pulpit.store import repositories
from pulpit.store.database import Database, Transaction
from pulpit.store.wakeups import WakeupSocket
from support import published

DISTRIBUTOR = "iso_distributor"


async def _publish(context: TaskContext, repo_id: str) -> None:
    published.show(context, await publish(context, repo_id, DISTRIBUTOR, None, lambda _: None))


async def _unpublish(context: TaskContext, repo_id: str) -> None:
    with context.database.write() as tx:
        repositories.remove_distributor(tx, repo_id, DISTRIBUTOR)


WORK: dict[str, Callable[[TaskContext, str], Awaitable[Any]]] = {
    "sync": lambda context, repo_id: sync(context, repo_id, None, lambda _: None),
    "publish": _publish,
    "unpublish": _unpublish,
}


class DyingDatabase(Database):
    """Its n-th transaction is the last."""

    last = 0
    after_commit = False

    @contextlib.contextmanager
    def write(self, *, is_one_statement: bool = False) -> Iterator[Transaction]:
        self.last -= 1
        with super().write(is_one_statement=is_one_statement) as tx:
            yield tx
            if self.last == 0 and not self.after_commit:
                os.kill(os.getpid(), signal.SIGKILL)
        if self.last == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(data_dir: Path, repo_id: str, what: str, last: int, when: str) -> None:
    with WakeupSocket(data_dir) as wakeups:
        database = DyingDatabase.open(data_dir, wakeups)
        assert isinstance(database, DyingDatabase)
        database.last, database.after_commit = last, when == "after"
        context = TaskContext(
            database=database,
            storage=FolderStorage(data_dir / "content"),
            data_dir=data_dir,
            content_types=by_plugin(Iso()),
            limits=Limits(first_pause=0.01),
        )
        asyncio.run(_do(WORK[what], context, repo_id))
        database.close()


async def _do(work: Callable[[TaskContext, str], Awaitable[Any]], context: TaskContext, repo_id: str) -> None:
    await work(context, repo_id)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
