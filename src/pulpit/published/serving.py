"""Publications over HTTP: an ASGI application for each kind, with ranges, conditions and listings.

Upstream content never runs in the origin of the API: every response is sandboxed. Access is up to the access rules;
without any, everything published is public. A client that stops reading costs one buffer and one open file, for at most
`PATIENCE`.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from pulpit.content.port import Derived, DerivedDocument
from pulpit.errors import PulpitError
from pulpit.net.request_state import ABORT
from pulpit.published import listing
from pulpit.published.access import AccessRules
from pulpit.published.address import FORWARDED_PREFIX, absolute_url, moved_to_folder
from pulpit.published.calls import body_of_call
from pulpit.published.conditions import MOST_RANGES, Judgement, Validators, judge, ranges
from pulpit.published.listing import INDEX_JSON
from pulpit.published.locate import Publications, PublishedFile, PublishedFolder
from pulpit.published.media_types import media_type
from pulpit.published.ready import LARGEST, ReadyFile, ReadyFiles
from pulpit.storage.port import Storage
from pulpit.store.publications import Shown

PATIENCE: Final = 60.0
"""Seconds within which a client must have read a piece."""

_PIECE: Final = 1 << 20
_SMALL: Final = 1 << 18
"""Bytes of a file that is read at once."""
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
_METHODS: Final = frozenset({"GET", "HEAD"})
_OTHERWISE: Final = frozenset(
    {
        *(b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"),
        *(b"content-length", b"transfer-encoding", b"expect", b"upgrade"),
        *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-proto"),
    }
)
"""Request headers that may ask for something other than a whole file, have a body, or come from a proxy."""
_NOTHING: Final = "There is nothing published at this address.\n"
_SIGNED_FOR: Final = timedelta(hours=1)
"""Validity of a signed URL that a client is redirected to."""
_FAILED: Final = {"action": "serving_failed"}
_NOT_NOW: Final = "This cannot be served now; try again.\n"

_log = logging.getLogger(__name__)


class PublishedFiles:
    """Serves everything of one kind (`isos`); mounted at `/pulp/<kind>`."""

    def __init__(
        self,
        publications: Publications,
        kind: str,
        rules: AccessRules | None = None,
        *,
        respelled: Callable[[str], str | None] = lambda _: None,
        derived: Callable[[str, str], Derived | None] = lambda _path, _method: None,
        patience: float = PATIENCE,
    ) -> None:
        self._publications: Final = publications
        self._kind: Final = kind
        self._rules: Final = rules
        self._respelled: Final = respelled
        self._derived: Final = derived
        self._patience: Final = patience
        self._ready: Final = ReadyFiles()
        self._looking: Final[dict[str, asyncio.Future[None]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        ready = self.at_once(scope, path) or await self._after_a_look(scope, path)
        if ready is not None:
            await send(ready.start)
            await send(ready.body)
            return
        response = await self._response(scope, path, receive)
        response.headers.update(_HEADERS)
        await response(scope, receive, send)

    def at_once(self, scope: Scope, path: str) -> ReadyFile | None:
        """Return the response for a request, if it is a whole small file and no lookup is needed."""
        ready = self._ready.find(path)
        if ready is None or scope["method"] != "GET" or not self._publications.still_shows(ready.shown):
            return None
        if self._rules is not None and not self._rules.lets_in(scope, ready.shown.distributor_object_id):
            return None
        return ready if _OTHERWISE.isdisjoint([name for name, _ in scope["headers"]]) else None

    async def _after_a_look(self, scope: Scope, path: str) -> ReadyFile | None:
        """The same after checking its place and the rules again: once for all concurrent requests."""
        ready = self._ready.find(path)
        if ready is None or self._is_known(ready.shown):
            return None
        place = ready.shown.path
        looking = self._looking.get(place)
        if looking is None:
            looking = self._looking[place] = asyncio.ensure_future(run_in_threadpool(self._look, ready.shown))
            looking.add_done_callback(lambda _: self._looking.pop(place, None))
        try:
            await asyncio.shield(looking)
        except (OSError, PulpitError):
            return None  # the request itself will hit the error
        return self.at_once(scope, path)

    def _is_known(self, shown: Shown) -> bool:
        is_ruled = self._rules is None or self._rules.knows(shown.distributor_object_id)
        return is_ruled and self._publications.knows(shown.path)

    def _look(self, shown: Shown) -> None:
        self._publications.ask(shown.path)
        if self._rules is not None:
            self._rules.ask(shown.distributor_object_id)

    async def _response(self, scope: Scope, path: str, receive: Receive) -> Response:
        prepare: Callable[[], tuple[PublishedFile | PublishedFolder | None, Response]]
        if scope["method"] not in _METHODS:
            if scope["method"] != "POST" or self._derived(path, "POST") is None:
                return PlainTextResponse("Only GET and HEAD are served here.\n", 405, {"Allow": "GET, HEAD"})
            call = await body_of_call(receive)
            if isinstance(call, Response):
                return call
            prepare = partial(self._made_now, scope, path, call)
        else:
            prepare = partial(self._prepared, scope, path)
        try:
            found, response = await run_in_threadpool(prepare)
            if self._rules is not None and found is not None and found.distributor is not None:
                return await self._rules.refusal(scope, found.distributor) or response
        except (OSError, PulpitError) as error:  # storage or database unavailable, or a file lost
            _log.error("cannot serve %s: %s", path, error, extra={"action": "serving_failed", "path": path})
            return PlainTextResponse(_NOT_NOW, 503, {"Retry-After": "30"})
        return response

    def _prepared(self, scope: Scope, path: str) -> tuple[PublishedFile | PublishedFolder | None, Response]:
        """Return what is there, and the response for clients with access."""
        found = self._publications.locate(self._kind, path)
        match found:
            case PublishedFile() if not path.endswith("/"):
                return found, self._file(found, Headers(scope=scope), keep_as=path)
            case PublishedFolder(distributor=None) if path.strip("/") and not self._leads_on(found, scope):
                return found, PlainTextResponse(_NOTHING, 404)
            case PublishedFolder() if path.endswith("/"):
                return found, self._folder(found, scope)
            case PublishedFolder():
                return found, moved_to_folder(scope, path, path)
        folder = self._respelled(path)
        elsewhere = self._publications.locate(self._kind, folder) if folder and folder != path.rstrip("/") else None
        if folder and isinstance(elsewhere, PublishedFolder) and elsewhere.distributor is not None:
            return elsewhere, moved_to_folder(scope, path, folder)
        return self._made_now(scope, path)

    def _made_now(self, scope: Scope, path: str, call: bytes = b"") -> tuple[PublishedFile | None, Response]:
        """Return a document that is made of a published file for this request."""
        derived = self._derived(path, "POST" if scope["method"] == "POST" else "GET")
        source = self._publications.locate(self._kind, derived.source) if derived else None
        if derived is None or not isinstance(source, PublishedFile):
            return None, PlainTextResponse(_NOTHING, 404)
        with self._publications.storage.open(source.file.sha256) as file:
            document = derived.write(file.read(), absolute_url(scope, derived.root), call)
        if document is None:
            return None, PlainTextResponse(_NOTHING, 404)
        return source, self._document(document, source, Headers(scope=scope))

    def _document(self, document: DerivedDocument, source: PublishedFile, asked: Headers) -> Response:
        sha256 = hashlib.sha256(document.content).hexdigest()
        file = _File(
            sha256=sha256,
            size=len(document.content),
            media_type=document.media_type,
            validators=replace(_validators(source), etag=f'"{sha256}"'),
            small=document.content,
        )
        headers = {"Cache-Control": "no-cache", "Vary": FORWARDED_PREFIX, **document.headers}
        return _answer(file, asked, headers, self._patience)

    def _leads_on(self, found: PublishedFolder, scope: Scope) -> bool:
        """Whether a folder above the places leads to a visible one: otherwise it is treated as missing."""
        return any(True for _ in found.entries(partial(self._visible, scope)))

    def _visible(self, scope: Scope, distributors: Collection[str]) -> Collection[str]:
        return distributors if self._rules is None else self._rules.visible(scope, distributors)

    def _folder(self, found: PublishedFolder, scope: Scope) -> Response:
        """Return the page of a folder that has several forms, else a listing."""
        asked = Headers(scope=scope)
        pages = listing.pages(found)
        if pages:
            form = QueryParams(scope.get("query_string", b"")).get("format")
            kind = listing.preferred(asked.get("accept", "")) if form is None else listing.named(form)
            if kind is None:
                return PlainTextResponse(f"There is no such format here; {INDEX_JSON} is one.\n", 406)
            return self._file(pages[kind], asked, kind, {"Vary": "Accept"})
        entries = list(found.entries(partial(self._visible, scope)))
        root = not scope["path"].removeprefix(scope.get("root_path", "")).strip("/")
        headers = {"Vary": "Accept", "Cache-Control": "no-cache"}
        if listing.wants_json(asked.get("accept", "")):
            return Response(listing.document(scope["path"], entries), headers=headers, media_type=listing.JSON)
        return HTMLResponse(listing.page(scope["path"], entries, has_parent=not root), headers=headers)

    def _file(
        self,
        found: PublishedFile,
        asked: Headers,
        kind: str | None = None,
        further: Mapping[str, str] | None = None,
        *,
        keep_as: str | None = None,
    ) -> Response:
        name, sha256, storage = found.file.relative_path, found.file.sha256, self._publications.storage
        path = storage.at_hand(sha256, found.file.size)
        media = kind or media_type(name)
        file = _opened(path, found, media) if path else _remote(storage, found, media)
        headers = {"Cache-Control": "no-cache", **(further or {})}
        if keep_as is not None and file.small is not None and len(file.small) <= LARGEST:
            self._keep(keep_as, found, file, headers)
        return _answer(file, asked, headers, self._patience)

    def _keep(self, path: str, found: PublishedFile, file: "_File", headers: Mapping[str, str]) -> None:
        """Cache a small file for unconditional requests."""
        if file.small is not None and hashlib.sha256(file.small).hexdigest() == found.file.sha256:
            whole = _answer(file, {}, {**headers, **_HEADERS}, self._patience)
            self._ready.keep(path, ReadyFile(shown=found.shown, headers=whole.raw_headers, content=file.small))


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """A file to send, with its validators; `small` is its content if that was read.

    One that is not on this machine has neither path nor stat; it is streamed from the storage.
    """

    sha256: str
    size: int
    media_type: str
    validators: Validators
    path: Path | None = None
    stat: os.stat_result | None = None
    storage: Storage | None = None
    small: bytes | None = None


def _remote(storage: Storage, found: PublishedFile, media_type: str) -> _File:
    return _File(
        storage=storage,
        sha256=found.file.sha256,
        size=found.file.size,
        media_type=media_type,
        validators=_validators(found),
    )


def _validators(found: PublishedFile, written_at: float = float("inf")) -> Validators:
    """Return a file's validators; its time is that of the file in the storage, not of a local copy."""
    modified = formatdate(min(written_at, found.shown.since.timestamp()), usegmt=True)
    return Validators(etag=f'"{found.file.sha256}"', modified=modified)


