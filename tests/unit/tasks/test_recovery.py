"""Uploaded files that no task needs are removed; those of waiting tasks stay."""

from pathlib import Path

from pulpit.clock import system_clock
from pulpit.repositories.pending_uploads import LINKED
from pulpit.store import tasks
from pulpit.store.tasks import NewTask
from pulpit.tasks import queue
from pulpit.tasks.recovery import sweep_uploads
from support.database import fresh


def test_only_files_that_no_task_waits_for_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / LINKED
    folder.mkdir(parents=True)
    wanted, left = folder / "wanted", folder / "left"
    wanted.touch()
    left.touch()
    with fresh(tmp_path) as (database, _):
        with database.write() as tx:
            arguments = {"path": str(LINKED / "wanted")}
            new = NewTask(task_type=queue.IMPORT_UPLOAD, arguments=arguments, tags=[], resource=None)
            tasks.add(tx, new, now=system_clock())
        assert sweep_uploads(database, tmp_path) == 1
    assert wanted.exists()
    assert not left.exists()


def test_a_folder_that_never_had_an_upload_is_fine(tmp_path: Path) -> None:
    with fresh(tmp_path) as (database, _):
        assert sweep_uploads(database, tmp_path) == 0
