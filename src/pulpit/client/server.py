# SPDX-License-Identifier: Apache-2.0
"""The server as the client sees it: one request, one response, every failure as a sentence."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from pulpit.client.failures import (
    Asker,
    ServerTrouble,
    refusal,
    trouble,
)
from pulpit.client.settings import Settings, Token

_FIRST_REFUSAL: Final = 300
_V1: Final = "/pulpit/v1/"

Query = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A success: its status and its JSON (None for an empty body)."""

    status: int
    body: Any


def path_of(*parts: str) -> str:
    """Join names to a path below `/v2`, each name quoted."""
    return "/v2/" + "".join(f"{quote(part, safe='')}/" for part in parts)


def v1_path(*parts: str) -> str:
    """Join names to a path of API v1, which is at the root, not below the configured prefix."""
    return _V1 + "/".join(quote(part, safe="") for part in parts)


class Server:
    """The settings of a connection; every call opens a new connection, so that pauses between calls cost nothing."""

    def __init__(self, settings: Settings) -> None:
        self.settings: Final = settings
        self._name: Final = settings.server_name

    def get(self, path: str, query: Query | None = None) -> Any:
        """Read."""
        return self.call("GET", path, query=query).body

    def post(self, path: str, body: Any = None) -> Any:
        """Create, or request an action."""
        return self.call("POST", path, body=body).body

    def put(self, path: str, body: Any) -> Any:
        """Change."""
        return self.call("PUT", path, body=body).body

    def delete(self, path: str, query: Query | None = None) -> Any:
        """Remove."""
        return self.call("DELETE", path, query=query).body

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; `bytes` are sent unchanged, everything else as JSON.

        Raises:
            Failure: by kind of error; see `pulpit.client.failures`.
        """
        prefix = "" if path.startswith(_V1) else self.settings.prefix
        target = prefix + path + ("?" + urlencode(query, doseq=True) if query else "")
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode("ascii")
        from pulpit.client.http_request import LONGEST, send  # noqa: PLC0415 - help texts do not need TLS

        status, raw = send(self.settings, method, target, content, {**self._headers(), **(headers or {})})
        if len(raw) > LONGEST:
            raise ServerTrouble(f"The answer of {self._name} is longer than {LONGEST} bytes.")
        return self._answer(status, raw)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "pulpit"}
        credentials = self.settings.credentials
        if isinstance(credentials, Token):
            headers["Authorization"] = f"Bearer {credentials.secret}"
        elif credentials is not None:
            pair = f"{credentials.user}:{credentials.password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        return headers

    def _answer(self, status: int, raw: bytes) -> Answer:
        try:
            body = json.loads(raw) if raw else None
        except (ValueError, RecursionError):
            if status < _FIRST_REFUSAL:
                raise ServerTrouble(f"{self._name} answered with something that is not JSON.") from None
            sentence = f"{self._name} answered with status {status} and no reason; is a Pulp server there?"
            raise trouble(status, sentence) from None
        if status >= _FIRST_REFUSAL:
            raise refusal(status, body, asker=self._asker())
        return Answer(status=status, body=body)

    def _asker(self) -> Asker:
        match self.settings.credentials:
            case None:
                return Asker.NOBODY if self.settings.certificate is None else Asker.SESSION
            case Token():
                return Asker.TOKEN
            case given:
                return Asker.FIRST_PASSWORD if given.is_first else Asker.USER