def _opened(path: Path, found: PublishedFile, media_type: str) -> _File:
    """Stat a file, and read it if it is small.

    Raises:
        FileNotFoundError: it is missing.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        stat = os.fstat(fd)
        small = os.read(fd, _SMALL) if stat.st_size <= _SMALL else None
    finally:
        os.close(fd)
    return _File(
        path=path,
        stat=stat,
        sha256=found.file.sha256,
        size=stat.st_size,
        media_type=media_type,
        validators=_validators(found, stat.st_mtime),
        small=small,
    )


def _answer(file: _File, asked: Mapping[str, str], further: Mapping[str, str], patience: float) -> Response:
    """Return the response to a request with these headers (their names in lower case); `further` headers are added."""
    known = {"ETag": file.validators.etag, "Last-Modified": file.validators.modified, **further}
    judgement = judge(asked, file.validators)
    if judgement is Judgement.FAILED:
        return PlainTextResponse("The file is not the one that you have.\n", 412, known)
    if judgement is Judgement.NOT_MODIFIED:
        return Response(status_code=304, headers=known)
    parts = ranges(asked, file.size, file.validators)
    if parts is not None and not parts:
        wrong = {**known, "Content-Range": f"bytes */{file.size}"}
        return PlainTextResponse("The file has no such part.\n", 416, wrong)
    if parts is None and file.small is not None:
        return Response(file.small, headers={**known, "Accept-Ranges": "bytes"}, media_type=file.media_type)
    if file.storage is not None:
        # Several ranges may be answered by the whole (RFC 9110, 14.2).
        part = parts[0] if parts is not None and len(parts) == 1 else None
        return _RemoteResponse(file.storage, file, part, known, patience)
    return _FileResponse(file, parts, known, patience)


class _FileResponse(FileResponse):
    """A file or parts of it; a client that stops reading is disconnected."""

    chunk_size = _PIECE
    max_ranges = MOST_RANGES

    def __init__(self, file: _File, parts: Sequence[range] | None, headers: Mapping[str, str], patience: float) -> None:
        if file.path is None:
            raise TypeError(file)
        super().__init__(file.path, headers=headers, media_type=file.media_type, stat_result=file.stat)
        self._parts: Final = parts
        self._patience: Final = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the ranges have been parsed, so the request is not read again."""
        headers = [(name, value) for name, value in scope["headers"] if name not in {b"range", b"if-range"}]
        if self._parts is not None:
            parts = ",".join(f"{part.start}-{part.stop - 1}" for part in self._parts)
            headers.append((b"range", f"bytes={parts}".encode()))

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._patience):
                await send(message)

        try:
            await super().__call__({**scope, "headers": headers}, receive, send_in_time)
        except (TimeoutError, FileNotFoundError):  # a client that does not read, or a file removed meanwhile
            await _abort(scope, receive)


