"""Client logins: the SASL mechanisms, how they parse a response, and the authenticator's interface."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pulpit.amqp.amqp091 import tables
from pulpit.broker.permissions import Rights
from pulpit.broker.refusals import syntax_error

EXTERNAL: Final = "EXTERNAL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A login attempt; `password` is None if a certificate vouches for the name."""

    mechanism: str
    user: str
    password: str | None
    address: str
    local: bool

    def __repr__(self) -> str:
        return f"Attempt({self.mechanism}, {self.user!r}, {self.address})"


Verdict = Callable[[Attempt, bool], None]
"""Called once with the attempt and whether it is accepted."""


class Authenticator(Protocol):
    """Verifies logins, which may take time."""

    def authenticate(self, attempt: Attempt, verdict: Verdict) -> None:
        """Verify, then call `verdict`."""

    def rights(self, user: str, host: str) -> Rights | None:
        """Return what a user may do in a virtual host, None if it may not open it."""


Credentials = tuple[str, str]
"""Login and password."""


def composed(login: str) -> str:
    """Return the normalised form of a login, however its accents were typed (RFC 8265)."""
    return unicodedata.normalize("NFC", login)


def plain(response: bytes) -> Credentials:
    """RFC 4616: an unused identity, the name and the password, separated by NUL."""
    parts = response.split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004 - the three parts above
        raise syntax_error("the response to PLAIN is no name and password")
    return composed(_text(parts[1])), _text(parts[2])


def amqplain(response: bytes) -> Credentials:
    """AMQP's own mechanism: a table without its length that contains LOGIN and PASSWORD."""
    try:
        values = tables.read_entries(response)
    except tables.BadTable as error:
        raise syntax_error(f"the response to AMQPLAIN is no table: {error}") from error
    login, password = values.get("LOGIN"), values.get("PASSWORD")
    if not isinstance(login, str | bytes) or not isinstance(password, str | bytes):
        raise syntax_error("the response to AMQPLAIN lacks LOGIN or PASSWORD")
    return composed(_text(login)), _text(password)


def _text(raw: bytes | str) -> str:
    """Decode UTF-8 as in RFC 4616; Latin-1 of some clients is accepted too."""
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


MECHANISMS: Final[Mapping[str, Callable[[bytes], Credentials]]] = {"PLAIN": plain, "AMQPLAIN": amqplain}
"""Mechanisms with a password; EXTERNAL takes the name from the client's certificate."""
