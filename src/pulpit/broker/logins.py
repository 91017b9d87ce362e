"""How clients log in: the SASL mechanisms, and what they take out of a response."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pulpit.amqp.amqp091 import tables
from pulpit.broker.refusals import syntax_error

EXTERNAL: Final = "EXTERNAL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Who somebody says to be; `password` is None where a certificate vouches for the name."""

    mechanism: str
    user: str
    password: str | None
    address: str
    local: bool

    def __repr__(self) -> str:
        return f"Attempt({self.mechanism}, {self.user!r}, {self.address})"


Credentials = tuple[str, str]


def plain(response: bytes) -> Credentials:
    """RFC 4616: an identity that nobody uses, the name and the password, with NUL between."""
    parts = response.split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004 - the three parts above
        raise syntax_error("the response to PLAIN is no name and password")
    return _text(parts[1]), _text(parts[2])


def amqplain(response: bytes) -> Credentials:
    """AMQP's own: a table without its length that holds LOGIN and PASSWORD."""
    try:
        values = tables.read_entries(response)
    except tables.BadTable as error:
        raise syntax_error(f"the response to AMQPLAIN is no table: {error}") from error
    login, password = values.get("LOGIN"), values.get("PASSWORD")
    if not isinstance(login, str) or not isinstance(password, str):
        raise syntax_error("the response to AMQPLAIN lacks LOGIN or PASSWORD")
    return login, password


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


MECHANISMS: Final[Mapping[str, Callable[[bytes], Credentials]]] = {"PLAIN": plain, "AMQPLAIN": amqplain}
"""Those with a password; EXTERNAL takes the name from the client's certificate."""
