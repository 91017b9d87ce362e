"""Which page of a folder a client gets where a published tree holds one in several forms.

Indexes of Python packages do (PEP 691): `index.html` beside `index.v1_json`. A client says what it wants by
`Accept`, or by `?format=` in the URL.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
PLAIN: Final = "text/html"

_FILES: Final = {PLAIN: "index.html", JSON: "index.v1_json", HTML: "index.html"}
"""Best first, for a client that does not care."""
_NAMES: Final = {kind.replace(".v1+", ".latest+"): kind for kind in (JSON, HTML)} | {kind: kind for kind in _FILES}


def is_paged(folder: Path) -> bool:
    """Whether a folder holds its page in every form; any other folder is listed."""
    return all((folder / name).is_file() for name in _FILES.values())


def named(form: str) -> str | None:
    """The media type that `?format=` asks for, or `None` if there is no such form."""
    return _NAMES.get(form.replace(" ", "+"))  # a plus that nobody quoted is a space in a URL


def preferred(accept: str) -> str:
    """The media type that an `Accept` header likes best, or the page for people (RFC 9110, 12.5.1)."""
    ranges = {_NAMES.get(media, media): quality for media, quality in _ranges(accept)}
    liked = {kind: quality for kind in _FILES if (quality := _quality(kind, ranges)) > 0}
    return max(liked, key=lambda kind: (liked[kind], kind in ranges), default=PLAIN)


def file_of(folder: Path, kind: str) -> Path:
    """The page of a media type."""
    return folder / _FILES[kind]


def _quality(kind: str, ranges: dict[str, float]) -> float:
    """How much one type is liked: the most specific range that covers it decides."""
    covering = (kind, kind.partition("/")[0] + "/*", "*/*")
    return next((ranges[name] for name in covering if name in ranges), 0.0)


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        try:
            yield media, float(quality)
        except ValueError:
            yield media, 0.0
