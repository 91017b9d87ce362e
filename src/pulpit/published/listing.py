"""The page of a published folder: a published page, possibly in several forms, or a generated listing.

Indexes of Python packages have their own pages (PEP 691): `index.html` beside `index.v1_json`. A client chooses by
`Accept`, or by `?format=` in the URL. A listing is HTML, or JSON for programs that ask for it.
"""

import html
import json
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from pulpit.published.locate import FolderEntry, PublishedFile, PublishedFolder

JSON: Final = "application/json"

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.15em .8em;text-align:left;white-space:nowrap}"
    "td:first-child{width:100%;white-space:normal;overflow-wrap:anywhere}.n{text-align:right}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}"
)
_HEAD: Final = "<tr><th>Name</th><th>Changed (UTC)</th><th class=n>Size</th></tr>"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
INDEX_JSON: Final = "application/vnd.pypi.simple.v1+json"
INDEX_HTML: Final = "application/vnd.pypi.simple.v1+html"
INDEX_PLAIN: Final = "text/html"

_FILES: Final = {INDEX_PLAIN: "index.html", INDEX_JSON: "index.v1_json", INDEX_HTML: "index.html"}
"""In order of preference for a client that has none."""
_NAMES: Final = {kind.replace(".v1+", ".latest+"): kind for kind in (INDEX_JSON, INDEX_HTML)} | {
    kind: kind for kind in _FILES
}


def page(url_path: str, entries: Iterable[FolderEntry], *, has_parent: bool) -> str:
    """Write the listing as HTML; every name is escaped."""
    title = html.escape(f"Index of {url_path}")
    up = '<tr><td><a href="../">../</a></td><td></td><td></td></tr>\n' if has_parent else ""
    rows = []
    for entry in entries:
        name = entry.name + ("/" if entry.is_folder else "")
        link = f'<a href="./{quote(name)}">{html.escape(name)}</a>'
        size = "-" if entry.size is None else f'<span title="{entry.size} bytes">{_readable(entry.size)}</span>'
        rows.append(f"<tr><td>{link}</td><td>{entry.modified:%Y-%m-%d %H:%M}</td><td class=n>{size}</td></tr>")
    lines = "\n".join(rows)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n<table>\n{_HEAD}\n{up}{lines}\n</table></body></html>\n"
    )


def document(url_path: str, entries: Iterable[FolderEntry]) -> str:
    """Write the listing as JSON."""
    documents = []
    for entry in entries:
        kind = "folder" if entry.is_folder else "file"
        modified = entry.modified.isoformat(timespec="seconds").replace("+00:00", "Z")
        documents.append({"name": entry.name, "type": kind, "size": entry.size, "modified": modified})
    return json.dumps({"path": url_path, "entries": documents}, ensure_ascii=False)


def wants_json(accept: str) -> bool:
    """Whether a client lists JSON before HTML."""
    media = [part.partition(";")[0].strip() for part in accept.lower().split(",")]
    return JSON in media and "text/html" not in media[: media.index(JSON)]


def pages(folder: PublishedFolder) -> dict[str, PublishedFile]:
    """Return the pages of a folder by media type if it has all forms; any other folder is listed."""
    found = {kind: folder.file(name) for kind, name in _FILES.items()}
    return {kind: page for kind, page in found.items() if page} if all(found.values()) else {}


def named(form: str) -> str | None:
    """Return the media type that `?format=` asks for, or `None` if it is unknown."""
    return _NAMES.get(form.replace(" ", "+"))  # an unescaped plus in a URL is a space


def preferred(accept: str) -> str:
    """Return the media type that an `Accept` header prefers, by default HTML (RFC 9110, 12.5.1)."""
    ranges = {_NAMES.get(media, media): quality for media, quality in _ranges(accept)}
    liked: dict[str, float] = {}
    for kind in _FILES:
        covering = (kind, kind.partition("/")[0] + "/*", "*/*")  # the most specific range that covers a type decides
        quality = next((ranges[name] for name in covering if name in ranges), 0.0)
        if quality > 0:
            liked[kind] = quality
    return max(liked, key=lambda kind: (liked[kind], kind in ranges), default=INDEX_PLAIN)


def _readable(size: int) -> str:
    amount, units = float(size), list(_UNITS)
    while amount >= 1024 and len(units) > 1:  # noqa: PLR2004 - what the units are made of
        amount, units = amount / 1024, units[1:]
    return f"{size} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        try:
            yield media, float(quality)
        except ValueError:
            yield media, 0.0
