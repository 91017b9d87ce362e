"""Published trees over HTTP: an ASGI application for each kind, with ranges, conditions and listings.

What an upstream wrote is never run in the origin of the API: every answer is sandboxed. Who may have what is for the
gate to say; without one, everything published is for everybody.
"""

import mimetypes
from functools import partial
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from pulpit.published import listing, pages, sending
from pulpit.published.locate import Place, PublishedFile, PublishedFolder, distributors_at, locate

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
    ".yaml": "application/yaml",
    ".zck": "application/octet-stream",
    ".zst": "application/zstd",
}
_METHODS: Final = frozenset({"GET", "HEAD"})
_NOTHING: Final = "There is nothing published at this address.\n"


class Gate(Protocol):
    """Says who may have what is published; a distributor is named by its object id."""

    async def refusal(self, scope: Scope, distributor: str) -> Response | None:
        """What a request gets instead of what a distributor published, or `None` if it may have it."""

    def shows(self, scope: Scope, distributor: str) -> bool:
        """Whether a listing for this request may name what a distributor published; called in a thread."""


class OpenGate:
    """Everything is for everybody."""

    async def refusal(self, scope: Scope, distributor: str) -> Response | None:
        """Nothing is refused."""
        del scope, distributor
        return None

    def shows(self, scope: Scope, distributor: str) -> bool:
        """Everything is shown."""
        del scope, distributor
        return True


class PublishedFiles:
    """Serves everything of one kind (`isos`); mount it where `/pulp/<kind>` stands."""

    def __init__(
        self, data_dir: Path, kind: str, gate: Gate | None = None, *, patience: float = sending.PATIENCE
    ) -> None:
        self._data_dir: Final = data_dir
        self._kind: Final = kind
        self._gate: Final[Gate] = gate or OpenGate()
        self._patience: Final = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        response = await self._response(scope)
        response.headers.update(_HEADERS)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        if scope["method"] not in _METHODS:
            return PlainTextResponse("Only GET and HEAD are served here.\n", 405, {"Allow": "GET, HEAD"})
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        found, response = await run_in_threadpool(self._prepared, scope, path)
        if found is not None and found.place is not None:
            return await self._gate.refusal(scope, found.place.distributor) or response
        return response

    def _prepared(self, scope: Scope, path: str) -> tuple[PublishedFile | PublishedFolder | None, Response]:
        """What is there, and the answer for those who may have it."""
        found = locate(self._data_dir, self._kind, path)
        match found:
            case PublishedFile(place=Place()) if not path.endswith("/"):
                return found, self._file(found, Headers(scope=scope))
            case PublishedFolder(place=None) if path.strip("/") and not self._leads_on(found, scope):
                return found, PlainTextResponse(_NOTHING, 404)
            case PublishedFolder() if path.endswith("/"):
                return found, self._folder(found, scope)
            case PublishedFolder():
                query = scope.get("query_string", b"").decode("latin-1")
                return found, RedirectResponse(quote(scope["path"]) + "/" + (f"?{query}" if query else ""), 301)
        return found, PlainTextResponse(_NOTHING, 404)

    def _leads_on(self, found: PublishedFolder, scope: Scope) -> bool:
        """Whether a folder above the trees leads to one that may be named: otherwise it is as if it were not there."""
        return any(self._gate.shows(scope, distributor) for distributor in distributors_at(found.path))

    def _folder(self, found: PublishedFolder, scope: Scope) -> Response:
        """The page that a folder holds in several forms, else a listing."""
        asked = Headers(scope=scope)
        if found.place and pages.is_paged(found.path):
            return self._page(found, asked, QueryParams(scope.get("query_string", b"")).get("format"))
        entries = list(found.entries(partial(self._gate.shows, scope)))
        root = not scope["path"].removeprefix(scope.get("root_path", "")).strip("/")
        headers = {"Vary": "Accept", "Cache-Control": "no-cache"}
        if listing.wants_json(asked.get("accept", "")):
            return Response(listing.document(scope["path"], entries), headers=headers, media_type=listing.JSON)
        return HTMLResponse(listing.page(scope["path"], entries, has_parent=not root), headers=headers)

    def _page(self, found: PublishedFolder, asked: Headers, form: str | None) -> Response:
        kind = pages.preferred(asked.get("accept", "")) if form is None else pages.named(form)
        if kind is None:
            return PlainTextResponse(f"There is no such format here; {pages.JSON} is one.\n", 406)
        file = PublishedFile(path=pages.file_of(found.path, kind), place=found.place)
        return self._file(file, asked, kind, {"Vary": "Accept"})

    def _file(
        self, found: PublishedFile, asked: Headers, kind: str | None = None, further: dict[str, str] | None = None
    ) -> Response:
        digest = found.place.digest(found.path) if found.place else ""
        try:
            file = sending.opened(found.path, kind or media_type(found.path.name), digest)
        except FileNotFoundError:
            return PlainTextResponse(sending.GONE, 404)
        return sending.answer(file, asked, {"Cache-Control": "no-cache", **(further or {})}, self._patience)


def media_type(name: str) -> str:
    """The type of a file by its name; a packed file is that, whatever is in it."""
    known = _TYPES.get(Path(name).suffix.lower())
    if known:
        return known
    kind, packing = mimetypes.guess_type(name)
    if packing:
        return _PACKED.get(packing, "application/octet-stream")
    return kind or ("text/plain" if name.isupper() else "application/octet-stream")
