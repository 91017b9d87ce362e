"""The media types of published files."""

import mimetypes
from pathlib import Path
from typing import Final

from pulpit.published.listing import INDEX_JSON

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
    ".v1_json": INDEX_JSON,
    ".whl": "application/zip",
    ".yaml": "application/yaml",
    ".zck": "application/octet-stream",
    ".zst": "application/zstd",
}


def media_type(name: str) -> str:
    """Return the media type of a file by its name; a compressed file is that, whatever is in it."""
    known = _TYPES.get(Path(name).suffix.lower())
    if known:
        return known
    kind, packing = mimetypes.guess_type(name)
    if packing:
        return _PACKED.get(packing, "application/octet-stream")
    return kind or ("text/plain" if name.isupper() else "application/octet-stream")
