"""Passwords of the broker's users: plain or hashed, and never shown."""

import base64
import hashlib
import hmac
from typing import Final

MAX_LENGTH: Final = 1024
"""Characters; a longer one is wrong without being looked at."""
HASH: Final = "scrypt$"
_MEMORY: Final = 64 * 1024 * 1024


class Password:
    """What a user must say, plain or hashed: `scrypt$N$r$p$salt$key`, salt and key in base64."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret: Final = secret

    def __repr__(self) -> str:
        return "Password(…)"

    @property
    def is_slow(self) -> bool:
        """Whether a check takes tens of milliseconds, and so must not be done on the loop."""
        return self._secret.startswith(HASH)

    def fits(self, candidate: str) -> bool:
        """Whether this is the password."""
        if len(candidate) > MAX_LENGTH:
            return False
        if not self.is_slow:
            return hmac.compare_digest(candidate.encode(), self._secret.encode())
        _, n, r, p, salt, key = self._secret.split("$")
        found = hashlib.scrypt(
            candidate.encode(), salt=base64.b64decode(salt), n=int(n), r=int(r), p=int(p), maxmem=_MEMORY, dklen=32
        )
        return hmac.compare_digest(found, base64.b64decode(key))
