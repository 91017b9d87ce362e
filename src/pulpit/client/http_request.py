# SPDX-License-Identifier: Apache-2.0
"""One HTTP request on one connection, with TLS for https; every failure becomes a sentence."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from pulpit.client.failures import Failure, NoConnection, NotSent, ServerTrouble, WrongData, WrongSettings
from pulpit.client.settings import Settings
from pulpit.net.tls import client_context
from pulpit.text import system_reason

LONGEST: Final = 256 * 1024 * 1024
"""Bytes of a response."""
_SECONDS: Final = 60.0
_HOST_MISMATCH: Final = 62  # X509_V_ERR_HOSTNAME_MISMATCH
_ADDRESS_MISMATCH: Final = 64  # X509_V_ERR_IP_ADDRESS_MISMATCH


def send(settings: Settings, method: str, target: str, content: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Return status and body of the response; reads at most one byte more than the limit.

    Raises:
        Failure: there was no response.
    """
    connection = _connection(settings)
    try:
        connection.request(method, target, content, headers)
        response = connection.getresponse()
        return response.status, response.read(LONGEST + 1)
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise _in_words(settings.server_name, error) from None
    finally:
        connection.close()


def _connection(settings: Settings) -> http.client.HTTPConnection:
    url = settings.url
    host = url.hostname or ""
    if url.scheme == "http":
        return http.client.HTTPConnection(host, url.port or 80, timeout=_SECONDS)
    return http.client.HTTPSConnection(host, url.port or 443, timeout=_SECONDS, context=_trust(settings))


def _trust(settings: Settings) -> ssl.SSLContext:
    path = settings.ca_path
    try:
        context = client_context(path)
    except OSError as error:
        reason = "it holds none" if isinstance(error, ssl.SSLError) else system_reason(error)
        raise WrongSettings(f"No certificates can be read from {path}: {reason}.") from None
    _show_session(settings, context)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _show_session(settings: Settings, context: ssl.SSLContext) -> None:
    if settings.certificate is not None:
        try:
            context.load_cert_chain(settings.certificate)
        except (OSError, ssl.SSLError):
            path = settings.certificate
            raise WrongSettings(f"{path} holds no session; log in again, or run: pulp-admin logout") from None


def _in_words(name: str, error: Exception) -> Failure:
    match error:
        case ssl.SSLError():
            return _tls_trouble(name, error)
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return NotSent(f"The host of {name} cannot be looked up now: {system_reason(error)}.")
        case socket.gaierror() | UnicodeError():
            return WrongSettings(f"The host of {name} is unknown.")
        case TimeoutError():
            return NoConnection(f"No answer from {name} within {_SECONDS:.0f} seconds.")
        case OSError():
            reason = system_reason(error)
            failure = NotSent if isinstance(error, ConnectionRefusedError) else NoConnection
            is_maybe_tls = isinstance(error, ConnectionResetError) and name.startswith("http://")
            question = "Is it https://, or has the server stopped?" if is_maybe_tls else "Is the server running there?"
            return failure(f"Cannot connect to {name}: {reason}. {question}")
    return NoConnection(f"{name} does not answer in HTTP ({type(error).__name__}).")


def _tls_trouble(name: str, error: ssl.SSLError) -> Failure:
    if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return NoConnection(f"{name} does not speak TLS; is it http://?")
    if not isinstance(error, ssl.SSLCertVerificationError):
        return NoConnection(f"No TLS connection to {name}: {system_reason(error)}")
    if error.verify_code in {_HOST_MISMATCH, _ADDRESS_MISMATCH}:
        return WrongData(f"The certificate of {name} is for another host: {error.verify_message}")
    return ServerTrouble(
        f"The certificate of {name} is not trusted ({error.verify_message});"
        " name the authority that signed it with --ca-path."
    )
