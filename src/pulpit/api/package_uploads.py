"""The endpoint of `twine upload` and `uv publish`: a distribution in a form becomes a unit that is published at once.

    twine upload --repository-url https://host/pulp/python/upload/REPO/ dist/*

The file goes through the uploads of Pulp 2's API and becomes a task, so it waits for a running sync. The tool gets its
response when the package is in the repository and published, or, if that takes long, that it is queued.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from fastapi import Request
from fastapi.responses import PlainTextResponse
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from pulpit.api.endpoints import Endpoints
from pulpit.api.middleware import PACKAGES
from pulpit.api.services import ACCEPTED, OK, Asking, Provided, Services
from pulpit.api.v2.uploads import queue_import, uploads_of
from pulpit.content.python.distributions import PACKAGE, parse_filename
from pulpit.errors import InvalidValue, MalformedRequest, PulpitError, RequestTooLarge
from pulpit.repositories.pending_uploads import SharedUploads, Uploads
from pulpit.store import repositories, tasks, units
from pulpit.store.tasks import Task
from pulpit.text import shown

router: Final = Endpoints(include_in_schema=False)

IMPORTER: Final = "python_importer"
PATIENCE_S: Final = 30.0
"""How long the tool waits for import and publish; after that it is told that they are queued."""
_LOOK_EVERY_S: Final = 0.1
MOST_FIELDS: Final = 2_000
"""Of a form; metadata such as classifiers are one field each."""
LONGEST_FIELDS: Final = 4 * 2**20
"""Bytes of all fields except the file; a description may be long."""
_AT_ONCE: Final = 2**20
"""Bytes of the file that are written at a time."""


class FileExists(PulpitError):
    """The repository has another file with this name; give the new one another version."""

    status = 409
    code = "PLP0018"


@dataclass(slots=True)
class _Form:
    """The fields of a form while it is received; `content` is the file, whose bytes wait in `pieces` to be written."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    pieces: bytearray = field(default_factory=bytearray)
    is_whole: bool = False
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _name: str = ""
    _text: bytearray = field(default_factory=bytearray)
    _count: int = 0
    _length: int = 0

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """Return the parser's callbacks."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._name, self._text = "", bytearray()
        self._count += 1
        if self._count > MOST_FIELDS:
            raise RequestTooLarge(f"The form has more than {MOST_FIELDS} fields.")

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() != b"content-disposition":
            return
        _, options = parse_options_header(value)
        self._name = options.get(b"name", b"").decode(errors="replace")
        if self._name == "content":
            if self.filename is not None:
                raise InvalidValue("content", "the form has several files; one at a time is taken.")
            self.filename = options.get(b"filename", b"").decode(errors="replace")
            self._check_filename(self.filename)

    def _check_filename(self, filename: str) -> None:
        if parse_filename(filename) is None:
            readable = shown(filename)
            raise InvalidValue("content", f"{readable!r} is no name of a wheel or sdist, such as zoo-1.0.tar.gz.")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._name == "content":
            self.pieces += data[start:end]
            return
        self._length += end - start
        if self._length > LONGEST_FIELDS:
            raise RequestTooLarge(f"The fields of the form have more than {LONGEST_FIELDS} bytes.")
        self._text += data[start:end]

    def _end(self) -> None:
        if self._name != "content":
            self.fields.setdefault(self._name, self._text.decode(errors="replace"))

    def _finish(self) -> None:
        self.is_whole = True


@router.post(f"{PACKAGES}{{repo_id}}/")
@router.post(f"{PACKAGES}{{repo_id}}")
async def upload_package(repo_id: str, request: Request, services: Provided, user: Asking) -> PlainTextResponse:
    """Add a distribution to a repository and publish it."""
    await asyncio.to_thread(_check_repository, repo_id, services)
    uploads = uploads_of(services)
    upload_id = await asyncio.to_thread(uploads.begin)
    try:
        form, digest = await _receive(request, uploads, upload_id)
        filename = _checked(form, digest)
        if await asyncio.to_thread(_is_there, repo_id, filename, digest, services):
            return PlainTextResponse(f"{filename} is there already.\n", OK)
        unit = {"unit_type_id": PACKAGE, "unit_key": {"filename": filename}, "unit_metadata": {}, "publishes": True}
        task = await asyncio.to_thread(queue_import, repo_id, upload_id, unit, services, user)
    finally:
        await asyncio.to_thread(uploads.remove, upload_id)
    return await _outcome(filename, task, services)


def _check_repository(repo_id: str, services: Services) -> None:
    with services.database.read() as connection:
        importer = repositories.importer(connection, repo_id)
    if importer.importer_type_id != IMPORTER:
        raise InvalidValue("repo_id", f"the repository {repo_id} holds no Python packages.")


async def _receive(request: Request, uploads: Uploads | SharedUploads, upload_id: str) -> tuple[_Form, str]:
    """Read a form, writing its file to an upload as it arrives; return the form and the file's SHA-256."""
    kind, options = parse_options_header(request.headers.get("content-type", "").encode())
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise MalformedRequest("The body must be a form (multipart/form-data), as twine and uv send it.")
    form, digest, offset = _Form(), hashlib.sha256(), 0

    async def write() -> None:
        nonlocal offset
        piece = bytes(form.pieces)
        form.pieces.clear()
        digest.update(piece)
        await uploads.write(upload_id, offset, _one(piece))
        offset += len(piece)

    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type] # its callbacks are a TypedDict
        async for chunk in request.stream():
            parser.write(chunk)
            if len(form.pieces) >= _AT_ONCE:
                await write()
        parser.finalize()
    except MultipartParseError:
        raise MalformedRequest("The body is no form (multipart/form-data).") from None
    if not form.is_whole:
        raise MalformedRequest("The form ended before its last boundary.")
    await write()
    return form, digest.hexdigest()


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


