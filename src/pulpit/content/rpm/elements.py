"""The children of large XML lists, one at a time; and units that are such an element, stored as received.

A document type with declarations is rejected, and so is deep nesting and entity expansion: the text is untrusted.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder, tostring  # parsing is done by a guarded expat
from xml.parsers import expat

from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, StoredUnit, WantedUnit
from pulpit.text import shown

MOST_ELEMENT: Final = 64 * MIB
"""Characters in one child of the root."""
MOST_DEPTH: Final = 64
MOST_ATTRIBUTES: Final = 100
"""Of one element; libxml2 compares each with all before it, so a hundred thousand take it a minute."""
_PIECE: Final = 256 * 1024
_LONGEST_ID: Final = 255
_NOT_XML: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0 does not allow (section 2.2)."""
WRITABLE_BYTES: Final = bytes(byte if byte >= ord(" ") or byte in b"\t\n\r" else ord("?") for byte in range(256))
"""Replaces control characters in single-byte text; Fedora's errata once contained an escape character."""


def children(path: Path, root: str, name: str) -> Iterator[Element]:
    """Yield the children of the root element, each when it is complete; characters not allowed in XML become `?`.

    Raises:
        BadFeed: it is not XML, another document than expected, or too large.
    """
    reader = _Reader(root, name)
    with path.open("rb") as file:
        wide = b"\0" in file.read(4)  # UTF-16, where such a byte is part of another character
        file.seek(0)
        while piece := file.read(_PIECE):
            yield from reader.feed(piece if wide else piece.translate(WRITABLE_BYTES))
    yield from reader.feed(b"", last=True)


def written(element: Element) -> str:
    """Serialise the element, without its tail."""
    element.tail = None
    return tostring(element, encoding="unicode")


def read(text: str) -> Element:
    """Parse what `written` serialised."""
    reader = _Reader("whole", "The kept text")
    reader.feed(b"<whole>")
    (element,) = reader.feed(text.encode())
    return element


def writable(text: str) -> str:
    """Replace each character that XML does not allow by a question mark."""
    return _NOT_XML.sub("?", text)


def text_unit(type_id: str, key: dict[str, Any], text: str, metadata: dict[str, Any]) -> WantedUnit:
    """Return a unit of which a repository holds one per key; other text makes it another unit.

    A `repo_id` in the key, as Pulp 2 has it for some types, is always the repository of the request.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    detail = zlib.compress(text.encode(), 6)
    return WantedUnit(
        type_id=type_id, key={**key, "checksum": digest}, metadata=metadata, files=(), slot=slot(key), detail=detail
    )


def slot(key: Mapping[str, Any]) -> str:
    """Return the key without the text's checksum and the repository."""
    return ":".join(str(value or "") for name, value in sorted(key.items()) if name not in {"checksum", "repo_id"})


def text_of(unit: StoredUnit | WantedUnit) -> str:
    """Return the unit's XML text."""
    return zlib.decompress(unit.detail).decode()


def checked_id(value: str | None, list_name: str) -> str:
    """Return an id that is safe to show.

    Raises:
        BadFeed: it is not.
    """
    if not value or len(value) > _LONGEST_ID or not value.isprintable():
        raise BadFeed(f"{list_name} is refused: the id {shown(value or '')!r} is empty, too long or no text.")
    return value


def local(tag: str) -> str:
    """Return a tag without its namespace."""
    return tag.rpartition(":")[2]


class _Reader:
    def __init__(self, root: str, name: str) -> None:
        self._root: Final = root
        self._name: Final = name
        self._depth = 0
        self._size = 0
        self._builder = TreeBuilder()
        self._whole: list[Element] = []
        self._parser: Final = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._entity

    def feed(self, piece: bytes, *, last: bool = False) -> list[Element]:
        try:
            self._parser.Parse(piece, last)
        except expat.ExpatError as error:
            raise BadFeed(f"{self._name} is refused: it is not well-formed XML ({error}).") from None
        whole, self._whole = self._whole, []
        return whole

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            if local(tag) != self._root:
                raise BadFeed(f"{self._name} is refused: it is <{shown(tag)}> instead of <{self._root}>.")
            return
        if self._depth > MOST_DEPTH:
            raise BadFeed(f"{self._name} is refused: its elements are nested more than {MOST_DEPTH} deep.")
        if len(attributes) > MOST_ATTRIBUTES:
            raise BadFeed(f"{self._name} is refused: an element has more than {MOST_ATTRIBUTES} attributes.")
        self._grow(len(tag) + sum(len(key) + len(value) for key, value in attributes.items()))
        self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._depth:
            self._builder.end(tag)
        if self._depth == 1:
            self._whole.append(self._builder.close())
            self._builder = TreeBuilder()
            self._size = 0

    def _text(self, text: str) -> None:
        if self._depth > 1:
            self._grow(len(text))
            self._builder.data(text)

    def _grow(self, size: int) -> None:
        self._size += size + 1
        if self._size > MOST_ELEMENT:
            raise BadFeed(f"{self._name} is refused: one of its elements is larger than {MOST_ELEMENT} characters.")

    def _doctype(self, _name: str, _system: str | None, _public: str | None, has_internal_subset: int) -> None:
        if has_internal_subset:
            raise BadFeed(f"{self._name} is refused: it has a document type with declarations.")

    def _entity(self, *_: object) -> None:
        raise BadFeed(f"{self._name} is refused: it declares entities.")
