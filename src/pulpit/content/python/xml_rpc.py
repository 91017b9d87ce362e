"""The calls by XML-RPC with which bandersnatch asks an index what changed: `POST pypi`.

They are answered from the list of projects with their serials. PyPI once had more of them.
"""

import json
import re
import xmlrpc.client
from collections.abc import Callable, Mapping
from typing import Any, Final
from xml.parsers.expat import ExpatError
from xmlrpc.client import Fault

from pulpit.content.port import Derived, DerivedDocument

_ENDPOINT: Final = re.compile(r"(.*/)pypi/?")
_PARSE_ERROR, _NO_METHOD, _BAD_ARGUMENTS = -32700, -32601, -32602
"""Numbers of faults; specification of fault code interoperability."""
_DECLARES: Final = b"<!"
"""Document types, which no caller sends and which may define entities."""

Serials = Mapping[str, int]


def derived(path: str) -> Derived | None:
    """Return how a call at a URL path is answered, if this is the endpoint of an index."""
    asked = _ENDPOINT.fullmatch(path)
    if asked is None:
        return None
    return Derived(
        root=asked[1], source=f"{asked[1]}simple/index.v1_json", write=lambda page, _, call: _answer(page, call)
    )


def _answer(page: bytes, call: bytes) -> DerivedDocument:
    serials = {project["name"]: project["_last-serial"] for project in json.loads(page)["projects"]}
    answer = _result(serials, call)
    content = xmlrpc.client.dumps(answer, methodresponse=True, encoding="utf-8")
    return DerivedDocument(content=content.encode(), media_type="text/xml")


def _result(serials: Serials, call: bytes) -> tuple[Any] | Fault:
    try:
        arguments, name = ((), None) if _DECLARES in call else xmlrpc.client.loads(call)
    except (ExpatError, ValueError, LookupError, TypeError, xmlrpc.client.Error):
        name = None
    if name is None:
        return Fault(_PARSE_ERROR, "This is no call by XML-RPC.")
    method = _METHODS.get(name)
    if method is None:
        return Fault(_NO_METHOD, f"Only these methods are offered: {', '.join(sorted(_METHODS))}.")
    try:
        return (method(serials, *arguments),)
    except (TypeError, ValueError):
        return Fault(_BAD_ARGUMENTS, f"The method {name} takes other arguments.")


def _changelog(serials: Serials, since: int) -> list[tuple[str, str, int, str, int]]:
    """Return project, version (unknown), time, action and serial of what changed, oldest first."""
    changed = sorted((serial, name) for name, serial in serials.items() if serial > int(since))
    return [(name, "", serial, "change", serial) for serial, name in changed]


_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "list_packages": sorted,
    "list_packages_with_serial": dict,
    "changelog_last_serial": lambda serials: max(serials.values(), default=0),
    "changelog_since_serial": _changelog,
}
