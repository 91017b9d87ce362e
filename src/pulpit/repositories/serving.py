"""Published trees over HTTP: an ASGI application for each kind, with ranges, conditions and listings.

What an upstream wrote is never run in the origin of the API: every answer is sandboxed.
"""

import html
import mimetypes
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from pulpit.repositories import pages
from pulpit.repositories.published import Entry, PublishedFile, PublishedFolder, locate

_PIECE: Final = 1 << 18
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
_PACKED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/octet-stream",
    "compress": "application/octet-stream",
}
_TYPES: Final = {
    ".iso": "application/x-iso9660-image",
    ".metadata": "application/octet-stream",
    ".rpm": "application/x-rpm",
    ".v1_json": pages.JSON,
    ".whl": "application/zip",
    ".zst": "application/zstd",
}
_METHODS: Final = frozenset({"GET", "HEAD"})


class PublishedFiles:
    """Serves everything of one kind (`isos`); mount it where `/pulp/<kind>` stands."""

    def __init__(self, data_dir: Path, kind: str) -> None:
        self._data_dir: Final = data_dir
        self._kind: Final = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        response = await self._response(scope)
        response.headers.update(_HEADERS)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        if scope["method"] not in _METHODS:
            return PlainTextResponse("Only GET and HEAD are served here.\n", 405, {"Allow": "GET, HEAD"})
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        found = await run_in_threadpool(locate, self._data_dir, self._kind, path)
        match found:
            case PublishedFile() if not path.endswith("/"):
                return await run_in_threadpool(_file, found, Headers(scope=scope))
            case PublishedFolder() if path.endswith("/"):
                return await run_in_threadpool(_folder, found, scope)
            case PublishedFolder():
                query = scope.get("query_string", b"").decode("latin-1")
                return RedirectResponse(quote(scope["path"]) + "/" + (f"?{query}" if query else ""), 301)
        return PlainTextResponse("There is nothing published at this address.\n", 404)


def media_type(name: str) -> str:
    """The type of a file by its name; a packed file is that, whatever is in it."""
    known = _TYPES.get(Path(name).suffix.lower())
    if known:
        return known
    kind, packing = mimetypes.guess_type(name)
    if packing:
        return _PACKED.get(packing, "application/octet-stream")
    return kind or ("text/plain" if name.isupper() else "application/octet-stream")


def _folder(found: PublishedFolder, scope: Scope) -> Response:
    """The page that a folder holds in several forms, else a listing."""
    if not pages.is_paged(found.path):
        return HTMLResponse(_listing(found, scope["path"]))
    asked, form = Headers(scope=scope), QueryParams(scope.get("query_string", b"")).get("format")
    kind = pages.preferred(asked.get("accept", "")) if form is None else pages.named(form)
    if kind is None:
        return PlainTextResponse(f"There is no such format here; {pages.JSON} is one.\n", 406)
    response = _file(PublishedFile(path=pages.file_of(found.path, kind)), asked, kind)
    response.headers["Vary"] = "Accept"
    return response


def _file(found: PublishedFile, asked: Headers, kind: str | None = None) -> Response:
    try:
        stat = found.path.stat()
    except FileNotFoundError:
        return PlainTextResponse("There is nothing published at this address any more.\n", 404)
    response = _Sent(found.path, media_type=kind or media_type(found.path.name), stat_result=stat)
    response.headers["ETag"] = _etag(stat)
    response.headers["Cache-Control"] = "no-cache"
    if not _has_it(asked, response.headers["ETag"], response.headers["Last-Modified"]):
        return response
    kept = ("ETag", "Last-Modified", "Cache-Control")
    return Response(status_code=304, headers={name: response.headers[name] for name in kept})


class _Sent(FileResponse):
    chunk_size = _PIECE


def _etag(stat: os.stat_result) -> str:
    """One for each content that was ever kept: files of the storage are never written twice."""
    return f'"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"'


def _has_it(asked: Headers, etag: str, modified: str) -> bool:
    """Whether the client has this very file; its date must be equal, for an older file may come back."""
    tags = asked.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in tags.split(","))
    return asked.get("if-modified-since") == modified


def _listing(found: PublishedFolder, url_path: str) -> str:
    title = html.escape(f"Index of {url_path}")
    rows = "\n".join(_row(entry) for entry in found.entries())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f'<body><h1>{title}</h1>\n<table>\n<tr><td><a href="../">../</a></td></tr>\n{rows}\n</table></body></html>\n'
    )


def _row(entry: Entry) -> str:
    name = entry.name + ("/" if entry.is_folder else "")
    size = "-" if entry.size is None else str(entry.size)
    link = f'<a href="./{quote(name)}">{html.escape(name)}</a>'
    return f"<tr><td>{link}</td><td>{entry.modified:%Y-%m-%d %H:%M}</td><td>{size}</td></tr>"
