"""Passwords: read from HTTP Basic, kept as scrypt hashes that carry their own parameters, compared in constant time.

Letters outside ASCII are those that the user meant, however a client writes them (RFC 7617 section 2.1, RFC 8265):
UTF-8, composed; a client that still sends Latin-1 is understood.
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
MAX_LENGTH: Final = 1024
"""Characters of a password; a longer one is wrong without being hashed."""
_UNREADABLE: Final = "The Authorization header cannot be read; it must be HTTP Basic."


def read_basic(authorization: str) -> tuple[str, str]:
    """Read login and password from the value of an Authorization header.

    Raises:
        AuthenticationFailed: it is absent, of another scheme, or garbled.
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


def is_password(password: str, password_hash: str) -> bool:
    """Whether the password is the hashed one; costs some 50 ms and 16 MiB."""
    if len(password) > MAX_LENGTH:
        return False
    _, n, r, p, salt, key = password_hash.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(key))


class VerifiedPasswords:
    """Remembers which password fitted which hash, so that Basic authentication does not hash at every request.

    Neither passwords nor plain digests of them are kept: the key is an HMAC under a secret that lives and dies with the
    process. A user whose password changes has another hash, so what was remembered does not fit any more.
    """

    def __init__(self, *, capacity: int = 256) -> None:
        self._capacity: Final = capacity
        self._secret: Final = os.urandom(32)
        self._hashes: Final[OrderedDict[bytes, str]] = OrderedDict()
        self._lock: Final = Lock()

    def knows(self, login: str, password: str, password_hash: str) -> bool:
        """Whether this password was seen to fit this hash before."""
        key = self._key(login, password)
        with self._lock:
            return self._hashes.get(key) == password_hash

    def remember(self, login: str, password: str, password_hash: str) -> None:
        """Keep that the password fits; the oldest memory makes room."""
        with self._lock:
            self._hashes[self._key(login, password)] = password_hash
            while len(self._hashes) > self._capacity:
                self._hashes.popitem(last=False)

    def _key(self, login: str, password: str) -> bytes:
        text = f"{len(login)}:{login}{password}".encode(errors="surrogatepass")
        return hmac.digest(self._secret, text, "sha256")


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    text = unicodedata.normalize("NFC", password).encode(errors="surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_KEY_BYTES)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
