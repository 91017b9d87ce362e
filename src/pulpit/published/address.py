"""Addresses in responses. A proxy may serve this under a path of its own, of which usually nothing is known here."""

import posixpath
import re
from typing import Final
from urllib.parse import quote

from starlette.datastructures import URL, Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

FORWARDED_PREFIX: Final = "X-Forwarded-Prefix"
"""The header in which a proxy tells the path under which it serves this."""
_PLAIN_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def moved_to_folder(scope: Scope, path: str, folder: str) -> Response:
    """Redirect relatively, which needs no knowledge of the proxy."""
    query = scope.get("query_string", b"").decode("latin-1")
    asked: str = scope["path"]
    relative = posixpath.relpath(asked.removesuffix(path) + folder, posixpath.dirname(asked))
    return RedirectResponse(f"./{quote(relative)}/" + (f"?{query}" if query else ""), 301)


def absolute_url(scope: Scope, path: str) -> str:
    """Return the URL of a path of this application as the client sees it: by its `Host`, and the prefix of a proxy."""
    asked = URL(scope=scope)
    prefix = "/" + Headers(scope=scope).get(FORWARDED_PREFIX, "").strip("/")
    known = prefix if _PLAIN_PATH.fullmatch(prefix) else ""
    return f"{asked.scheme}://{asked.netloc}{known}{quote(scope.get('root_path', '') + path)}"
