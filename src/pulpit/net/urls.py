# SPDX-License-Identifier: Apache-2.0
"""URLs that users configure for the server to call: parsed once, so that the checked URL is the one that is requested.

Checks are strict because of SSRF: a spelling that one parser takes for a public name and another for an address of
this machine, such as `http://127.1/` or `http://a@b/`, is rejected. Path and query are sent byte for byte; only
characters outside ASCII are encoded.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

from yarl import URL

LONGEST_URL: Final = 2000

_URL: Final = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?\Z", re.IGNORECASE)
_PLACE: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?\Z")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?\Z")
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?\Z")
_PRINTABLE_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
_HIGHEST_PORT: Final = 65535


def http_url(text: str) -> URL:
    """Parse the URL of something to call, without its fragment.

    Raises:
        ValueError: it is invalid; the text continues after "url" and quotes nothing but a host or port.
    """
    if not text.isprintable() or " " in text or len(text) > LONGEST_URL:
        raise ValueError(f"must be at most {LONGEST_URL} printable characters without a blank")
    found = _URL.match(text)
    if not found or not found[2]:
        raise ValueError("must begin with http:// or https:// and a host")
    scheme, place, rest = found[1].lower(), found[2], found[3]
    if "@" in place:
        raise ValueError("must not hold a user or password; give them as username and password")
    if "\\" in text:
        raise ValueError(r"must not hold \; in a path it is written %5C")
    parts = _PLACE.match(place)
    if not parts or not parts[1]:
        raise ValueError("is not a URL: it has no host, or more than a host and a port")
    port = _port(parts[2])
    return URL(f"{scheme}://{_host(parts[1])}{port}{quote(rest, safe=_PRINTABLE_ASCII)}", encoded=True)


def _port(text: str | None) -> str:
    if not text:
        return ""
    number = int(text) if len(text) <= 5 else 0  # noqa: PLR2004 - digits of the highest port
    if not 1 <= number <= _HIGHEST_PORT:
        raise ValueError(f"is not a URL: its port must be from 1 to {_HIGHEST_PORT}")
    return f":{number}"


def _host(text: str) -> str:
    """Return the host as it is resolved and sent: in lower case, internationalised names in ASCII (IDNA)."""
    if text.startswith("["):
        try:
            return f"[{IPv6Address(text[1:-1].replace('%', ' '))}]"  # a zone is only meaningful on one machine
        except AddressValueError:
            raise ValueError(f"is not a URL: {text[:60]} is no address, or one with a zone") from None
    try:
        host = (URL.build(scheme="http", host=text).raw_host or "").lower()
    except ValueError:
        host = ""
    if not _NAME.match(host):
        raise ValueError("is not a URL: its host is neither a name nor an address")
    if _NUMERIC.match(host):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise ValueError(f"is not a URL: {host[:60]} is no address; write four numbers, as in 192.0.2.7") from None
    return host
