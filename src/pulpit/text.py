# SPDX-License-Identifier: Apache-2.0
"""Strangers' texts and the system's errors, made fit for a person: one line that cannot steer a terminal or a log.

What steers is the same everywhere: control characters, formats such as right-to-left marks, lone surrogates, and
Unicode's line and paragraph ends.
"""

import os
import re
import unicodedata
from typing import Final

STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode."""
MASK: Final = "*****"
"""What is shown in the place of a secret."""

_LONGEST_SHOWN: Final = 32
_PASSWORD: Final = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*@")
_QUERY: Final = re.compile(r"(?<=\?)[^#]*")
_NAMED_SECRET: Final = re.compile(r"token|sig|key|auth|pass|secret|cred|polic|hmac|session|jwt", re.IGNORECASE)


def is_plain(text: str) -> bool:
    """Whether a text is printable ASCII, as nearly all are: then nobody needs to look at each of its characters."""
    return text.isascii() and text.isprintable()


def escaped(text: str, keep: str = "") -> str:
    r"""Show what steers as `\x1b` or `\u202e`, but for the characters in `keep`."""
    if is_plain(text):
        return text
    return "".join(
        c if c in keep or not _steers(c) else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text
    )


def blanked(text: str, keep: str = "") -> str:
    """Put a space in the place of each character that steers, but for those in `keep`."""
    return text if is_plain(text) else "".join(" " if c not in keep and _steers(c) else c for c in text)


def clean(text: str) -> str:
    """Take out what steers; line ends and tabs become spaces."""
    return text if is_plain(text) else "".join(" " if c in "\n\r\t" else "" if _steers(c) else c for c in text)


def one_line(text: str, longest: int) -> str:
    """A text as words with single spaces between, cut to a number of characters."""
    line = " ".join(blanked(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def shown(text: str, longest: int = 120) -> str:
    """A stranger's text for a message: what steers is escaped, and the rest cut when it is long."""
    line = escaped(text[: longest + 1])
    return line if len(text) <= longest else line[:longest] + "…"


def masked_url(url: str) -> str:
    """A URL without its password, and without what in its query is a secret or may be one.

    A part of a query that has no name is a token, as SUSE's feeds have one; of the others the name or the length tells.
    """
    if "://" not in url:
        return url
    without_password = _PASSWORD.sub(rf"\1:{MASK}@", url)
    return _QUERY.sub(lambda query: "&".join(map(_masked_part, query[0].split("&"))), without_password, count=1)


def system_reason(error: OSError) -> str:
    """What the system or OpenSSL calls an error, without the addresses and numbers that asyncio puts around it."""
    for name in ("verify_message", "reason"):  # of ssl's errors
        if found := getattr(error, name, None):
            return str(found).rstrip(".")
    if isinstance(error.errno, int) and error.errno > 0 and not hasattr(error, "reason"):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__  # of a resolver: its numbers are negative


def _masked_part(part: str) -> str:
    name, equals, value = part.partition("=")
    if not equals:
        return MASK if part else ""
    return f"{name}={MASK}" if _NAMED_SECRET.search(name) or len(value) > _LONGEST_SHOWN else part


def _steers(character: str) -> bool:
    return unicodedata.category(character) in STEERING
