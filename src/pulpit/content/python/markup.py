"""The start tags of an HTML page, parsed in time linear in its size.

The standard library's parser takes half a minute for 64 KiB of `<a <a <a …`, and pages are untrusted.
"""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

_MOST_TEXT: Final = 300
MOST_TAG: Final = 64 * 1024
"""Characters in one tag."""

_NAME: Final = re.compile(r"[A-Za-z][^\s/>]*")
_GAP: Final = re.compile(r"[\s/]*")
_ATTRIBUTE: Final = re.compile(r"[^\s/>][^\s/>=]*")
_EQUALS: Final = re.compile(r"\s*=\s*")
_UNQUOTED: Final = re.compile(r"[^\s>]*")
_RAW: Final = {
    name: re.compile(rf"</{name}[\s/>]", re.IGNORECASE) for name in ("script", "style", "textarea", "title", "xmp")
}
"""Elements whose content is always text."""


class BadMarkup(ValueError):
    """The page cannot be parsed; the text is the end of a sentence about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A start tag; names in lower case, character references in values resolved, `""` for no value.

    `text` is what follows up to the next tag, cut when it is long.
    """

    name: str
    attributes: Mapping[str, str]
    text: str = ""


def start_tags(text: str) -> Iterator[Tag]:
    """Yield every start tag outside comments and raw text.

    Raises:
        BadMarkup: the page ends within a tag or comment, or a tag is too long.
    """
    place = 0
    while (place := text.find("<", place)) >= 0:
        name = _NAME.match(text, place + 1)
        if name is None:
            place = _past(text, place)
            continue
        tag, place = _tag(text, name)
        yield replace(tag, text=_plain(text[place : place + _MOST_TEXT].partition("<")[0]))
        raw = _RAW.get(tag.name)
        if raw:
            end = raw.search(text, place)
            place = end.start() if end else len(text)


def _past(text: str, place: int) -> int:
    """Return the end of a comment, declaration or end tag; a `<` that starts nothing is text."""
    following = text[place + 1 : place + 2]
    if text.startswith("<!--", place):
        return _after(text, "-->", place + 2)
    return _after(text, ">", place + 1) if following in {"!", "?", "/"} and following else place + 1


def _after(text: str, what: str, place: int) -> int:
    end = text.find(what, place)
    if end < 0:
        raise BadMarkup("it ends in the middle of a tag")
    return end + len(what)


def _tag(text: str, name: re.Match[str]) -> tuple[Tag, int]:
    """Parse a tag; also return where it ends."""
    attributes: dict[str, str] = {}
    place = name.end()
    while True:
        place = _end_of(_GAP, text, place)
        if place - name.start() > MOST_TAG:
            raise BadMarkup(f"one of its tags has more than {MOST_TAG} characters")
        if text.startswith(">", place):
            return Tag(name=name[0].lower(), attributes=attributes), place + 1
        attribute = _ATTRIBUTE.match(text, place)
        if attribute is None:
            raise BadMarkup("it ends in the middle of a tag")
        value, place = _value(text, attribute.end())
        attributes.setdefault(attribute[0].lower(), value)


def _value(text: str, place: int) -> tuple[str, int]:
    equals = _EQUALS.match(text, place)
    if equals is None:
        return "", place
    place = equals.end()
    quote = text[place : place + 1]
    if quote in {'"', "'"}:
        end = _after(text, quote, place + 1)
        return _plain(text[place + 1 : end - 1]), end
    end = _end_of(_UNQUOTED, text, place)
    return _plain(text[place:end]), end


def _end_of(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Return the end of a pattern that may match the empty string."""
    found = pattern.match(text, place)
    return found.end() if found else place


def _plain(value: str) -> str:
    """Resolve character references; one of thousands of digits stays as it is."""
    try:
        return html.unescape(value)
    except ValueError:
        return value