def _checked(form: _Form, digest: str) -> str:
    """Return the file's name after checking that the form is an upload with a complete file."""
    action = form.fields.get(":action")
    if action != "file_upload":
        raise InvalidValue(":action", f"it must be file_upload, not {shown(str(action))!r}.")
    if form.filename is None:
        raise InvalidValue("content", "the form has no file.")
    stated = form.fields.get("sha256_digest", "").lower()
    if stated and stated != digest:
        raise InvalidValue("sha256_digest", f"{form.filename} has another; send it again.")
    return form.filename


def _is_there(repo_id: str, filename: str, digest: str, services: Services) -> bool:
    """Whether the repository has exactly this file.

    Raises:
        FileExists: it has another one with this name.
    """
    slot = services.content_types[IMPORTER].slot(PACKAGE, {"filename": filename})
    with services.database.read() as connection:
        found = units.files_of(connection, units.in_slots(connection, repo_id, [slot] if slot else []))
    held = {file.sha256 for files in found.values() for file in files}
    if held and held != {digest}:
        raise FileExists(f"File already exists: {repo_id} has another {filename}; give this one another version.")
    return bool(held)


async def _outcome(filename: str, task: Task, services: Services) -> PlainTextResponse:
    """Wait until the package is imported and published.

    Raises:
        InvalidValue: it could not be imported.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended = await asyncio.to_thread(_ended, task.id, services)
        if ended is not None and ended.state != tasks.FINISHED:
            reason = str((ended.error or {}).get("description") or "its import was canceled")
            raise InvalidValue("content", f"{filename} is not taken: {reason}")
        if ended is not None:
            return PlainTextResponse(f"{filename} is in the repository.\n", OK)
        await asyncio.sleep(_LOOK_EVERY_S)
    return PlainTextResponse(f"{filename} is queued as task {task.id}.\n", ACCEPTED)


def _ended(task_id: str, services: Services) -> Task | None:
    """Return the task if it has ended and everything that it spawned too, or if it failed."""
    with services.database.read() as connection:
        task = tasks.get(connection, task_id)
        if task.state not in tasks.ENDED:
            return None
        spawned = [tasks.get(connection, other) for other in task.spawned]
    return task if all(other.state in tasks.ENDED for other in spawned) else None
