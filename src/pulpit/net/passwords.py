# SPDX-License-Identifier: Apache-2.0
"""Passwords: parsed from HTTP Basic, stored as scrypt hashes with their parameters, compared in constant time.

Characters outside ASCII are normalised, however a client writes them (RFC 7617 section 2.1, RFC 8265): UTF-8, composed;
Latin-1 is accepted too.
"""

import base64
import binascii
import hashlib
import hmac
import os
import unicodedata
from collections import OrderedDict
from threading import Lock
from typing import Final

from pulpit.errors import AuthenticationFailed

_N: Final = 2**14
_R: Final = 8
_P: Final = 1
_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_MEMORY: Final = 64 * 2**20
_HASH: Final = "scrypt$"
_DIGITS: Final = 10
MAX_LENGTH: Final = 1024
"""Characters of a password; a longer one is rejected without hashing."""
_UNREADABLE: Final = "The Authorization header cannot be read; it must be HTTP Basic."


def read_basic(authorization: str) -> tuple[str, str]:
    """Parse login and password from an Authorization header.

    Raises:
        AuthenticationFailed: it is absent, of another scheme, or malformed.
    """
    scheme, _, encoded = authorization.strip().partition(" ")
    if not scheme:
        raise AuthenticationFailed("Log in: this needs a user and a password.")
    if scheme.lower() != "basic":
        raise AuthenticationFailed(_UNREADABLE)
    try:
        raw = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise AuthenticationFailed(_UNREADABLE) from None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    login, colon, password = text.partition(":")
    if not colon or "\0" in text:
        raise AuthenticationFailed(_UNREADABLE)
    return login, password


def hash_password(password: str) -> str:
    """Hash a new password: `scrypt$N$r$p$salt$key`, salt and key in base64."""
    salt = os.urandom(_SALT_BYTES)
    key = _scrypt(password, salt, _N, _R, _P)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(key)}"


def unmatched_hash() -> str:
    """Return a hash that no password matches, and that takes as long to check as any other."""
    return f"scrypt${_N}${_R}${_P}${_text(os.urandom(_SALT_BYTES))}${_text(os.urandom(_KEY_BYTES))}"


def is_password(password: str, password_hash: str) -> bool:
    """Whether the password matches the hash; costs some 50 ms and 16 MiB."""
    if len(password) > MAX_LENGTH:
        return False
    n, r, p, salt, key = _read_hash(password_hash)
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), key)


class Password:
    """A configured password: plain, or hashed by `hash_password`. It is never shown."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        """Take the configured text.

        Raises:
            ValueError: it begins like a hash but is not one.
        """
        self._secret: Final = secret
        if self.is_slow:
            _read_hash(secret)

    def __repr__(self) -> str:
        return "Password(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and self._secret == other._secret

    def __hash__(self) -> int:
        return hash(self._secret)

    @property
    def is_slow(self) -> bool:
        """Whether a check takes tens of milliseconds, and so must not run on the loop."""
        return self._secret.startswith(_HASH)

    def fits(self, candidate: str) -> bool:
        """Whether this is the password."""
        if self.is_slow:
            return is_password(candidate, self._secret)
        return len(candidate) <= MAX_LENGTH and hmac.compare_digest(_composed(candidate), _composed(self._secret))


class VerifiedPasswords:
    """A cache of passwords that matched a hash, so that Basic authentication does not hash at every request.

    Neither passwords nor plain digests of them are stored: the key is an HMAC with a secret of this process. When a
    password changes the hash changes too, so cached entries no longer apply.
    """

    def __init__(self, *, capacity: int = 256) -> None:
        self._capacity: Final = capacity
        self._secret: Final = os.urandom(32)
        self._hashes: Final[OrderedDict[bytes, str]] = OrderedDict()
        self._lock: Final = Lock()

    def knows(self, login: str, password: str, password_hash: str) -> bool:
        """Whether this password is known to match this hash."""
        key = self._key(login, password)
        with self._lock:
            return self._hashes.get(key) == password_hash

    def remember(self, login: str, password: str, password_hash: str) -> None:
        """Cache that the password matches; the oldest entry is evicted."""
        with self._lock:
            self._hashes[self._key(login, password)] = password_hash
            while len(self._hashes) > self._capacity:
                self._hashes.popitem(last=False)

    def _key(self, login: str, password: str) -> bytes:
        text = f"{len(login)}:{login}{password}".encode(errors="surrogatepass")
        return hmac.digest(self._secret, text, "sha256")


def _read_hash(text: str) -> tuple[int, int, int, bytes, bytes]:
    """Parse cost (N, r, p), salt and key of a hash.

    Raises:
        ValueError: it is not a hash.
    """
    parts = text.removeprefix(_HASH).split("$")
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


def _composed(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode(errors="surrogatepass")


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(_composed(password), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_KEY_BYTES)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