class _RemoteResponse(Response):
    """A file or a part of it that is streamed from the storage to the client, or a redirect to a signed URL."""

    def __init__(
        self, storage: Storage, file: _File, part: range | None, headers: Mapping[str, str], patience: float
    ) -> None:
        super().__init__(headers={**headers, "Accept-Ranges": "bytes"}, media_type=file.media_type)
        self._storage: Final = storage
        self._file: Final = file
        self._part: Final = part or range(file.size)
        self._patience: Final = patience
        if part is not None:
            self.status_code = 206
            self.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
        self.headers["Content-Length"] = str(len(self._part))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; if the storage fails at the start the response is 503, if it fails later the connection is cut."""
        start: Message = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            url = await self._storage.redirected(self._file.sha256, _SIGNED_FOR)
            if url is not None:
                await RedirectResponse(url, 302, {"Cache-Control": "no-store"})(scope, receive, send)
                return
            pieces = await self._storage.stream(self._file.sha256, self._file.size, self._part.start, self._part.stop)
        except (OSError, PulpitError) as error:
            _log.error("cannot serve %s: %s", scope["path"], error, extra=_FAILED)
            await PlainTextResponse(_NOT_NOW, 503, {**_HEADERS, "Retry-After": "30"})(scope, receive, send)
            return
        await send(start)
        try:
            async for piece in pieces:
                async with asyncio.timeout(self._patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except (TimeoutError, OSError, PulpitError) as error:
            _log.error("broke off %s: %s", scope["path"], error, extra=_FAILED)
            await _abort(scope, receive)


async def _abort(scope: Scope, receive: Receive) -> None:
    """Close a connection at once; a normal close would wait for the client."""
    abort = scope.get("state", {}).get(ABORT)
    if abort is not None:
        abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while (await receive())["type"] != "http.disconnect":
                    pass
