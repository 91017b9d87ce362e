"""What a distribution's metadata says of it (core metadata, PEP 566 and its successors)."""

from collections.abc import Mapping
from typing import Any, Final

from packaging.metadata import RawMetadata, parse_email

_MOST_HEADERS: Final = 512 * 1024
_LONGEST: Final = 2000
_MOST_ITEMS: Final = 2000

FIELDS: Final = (
    "metadata_version",
    "summary",
    "author",
    "author_email",
    "maintainer",
    "maintainer_email",
    "home_page",
    "license",
    "license_expression",
    "keywords",
    "platforms",
    "classifiers",
    "project_urls",
    "provides_extra",
    "requires_dist",
    "requires_python",
)
"""What is kept of it; the long description, which comes behind the fields, is not."""


def fields(content: bytes) -> dict[str, Any]:
    """The fields, under the names that `packaging` gives them, with `name` and `version`; what is absent is null."""
    raw: Mapping[str, Any] = _raw(content)
    return {name: _short(raw.get(name)) for name in ("name", "version", *FIELDS)}


def _raw(content: bytes) -> RawMetadata:
    """The fields alone: what is behind the first empty line would be read as a message, with all that mail can be."""
    normal = content[:_MOST_HEADERS].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw, _ = parse_email(normal.partition(b"\n\n")[0] + b"\n\n")
    return raw


def _short(value: Any) -> Any:
    """As it is, but not endless."""
    match value:
        case str():
            return "".join(one if one.isprintable() or one == "\n" else " " for one in value[:_LONGEST])
        case list():
            return [_short(one) for one in value[:_MOST_ITEMS]]
        case dict():
            return {str(_short(name)): _short(one) for name, one in list(value.items())[:_MOST_ITEMS]}
    return None
