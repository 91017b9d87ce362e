"""Renders templates to HTML: every value is escaped, and invisible control characters are shown as codes.

So a name with `<script>`, a right-to-left mark or a control character is shown as the text that it is, wherever it
appears; no template needs to handle it. Values of form fields are the exception (`verbatim`): they are sent back.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from pulpit import __version__, intervals
from pulpit.clock import iso_micro
from pulpit.text import escaped, shown

if TYPE_CHECKING:
    from jinja2 import Environment

PREFIX: Final = "/ui"
HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
NOTHING: Final = "\N{EN DASH}"
"""Shown for a missing value."""
LONGEST_JSON: Final = 200_000
"""Characters of a document that are shown; the number of the rest is given."""
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000


def render(name: str, /, **context: Any) -> Markup:
    """Render a template; the values have been escaped."""
    return Markup(_environment().get_template(name).render(context))  # noqa: S704 - as above


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - no start waits for it

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"prefix": PREFIX, "version": __version__, "static": static_url}
    environment.filters |= {
        "bytes": size,
        "document": document,
        "moment": partial(time_element, whole=True),
        "number": number,
        "plain": plain,
        "query": query,
        "segment": lambda text: quote(str(text), safe=""),
        "short": lambda text, longest=80: shown(str(text), longest),
        "span": span,
        "span_text": intervals.span_text,
        "time": time_element,
        "verbatim": lambda text: Markup(escape("" if text is None else str(text))),  # noqa: S704 - it has just been escaped
    }
    return environment


@cache
def static_url(name: str) -> str:
    """Return a static file's URL, which changes with its content, so that browsers may cache it."""
    digest = sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f"{PREFIX}/static/{name}?{digest}"


def size(count: float) -> str:
    """Format `12.3 MB`."""
    amount, unit = float(count), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount, unit = amount / _STEP, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 or amount >= 100 else f"{amount:.1f} {_UNITS[unit]}"  # noqa: PLR2004 - three digits are enough


def number(count: float) -> str:
    """Format `12 345`, with a non-breaking space."""
    return f"{count:,.0f}".replace(",", "\u202f")


def span(seconds: float | None) -> str:
    """Format `250 ms`, `3 s`, `2 min`, `5 h`, `4 d`: with a readable precision."""
    if seconds is None:
        return NOTHING
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"  # noqa: PLR2004 - two digits are enough


def plain(value: Any) -> str:
    """Format a value of a configuration."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def time_element(moment: datetime | None, *, whole: bool = False) -> Markup:
    """Format a time as UTC, without the date if it is today, unless `whole`; the browser adds its age."""
    if moment is None:
        return Markup("&ndash;")
    at = moment.astimezone(UTC)
    text = f"{at:%Y-%m-%d %H:%M:%S}"
    short = text[11:] if at.date() == datetime.now(UTC).date() else text[5:16]
    shape = Markup('<time datetime="{}" title="{} UTC">{}</time>')
    return shape.format(iso_micro(at), text, text if whole else short)


def document(value: Any) -> str:
    """Format JSON for reading, cut when it is very long."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if len(text) <= LONGEST_JSON:
        return text
    return f"{text[:LONGEST_JSON]}\n… and {len(text) - LONGEST_JSON} characters more"


def query(values: Mapping[str, Any]) -> str:
    """Return a query string of the non-empty values."""
    return urlencode({name: value for name, value in values.items() if value not in (None, "")}, doseq=True)


def _finalized(value: Any) -> Any:
    return escaped(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
