"""The page of a published folder that has none of its own: for people, or as JSON for programs that ask for it."""

import html
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from pulpit.published.locate import Entry

JSON: Final = "application/json"

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.15em .8em;text-align:left;white-space:nowrap}"
    "td:first-child{width:100%;white-space:normal;overflow-wrap:anywhere}.n{text-align:right}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}"
)
_HEAD: Final = "<tr><th>Name</th><th>Changed (UTC)</th><th class=n>Size</th></tr>"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def page(url_path: str, entries: Iterable[Entry], *, has_parent: bool) -> str:
    """The listing as HTML; every name is made harmless."""
    title = html.escape(f"Index of {url_path}")
    up = '<tr><td><a href="../">../</a></td><td></td><td></td></tr>\n' if has_parent else ""
    rows = "\n".join(map(_row, entries))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n<table>\n{_HEAD}\n{up}{rows}\n</table></body></html>\n"
    )


def document(url_path: str, entries: Iterable[Entry]) -> str:
    """The listing as JSON."""
    return json.dumps({"path": url_path, "entries": [_document(entry) for entry in entries]}, ensure_ascii=False)


def wants_json(accept: str) -> bool:
    """Whether a client that names JSON does not name HTML before it."""
    media = [part.partition(";")[0].strip() for part in accept.lower().split(",")]
    return JSON in media and "text/html" not in media[: media.index(JSON)]


def _row(entry: Entry) -> str:
    name = entry.name + ("/" if entry.is_folder else "")
    link = f'<a href="./{quote(name)}">{html.escape(name)}</a>'
    size = "-" if entry.size is None else f'<span title="{entry.size} bytes">{_readable(entry.size)}</span>'
    return f"<tr><td>{link}</td><td>{entry.modified:%Y-%m-%d %H:%M}</td><td class=n>{size}</td></tr>"


def _document(entry: Entry) -> dict[str, str | int | None]:
    kind = "folder" if entry.is_folder else "file"
    modified = entry.modified.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"name": entry.name, "type": kind, "size": entry.size, "modified": modified}


def _readable(size: int) -> str:
    amount, units = float(size), list(_UNITS)
    while amount >= 1024 and len(units) > 1:  # noqa: PLR2004 - what the units are made of
        amount, units = amount / 1024, units[1:]
    return f"{size} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"
