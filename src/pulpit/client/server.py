# SPDX-License-Identifier: Apache-2.0
"""The server as seen from here: one request, one answer, every failure told in a sentence."""

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from pulpit.client.failures import (
    Asker,
    Failure,
    NoConnection,
    ServerTrouble,
    WrongData,
    WrongSettings,
    refusal,
    trouble,
)
from pulpit.client.settings import Settings
from pulpit.net.tls import client_context
from pulpit.text import system_reason

_SECONDS: Final = 60.0
_MAXIMUM_ANSWER: Final = 256 * 1024 * 1024
_HOST_MISMATCH: Final = 62  # X509_V_ERR_HOSTNAME_MISMATCH
_ADDRESS_MISMATCH: Final = 64  # X509_V_ERR_IP_ADDRESS_MISMATCH
_FIRST_REFUSAL: Final = 300
_V1: Final = "/pulpit/v1/"

Query = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A success: its status and its JSON (None for an empty body)."""

    status: int
    body: Any


def path_of(*parts: str) -> str:
    """Join names to a path below `/v2`, each name quoted so that it stays one name."""
    return "/v2/" + "".join(f"{quote(part, safe='')}/" for part in parts)


def v1_path(*parts: str) -> str:
    """Join names to a path of what Pulp 2 never had; it stands at the root, not below the configured prefix."""
    return _V1 + "/".join(quote(part, safe="") for part in parts)


class Server:
    """A connection's settings; every call opens a connection of its own, so that a pause between two costs nothing."""

    def __init__(self, settings: Settings) -> None:
        self.settings: Final = settings
        self._name: Final = f"{settings.url.scheme}://{settings.url.netloc}"

    def get(self, path: str, query: Query | None = None) -> Any:
        """Read."""
        return self.call("GET", path, query=query).body

    def post(self, path: str, body: Any = None) -> Any:
        """Create, or ask for an action."""
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
        """Send one request; `bytes` go as they are, everything else as JSON.

        Raises:
            Failure: whatever went wrong, by kind; see `pulpit.client.failures`.
        """
        prefix = "" if path.startswith(_V1) else self.settings.prefix
        target = prefix + path + ("?" + urlencode(query, doseq=True) if query else "")
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode("ascii")
        connection = self._connection()
        try:
            connection.request(method, target, content, {**self._headers(), **(headers or {})})
            response = connection.getresponse()
            raw = response.read(_MAXIMUM_ANSWER + 1)
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise self._in_words(error) from None
        finally:
            connection.close()
        return self._answer(response, raw)

    def _connection(self) -> http.client.HTTPConnection:
        url = self.settings.url
        host = url.hostname or ""
        if url.scheme == "http":
            return http.client.HTTPConnection(host, url.port or 80, timeout=_SECONDS)
        return http.client.HTTPSConnection(host, url.port or 443, timeout=_SECONDS, context=self._trust())

    def _trust(self) -> ssl.SSLContext:
        path = self.settings.ca_path
        try:
            context = client_context(path)
        except OSError as error:
            raise WrongSettings(f"No certificates can be read from {path}: {error}") from None
        self._show_session(context)
        if not self.settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _show_session(self, context: ssl.SSLContext) -> None:
        if self.settings.certificate is not None:
            try:
                context.load_cert_chain(self.settings.certificate)
            except (OSError, ssl.SSLError):
                path = self.settings.certificate
                raise WrongSettings(f"{path} holds no session; log in again, or run: pulp-admin logout") from None

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "pulpit"}
        credentials = self.settings.credentials
        if credentials is not None:
            pair = f"{credentials.user}:{credentials.password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        return headers

    def _answer(self, response: http.client.HTTPResponse, raw: bytes) -> Answer:
        if len(raw) > _MAXIMUM_ANSWER:
            raise ServerTrouble(f"The answer of {self._name} is longer than {_MAXIMUM_ANSWER} bytes.")
        try:
            body = json.loads(raw) if raw else None
        except (ValueError, RecursionError):
            if response.status < _FIRST_REFUSAL:
                raise ServerTrouble(f"{self._name} answered with something that is not JSON.") from None
            sentence = f"{self._name} answered with status {response.status} and no reason; is a Pulp server there?"
            raise trouble(response.status, sentence) from None
        if response.status >= _FIRST_REFUSAL:
            asker = Asker.NOBODY if self.settings.certificate is None else Asker.SESSION
            if self.settings.credentials is not None:
                asker = Asker.USER
            raise refusal(response.status, body, asker=asker)
        return Answer(status=response.status, body=body)

    def _in_words(self, error: Exception) -> Failure:
        match error:
            case ssl.SSLError():
                return _tls_trouble(self._name, error)
            case socket.gaierror() | UnicodeError():
                return WrongSettings(f"The host of {self._name} is unknown.")
            case TimeoutError():
                return NoConnection(f"No answer from {self._name} within {_SECONDS:.0f} seconds.")
            case OSError():
                reason = system_reason(error)
                return NoConnection(f"Cannot connect to {self._name}: {reason}. Is the server running there?")
        return NoConnection(f"{self._name} does not answer in HTTP ({type(error).__name__}).")


def _tls_trouble(name: str, error: ssl.SSLError) -> Failure:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return NoConnection(f"No TLS connection to {name}: {system_reason(error)}")
    if error.verify_code in {_HOST_MISMATCH, _ADDRESS_MISMATCH}:
        return WrongData(f"The certificate of {name} is for another host: {error.verify_message}")
    return ServerTrouble(
        f"The certificate of {name} is not trusted ({error.verify_message});"
        " name the authority that signed it with --ca-path."
    )
