"""The client's side of SCRAM (RFC 5802, RFC 7677): proves that a password is known without sending it."""

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from typing import ClassVar, Final

MOST_ROUNDS: Final = 1_000_000
"""Rounds of hashing that a peer may ask for; more would only keep this side busy."""
FEWEST_ROUNDS: Final = 4096
"""Fewer, and a peer that listens in could try passwords too fast (RFC 7677 section 4)."""


class ScramError(Exception):
    """The peer does not keep to the mechanism, or does not know the password itself."""


class Scram:
    """One exchange: `first`, `answer` to the challenge, and `check` of what the peer says at the end."""

    NAMES: ClassVar = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
    """The mechanisms, the strongest first."""
    _HASHES: ClassVar = {"SCRAM-SHA-512": "sha512", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}

    def __init__(self, name: str, user: str, password: str, nonce: str | None = None) -> None:
        self._hash: Final = self._HASHES[name]
        self._password: Final = unicodedata.normalize("NFKC", password).encode()
        self._nonce: Final = nonce or secrets.token_urlsafe(24)
        self._bare: Final = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._signature: bytes | None = None

    def first(self) -> bytes:
        """The first message."""
        return f"n,,{self._bare}".encode()

    def answer(self, challenge: bytes) -> bytes:
        """Answer the peer's first message with the proof, and its last one, if it is sent as a challenge, with nothing.

        Raises:
            ScramError: it does not fit.
        """
        if self._signature is not None:
            self.check(challenge)
            return b""
        nonce, salt, rounds = self._read(challenge)
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, salt, rounds)
        client_key = self._hmac(salted, b"Client Key")
        final = f"c=biws,r={nonce}"
        signed = b",".join((self._bare.encode(), challenge, final.encode()))
        signature = self._hmac(hashlib.new(self._hash, client_key).digest(), signed)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def check(self, final: bytes | None) -> None:
        """See that the peer knows the password too; without a last message it must have come as a challenge.

        Raises:
            ScramError: it does not, or says nothing about it.
        """
        if self._signature is None:
            raise ScramError("The peer let us in without asking for the password.")
        if final is None and self._checked:
            return
        wanted = b"v=" + base64.b64encode(self._signature)
        if final is None or not hmac.compare_digest(final.partition(b",")[0], wanted):
            raise ScramError("The peer does not know the password itself.")
        self._checked = True

    _checked = False

    def _read(self, challenge: bytes) -> tuple[str, bytes, int]:
        try:
            parts = dict(part.split("=", 1) for part in challenge.decode().split(","))
            nonce, rounds = parts["r"], int(parts["i"])
            salt = base64.b64decode(parts["s"], validate=True)
        except (ValueError, KeyError, binascii.Error):
            raise ScramError("The peer's challenge cannot be read.") from None
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramError("The peer's challenge answers another log-in.")
        if not FEWEST_ROUNDS <= rounds <= MOST_ROUNDS:
            raise ScramError(
                f"The peer asks for {rounds} rounds of hashing; allowed are {FEWEST_ROUNDS} to {MOST_ROUNDS}."
            )
        return nonce, salt, rounds

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, self._hash).digest()
