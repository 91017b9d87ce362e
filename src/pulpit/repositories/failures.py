"""What may go wrong with a download, in words.

A failure is transient (the connection broke, nothing came for too long, the server says 5xx) and worth another try, or
final (404, another size, another checksum).
"""

from types import TracebackType
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp import ClientResponse, hdrs

from pulpit.content.limits import Limits
from pulpit.content.port import NotForUs, NotThere
from pulpit.errors import WorkFailed
from pulpit.net.addresses import ForbiddenAddress
from pulpit.text import shown, system_reason

_OK: Final = 200
_PARTIAL_CONTENT: Final = 206
_NOT_MODIFIED: Final = 304
_RANGE_NOT_SATISFIABLE: Final = 416
_FORBIDDEN: Final = frozenset({401, 403, 451})
_ABSENT: Final = frozenset({404, 410})
_SERVER_ERROR: Final = 500
_TRANSIENT: Final = frozenset({408, 425, 429})


class DownloadFailed(WorkFailed):
    """A URL could not be had; `transient` if another try may do better."""

    def __init__(self, url: str, reason: str, *, transient: bool = False) -> None:
        super().__init__(f"{public(url)} {reason}.")
        self.url = public(url)
        self.transient = transient


class Absent(DownloadFailed, NotThere):
    """There is nothing at a URL."""


class Forbidden(DownloadFailed, NotForUs):
    """We must not have what is at a URL."""


def public(url: str) -> str:
    """A URL for people, without credentials."""
    parts = urlsplit(url)
    return shown(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), longest=500)


class Failures:
    """Turns what the network does into `DownloadFailed`."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._url: Final = url
        self._limits: Final = limits

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        final = self._final(error)
        if final:
            raise DownloadFailed(self._url, final) from None
        transient = self._transient(error)
        if transient:
            raise DownloadFailed(self._url, transient, transient=True) from None

    def _final(self, error: BaseException | None) -> str:
        reason = ""
        match error:
            case aiohttp.TooManyRedirects():
                reason = f"redirects more than {self._limits.redirects} times"
            case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
                reason = "redirects to something that is no HTTP URL"
            case aiohttp.ClientConnectorError() if isinstance(error.os_error, ForbiddenAddress):
                reason = f"leads where it must not: {error.os_error.strerror}"
            case aiohttp.ClientConnectorCertificateError():
                reason = f"has a certificate that is not trusted ({shown(str(error.certificate_error))})"
            case aiohttp.ClientHttpProxyError():
                reason = f"could not be asked for: the proxy answered {error.status}"
            case aiohttp.ClientSSLError():
                reason = f"could not be reached over TLS ({shown(str(error))})"
        return reason

    def _transient(self, error: BaseException | None) -> str:
        reason = ""
        match error:
            case aiohttp.ConnectionTimeoutError():
                reason = f"could not be connected to within {self._limits.connect_timeout:g} seconds"
            case aiohttp.SocketTimeoutError():
                reason = f"stalled: nothing came for {self._limits.stall_timeout:g} seconds"
            case TimeoutError():
                reason = f"did not answer within {self._limits.answer_timeout:g} seconds"
            case aiohttp.ClientConnectorError():
                reason = f"could not be connected to ({shown(system_reason(error.os_error))})"
            case aiohttp.ClientPayloadError():
                reason = "ended too early: the connection broke off"
            case aiohttp.ClientError():
                reason = f"answered what is not HTTP, or broke off ({shown(str(error)) or type(error).__name__})"
        return reason


def refuse_status(url: str, answer: ClientResponse) -> None:
    """Refuse an answer that holds nothing to read, or another thing than was asked for.

    Raises:
        DownloadFailed: with the status in words.
    """
    expected = {_OK}
    asked = answer.request_info.headers
    if hdrs.RANGE in asked:
        expected |= {_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE}
    if hdrs.IF_NONE_MATCH in asked or hdrs.IF_MODIFIED_SINCE in asked:
        expected.add(_NOT_MODIFIED)
    if answer.status not in expected:
        transient = answer.status >= _SERVER_ERROR or answer.status in _TRANSIENT
        failure = Absent if answer.status in _ABSENT else DownloadFailed
        failure = Forbidden if answer.status in _FORBIDDEN else failure
        reason = shown(answer.reason or "")
        raise failure(url, f"was answered with {answer.status} {reason}".rstrip(), transient=transient)
