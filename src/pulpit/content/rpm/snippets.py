"""Units that are a piece of a list: the piece is kept as it came, and goes into published lists again."""

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

from pulpit.content import paths
from pulpit.content.port import BadFeed, StoredUnit, WantedUnit
from pulpit.content.rpm import elements

_LONGEST_ID: Final = 255


def snippet_unit(type_id: str, id_name: str, own_id: str, element: Element, metadata: dict[str, Any]) -> WantedUnit:
    """A unit that one repository holds once of an id; another text makes it another unit."""
    return text_unit(type_id, {id_name: own_id}, elements.written(element), metadata)


def text_unit(type_id: str, key: dict[str, Any], text: str, metadata: dict[str, Any]) -> WantedUnit:
    """The same for a text that is no XML."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    detail = zlib.compress(text.encode(), 6)
    return WantedUnit(
        type_id=type_id, key={**key, "checksum": digest}, metadata=metadata, files=(), slot=slot(key), detail=detail
    )


def slot(key: Mapping[str, Any]) -> str:
    """Everything of a key but the checksum of the text."""
    return ":".join(str(value or "") for name, value in sorted(key.items()) if name != "checksum")


def text_of(unit: StoredUnit) -> str:
    """The piece."""
    return zlib.decompress(unit.detail).decode()


def checked_id(value: str | None, list_name: str) -> str:
    """An id that can be told to people.

    Raises:
        BadFeed: it cannot.
    """
    if not value or len(value) > _LONGEST_ID or not value.isprintable():
        raise BadFeed(f"{list_name} is refused: the id {paths.shown(value or '')!r} is empty, too long or no text.")
    return value


def local(tag: str) -> str:
    """A tag without its namespace's prefix."""
    return tag.rpartition(":")[2]
