"""Uploads whose pieces are sent to several servers."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from pulpit.clock import system_clock
from pulpit.content.iso import Iso
from pulpit.errors import ConflictingOperation, InvalidValue, MissingResource, RequestTooLarge
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.repositories.orphans import remove_strays
from pulpit.repositories.pending_uploads import SharedUploads, UploadLimits
from pulpit.repositories.uploads import IN_STORAGE, handed_over
from pulpit.storage.folder import FolderStorage
from pulpit.storage.scratch import Scratch
from support import database

LIMITS = UploadLimits(piece=4, whole=10, count=2, kept_for=timedelta(days=1))


@dataclass(kw_only=True)
class Here:
    """Two servers on one database and one storage."""

    context: TaskContext
    one: SharedUploads
    two: SharedUploads


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    storage = FolderStorage(tmp_path / "shared", is_shared=True)
    storage.begin()
    with database.fresh(tmp_path) as (store, _):
        context = TaskContext(database=store, storage=storage, data_dir=tmp_path, content_types=by_plugin(Iso()))
        context.scratch.prepare()

        def server(name: str) -> SharedUploads:
            (tmp_path / name).mkdir()
            return SharedUploads(store, storage, Scratch(tmp_path / name), system_clock, LIMITS)

        yield Here(context=context, one=server("one"), two=server("two"))


def write(uploads: SharedUploads, upload_id: str, offset: int, *parts: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    asyncio.run(uploads.write(upload_id, offset, pieces()))


def test_pieces_by_either_server_become_one_file_in_their_order(here: Here) -> None:
    upload_id = here.one.begin()
    write(here.one, upload_id, 0, b"ab", b"c")
    write(here.two, upload_id, 3, b"def")
    write(here.one, upload_id, 2, b"CD")
    write(here.two, upload_id, 6, b"")
    assert here.one.size(upload_id) == here.two.size(upload_id) == 6
    assert here.two.ids() == [upload_id]
    path = here.two.hand_over(upload_id)
    here.one.remove(upload_id)
    assert path.startswith(IN_STORAGE)
    with handed_over(here.context, path) as file:
        assert file.read_bytes() == b"abCDef"
    for use in (here.two.size, here.two.hand_over, here.two.remove):
        with pytest.raises(MissingResource):
            use(upload_id)


def test_holes_and_what_is_too_long_or_too_many_are_refused(here: Here) -> None:
    upload_id = here.one.begin()
    with pytest.raises(InvalidValue):
        write(here.two, upload_id, 1, b"x")
    with pytest.raises(RequestTooLarge):
        write(here.one, upload_id, 0, b"abc", b"de")
    assert here.two.size(upload_id) == 3  # what came before is kept
    write(here.two, upload_id, 3, b"defg")
    write(here.two, upload_id, 7, b"hij")
    with pytest.raises(RequestTooLarge):
        write(here.one, upload_id, 10, b"k")
    with pytest.raises(MissingResource):
        write(here.one, "nobody", 0, b"k")
    here.two.begin()
    with pytest.raises(ConflictingOperation):
        here.one.begin()


def test_pieces_are_no_orphans_while_their_upload_is_there(here: Here) -> None:
    upload_id = here.one.begin()
    write(here.one, upload_id, 0, b"abc")
    stored = list((here.context.data_dir / "shared").glob("??/*"))
    old = time.time() - 2 * 86400
    for path in stored:
        os.utime(path, (old, old))
    remove_strays(here.context)
    assert [path.exists() for path in stored] == [True]
    here.two.remove(upload_id)
    remove_strays(here.context)
    assert [path.exists() for path in stored] == [False]
