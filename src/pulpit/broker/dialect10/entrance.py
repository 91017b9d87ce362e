"""The entrance: from the first byte to where the engine takes over, through SASL or without it.

A client without SASL, or with its mechanism ANONYMOUS, is taken for the user guest with the password guest. So it is
let in where that one would be: from this machine, and as long as the operator has left that user alone.
"""

from collections.abc import Callable
from typing import Final

from pulpit.amqp.amqp10.sasl import (
    ANONYMOUS,
    EXTERNAL,
    PLAIN,
    SASL_HEADER,
    Asked,
    LoginFailed,
    ServerLogin,
    read_plain,
)
from pulpit.amqp.amqp10.words import AMQP_HEADER
from pulpit.broker.logins import Attempt

GUEST: Final = "guest"
MAX_WAITING: Final = 8192
"""Bytes that a client may send ahead while its log-in is judged."""


class Entrance:
    """Takes bytes until `rest` is not None: those that the engine gets, with the header of AMQP 1.0 in front.

    `ask` has a log-in judged and calls `judged`; `failed` says that the peer cannot be let in.
    """

    def __init__(
        self, *, address: str, local: bool, certificate_name: str | None, ask: Callable[[Attempt], None]
    ) -> None:
        self.rest: bytes | None = None
        self.failed = False
        self._address: Final = address
        self._local: Final = local
        self._certificate_name: Final = certificate_name
        self._ask: Final = ask
        self._login: ServerLogin | None = None
        self._waiting = b""
        self._asking = False

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._waiting += data
        if self._asking:
            self.failed = len(self._waiting) > MAX_WAITING
        elif self._login is not None:
            self._go_on(self._login)
        elif len(self._waiting) >= len(SASL_HEADER):
            self._begin()

    def judged(self, *, welcome: bool) -> None:
        """The log-in was judged."""
        self._asking = False
        if self._login is not None:
            self._login.accept() if welcome else self._login.refuse()
            self._waiting = self._login.rest + self._waiting
        self.failed = self.failed or not welcome
        if welcome:
            self.rest = self._waiting

    def take_output(self) -> bytes:
        """What must be sent to the client now."""
        return b"" if self._login is None else self._login.take_output()

    def _begin(self) -> None:
        if self._waiting.startswith(AMQP_HEADER):
            self._judge(ANONYMOUS, GUEST, GUEST)
            return
        mechanisms = [PLAIN]
        if self._certificate_name:
            mechanisms = [EXTERNAL, PLAIN]
        if self._local:
            mechanisms.append(ANONYMOUS)
        self._login = ServerLogin(mechanisms)
        self._go_on(self._login)

    def _go_on(self, login: ServerLogin) -> None:
        data, self._waiting = self._waiting, b""
        try:
            asked = login.receive(data)
        except LoginFailed:
            self.failed = True
            return
        if asked is not None:
            self._answer(asked)

    def _answer(self, asked: Asked) -> None:
        if asked.mechanism == EXTERNAL and self._certificate_name:
            self._judge(EXTERNAL, self._certificate_name, None)
        elif asked.mechanism == ANONYMOUS:
            self._judge(ANONYMOUS, GUEST, GUEST)
        else:
            # a response that cannot be read is judged like a wrong password, and waits like one
            self._judge(PLAIN, *(read_plain(asked.response) or ("", "")))

    def _judge(self, mechanism: str, user: str, password: str | None) -> None:
        self._asking = True
        attempt = Attempt(mechanism=mechanism, user=user, password=password, address=self._address, local=self._local)
        self._ask(attempt)
