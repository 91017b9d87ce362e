"""Removes secrets from Pulp 3's error texts, which quote upstream URLs in full."""

import re
from typing import Final

from pulpit.text import MASK, blanked, masked_url

LONGEST: Final = 10_000
"""Characters of one text."""
_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_LOGIN: Final = re.compile(r"(?<=://)[^/?#\s'\"]*@")
_NAMED: Final = re.compile(
    r"(?i)((?:authorization|[\w-]*(?:password|passwd|token|secret|api[_-]?key))['\"]?\s*[:=]\s*['\"]?(?:basic\s+|bearer\s+)?)"
    r"[^\s'\",;)}\]]+"
)
_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def redacted(text: str) -> str:
    """Mask logins and secret queries of URLs, passwords and tokens by name, and private keys."""
    text = _KEY.sub(MASK, text[: 4 * LONGEST])
    text = _URL.sub(lambda url: masked_url(_LOGIN.sub(f"{MASK}@", url[0])), text)
    text = blanked(_NAMED.sub(rf"\1{MASK}", text), keep="\n\t")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
