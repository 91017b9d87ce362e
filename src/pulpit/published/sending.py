"""Sends files: a small one at once, a large one piece by piece, none to a client that does not take it.

A client that stops reading costs one piece of memory and one open file, and no longer than `PATIENCE`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from pulpit.published.conditions import Judgement, Validators, judge, ranges

PIECE: Final = 1 << 20
SMALL: Final = 1 << 18
"""Bytes of a file that is read at once."""
PATIENCE: Final = 60.0
"""Seconds within which a client must have taken a piece."""
ABORT: Final = "abort_connection"
"""Key of the request's state that may hold what ends its connection at once (`pulpit.api.protocol`)."""
GONE: Final = "There is nothing published at this address any more.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file to be sent and how it is known; `small` is its content if that was read."""

    path: Path
    size: int
    media_type: str
    validators: Validators
    small: bytes | None = None


def opened(path: Path, media_type: str, etag: str) -> File:
    """Look at a file, and read it if it is small.

    Raises:
        FileNotFoundError: it is gone.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = os.fstat(fd)
        small = os.read(fd, SMALL) if found.st_size <= SMALL else None
    finally:
        os.close(fd)
    modified = formatdate(found.st_mtime, usegmt=True)
    tag = etag or f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
    validators = Validators(etag=f'"{tag}"', modified=modified)
    return File(path=path, size=found.st_size, media_type=media_type, validators=validators, small=small)


def answer(file: File, asked: Mapping[str, str], further: Mapping[str, str], patience: float = PATIENCE) -> Response:
    """The answer to a request with these headers (their names in lower case); `further` headers go with it."""
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
    return _Sent(file, parts, {**known, "Accept-Ranges": "bytes"}, patience)


class _Sent(Response):
    """A file, or parts of one: several as `multipart/byteranges` (section 14.6)."""

    def __init__(self, file: File, parts: Sequence[range] | None, headers: Mapping[str, str], patience: float) -> None:
        self._file: Final = file
        self._patience: Final = patience
        self._boundary: Final = os.urandom(16).hex()
        self._parts: Final = self._laid_out(parts)
        whole = parts is None
        self.body = b""
        self.background = None
        self.status_code = 200 if whole else 206
        self.media_type = file.media_type
        if parts is not None and len(parts) > 1:
            self.media_type = f"multipart/byteranges; boundary={self._boundary}"
        length = sum(len(head) + len(part) for head, part in self._parts)
        self.init_headers({**headers, "Content-Length": str(length)})
        if parts is not None and len(parts) == 1:
            self.headers["Content-Range"] = _content_range(parts[0], file.size)

    def _laid_out(self, parts: Sequence[range] | None) -> list[tuple[bytes, range]]:
        """What is sent: bytes of our own, then bytes of the file, and so on."""
        if parts is None:
            return [(b"", range(self._file.size))]
        if len(parts) == 1:
            return [(b"", parts[0])]
        laid = [(self._head(part), part) for part in parts]
        return [*laid, (f"\r\n--{self._boundary}--\r\n".encode(), range(0))]

    def _head(self, part: range) -> bytes:
        lines = (
            f"\r\n--{self._boundary}",
            f"Content-Type: {self._file.media_type}",
            f"Content-Range: {_content_range(part, self._file.size)}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or give the client up."""
        if scope["method"] == "GET" and self._file.small is None:
            await self._send_large(scope, receive, send)
            return
        body = b""
        if scope["method"] == "GET" and self._file.small is not None:
            body = b"".join(head + self._file.small[part.start : part.stop] for head, part in self._parts)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open it before anything is promised: the tree may have been swept since it was looked at."""
        try:
            fd = os.open(self._file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            await PlainTextResponse(GONE, 404)(scope, receive, send)
            return
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in self._pieces(fd):
                if gone.done():
                    return
                async with asyncio.timeout(self._patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            await _abort(scope, gone)
        finally:
            gone.cancel()
            os.close(fd)

    async def _pieces(self, fd: int) -> AsyncIterator[bytes]:
        for head, part in self._parts:
            if head:
                yield head
            for start in range(part.start, part.stop, PIECE):
                yield await asyncio.to_thread(os.pread, fd, min(PIECE, part.stop - start), start)


async def _abort(scope: Scope, gone: "asyncio.Task[None]") -> None:
    """End the connection of a client that does not take what it asked for; a close would wait for it."""
    abort = scope.get("state", {}).get(ABORT)
    if abort is not None:
        abort()
        await asyncio.wait([gone], timeout=1)


def _content_range(part: range, size: int) -> str:
    return f"bytes {part.start}-{part.stop - 1}/{size}"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
