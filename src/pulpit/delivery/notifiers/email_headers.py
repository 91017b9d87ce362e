"""Mail header fields, encoded so that every reader decodes the original text (RFC 5322, RFC 2047).

The standard library folds encoded words into empty ones and into ones of more than 75 characters, and decodes text
that only looks encoded. Here a field is a row of words; everything from the first to the last word that needs it is
encoded, so that the blanks between them are part of the text.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final

LONGEST_LINE: Final = 76
"""Characters of a line with encoded words (RFC 2047 section 2); two less than RFC 5322 recommends for every line."""
LONGEST_ENCODED_WORD: Final = 75
LONGEST_PLAIN_WORD: Final = 60

_FRAME: Final = len("=?utf-8?q?") + len("?=")
_LEAST_ROOM: Final = _FRAME + 12
"""Room for one character of four bytes, in either encoding."""
_Q_SAFE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
"""Bytes that stand for themselves, in a display name too (RFC 2047 section 5, rule 3)."""
_PLAIN_PHRASE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=^_`{|}~-]+( [A-Za-z0-9!#$%&'*+/=^_`{|}~-]+)*\Z")
_QUOTABLE: Final = re.compile(r"[\x20-\x7e]*\Z")


def text_field(name: str, text: str) -> str:
    """A field of free text, without a line end."""
    return _folded(name, _row(text.split(" ")))


def mailbox_field(name: str, display_name: str, address: str) -> str:
    """A field with one mailbox, whose display name may be empty."""
    if not display_name:
        return _folded(name, [address])
    plain = display_name.split(" ")
    if not any(map(_must_be_encoded, plain)):
        if _PLAIN_PHRASE.match(display_name):
            return _folded(name, [*plain, f"<{address}>"])
        quoted = '"' + re.sub(r'(["\\])', r"\\\1", display_name) + '"'
        if _QUOTABLE.match(display_name) and len(quoted) <= LONGEST_PLAIN_WORD:
            return _folded(name, [quoted, f"<{address}>"])
    return _folded(name, [_Encoded(display_name), f"<{address}>"])


def addresses_field(name: str, addresses: Sequence[str]) -> str:
    """A field with several plain addresses."""
    return _folded(name, [*(f"{address}," for address in addresses[:-1]), addresses[-1]])


class _Encoded(str):
    """Text that becomes encoded words."""

    __slots__ = ()


def _row(words: Sequence[str]) -> list[str]:
    """Return plain words, with one encoded text from the first to the last that needs it."""
    needy = [index for index, word in enumerate(words) if _must_be_encoded(word)]
    if not needy:
        return list(words)
    first, last = needy[0], needy[-1] + 1
    return [*words[:first], _Encoded(" ".join(words[first:last])), *words[last:]]


def _must_be_encoded(word: str) -> bool:
    plain = word.isascii() and word.isprintable()
    return not plain or word == "" or "=?" in word or len(word) > LONGEST_PLAIN_WORD


def _folded(name: str, row: Iterable[str]) -> str:
    lines = [f"{name}:"]
    for part in row:
        if isinstance(part, _Encoded):
            _add_encoded(lines, part)
        elif len(lines[-1]) + 1 + len(part) > LONGEST_LINE and lines[-1] != f"{name}:":
            lines.append(f" {part}")
        else:
            lines[-1] += f" {part}"
    return "\r\n".join(lines)


def _add_encoded(lines: list[str], text: str) -> None:
    """Cut a text into encoded words that fit, never within a character."""
    encode = _q if len(_q(text)) <= 1.4 * len(_base64(text)) else _base64  # quoted-printable stays readable
    rest = text
    while rest:
        room = min(LONGEST_LINE - len(lines[-1]) - 1, LONGEST_ENCODED_WORD)
        if room < _LEAST_ROOM:
            lines.append("")
            continue
        length = min(len(rest), room)
        while length > 1 and len(encode(rest[:length])) > room:
            length -= 1
        lines[-1] += f" {encode(rest[:length])}"
        rest = rest[length:]


def _q(text: str) -> str:
    encoded = [
        chr(byte) if byte in _Q_SAFE else "_" if byte == ord(" ") else f"={byte:02X}"  # RFC 2047 section 4.2
        for byte in text.encode()
    ]
    return f"=?utf-8?q?{''.join(encoded)}?="


def _base64(text: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="
