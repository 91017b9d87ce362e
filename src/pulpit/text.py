# SPDX-License-Identifier: Apache-2.0
"""Make foreign text and system errors safe to show: one line that cannot control a terminal or break a log.

Unsafe characters are the same everywhere: control characters, formats such as right-to-left marks, lone surrogates, and
Unicode's line and paragraph ends.
"""

import os
import re
import unicodedata
from typing import Final

STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of unsafe characters."""
MASK: Final = "*****"
"""What is shown in place of a secret."""

_LONGEST_SHOWN: Final = 32
_PASSWORD: Final = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*@")
_QUERY: Final = re.compile(r"(?<=\?)[^#]*")
_NAMED_SECRET: Final = re.compile(r"token|sig|key|auth|pass|secret|cred|polic|hmac|session|jwt", re.IGNORECASE)


def is_plain(text: str) -> bool:
    """Whether a text is printable ASCII: the common case, in which no character needs to be checked."""
    return text.isascii() and text.isprintable()


def escaped(text: str, keep: str = "") -> str:
    r"""Escape unsafe characters as `\x1b` or `\u202e`, except those in `keep`."""
    if is_plain(text):
        return text
    return "".join(
        c if c in keep or not _steers(c) else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text
    )


def blanked(text: str, keep: str = "") -> str:
    """Replace each unsafe character by a space, except those in `keep`."""
    return text if is_plain(text) else "".join(" " if c not in keep and _steers(c) else c for c in text)


def clean(text: str) -> str:
    """Remove unsafe characters; line ends and tabs become spaces."""
    return text if is_plain(text) else "".join(" " if c in "\n\r\t" else "" if _steers(c) else c for c in text)


def one_line(text: str, longest: int) -> str:
    """Join the words of a text with single spaces and cut it to `longest` characters."""
    line = " ".join(blanked(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def shown(text: str, longest: int = 120) -> str:
    """Prepare foreign text for a message: unsafe characters escaped, long text cut."""
    line = escaped(text[: longest + 1])
    return line if len(text) <= longest else line[:longest] + "…"


def masked_url(url: str) -> str:
    """Return a URL without its password and without those query values that are or may be secret.

    A query part without a name is a token, as in SUSE's repository URLs; others are judged by name or length.
    """
    if "://" not in url:
        return url
    without_password = _PASSWORD.sub(rf"\1:{MASK}@", url)
    return _QUERY.sub(lambda query: "&".join(map(_masked_part, query[0].split("&"))), without_password, count=1)


def host_and_port(host: str, port: int | str) -> str:
    """Join both as a URL does, an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def system_reason(error: OSError) -> str:
    """Return what the system or OpenSSL calls an error, without the addresses and numbers that asyncio adds."""
    for name in ("verify_message", "reason"):  # of ssl's errors
        if found := getattr(error, name, None):
            return str(found).rstrip(".")
    if isinstance(error.errno, int) and error.errno > 0 and not hasattr(error, "reason"):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__  # a resolver's error: its numbers are negative


def _masked_part(part: str) -> str:
    name, equals, value = part.partition("=")
    if not equals:
        return MASK if part else ""
    return f"{name}={MASK}" if _NAMED_SECRET.search(name) or len(value) > _LONGEST_SHOWN else part


def _steers(character: str) -> bool:
    return unicodedata.category(character) in STEERING
