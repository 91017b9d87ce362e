"""Passwords: kept as scrypt hashes that carry their own parameters, and compared in constant time."""

import base64
import hashlib
import hmac
import os
from collections import OrderedDict
from threading import Lock
from typing import Final

_N: Final = 2**14
_R: Final = 8
_P: Final = 1
_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_MEMORY: Final = 64 * 2**20
MAX_LENGTH: Final = 1024
"""Characters of a password; a longer one is wrong without being hashed."""


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
    text = password.encode(errors="surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_KEY_BYTES)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
