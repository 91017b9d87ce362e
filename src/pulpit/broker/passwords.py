"""Passwords of the broker's users: plain or hashed, and never shown."""

import base64
import hashlib
import hmac
from typing import Final

MAX_LENGTH: Final = 1024
"""Characters; a longer one is wrong without being looked at."""
HASH: Final = "scrypt$"
_MEMORY: Final = 64 * 1024 * 1024
_KEY_BYTES: Final = 32
_DIGITS: Final = 10


class Password:
    """What a user must say, plain or hashed: `scrypt$N$r$p$salt$key`, salt and key in base64."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        """Take it as it stands in a file.

        Raises:
            ValueError: it begins like a hash and cannot be one.
        """
        self._secret: Final = secret
        if self.is_slow:
            _read(secret)

    def __repr__(self) -> str:
        return "Password(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and self._secret == other._secret

    def __hash__(self) -> int:
        return hash(self._secret)

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
        n, r, p, salt, key = _read(self._secret)
        found = hashlib.scrypt(candidate.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_KEY_BYTES)
        return hmac.compare_digest(found, key)


def _read(text: str) -> tuple[int, int, int, bytes, bytes]:
    """Cost (N, r, p), salt and key of a hash.

    Raises:
        ValueError: there is something else.
    """
    parts = text.removeprefix(HASH).split("$")
    if len(parts) != 5:  # noqa: PLR2004 - the five above
        raise ValueError("it is not scrypt$N$r$p$salt$key")
    n, r, p = (int(part) if part.isascii() and part.isdigit() and len(part) < _DIGITS else 0 for part in parts[:3])
    if n < 2 or n & (n - 1) or not r or not p or 128 * r * (n + p + 2) > _MEMORY:  # noqa: PLR2004 - RFC 7914 section 6
        raise ValueError("its cost is none that scrypt takes in 64 MiB")
    try:
        salt, key = (base64.b64decode(part, validate=True) for part in parts[3:])
    except ValueError:
        raise ValueError("salt and key are no base64") from None
    if len(key) != _KEY_BYTES:
        raise ValueError(f"its key has no {_KEY_BYTES} bytes")
    return n, r, p, salt, key
