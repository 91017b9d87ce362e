"""Whether a server responds at its configured address; for `pulpit health` and `pulpit doctor`."""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any, Final

from pulpit.net.tls import in_words
from pulpit.settings import Settings
from pulpit.text import host_and_port, one_line

PATIENCE_S: Final = 5.0
"""Timeout in seconds for a response."""
LONGEST_REASON: Final = 200
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not listened on
_LONGEST_ANSWER: Final = 1_000_000


def reachable(host: str) -> str:
    """Return an address at which this machine reaches a server that listens on `host`."""
    return _EVERYWHERE.get(host, host)


def url_of(settings: Settings) -> str:
    scheme = "https" if settings.server.ssl_certificate else "http"
    return f"{scheme}://{host_and_port(reachable(settings.server.host), settings.server.port)}"


def ask(settings: Settings, path: str) -> dict[str, Any]:
    """Send a request without login, bypassing any proxy.

    Raises:
        OSError: nobody responds, or the status is an error.
        ValueError: the response is not JSON.
    """
    context = None
    if settings.server.ssl_certificate:  # trust the server's own certificate, whatever its name
        context = ssl.create_default_context(cafile=settings.server.ssl_certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(f"{url_of(settings)}{path}", timeout=PATIENCE_S) as answer:
        found: dict[str, Any] = json.loads(answer.read(_LONGEST_ANSWER))
    return found


def why_not(error: OSError | ValueError) -> str:
    """Describe an error of `ask` to users."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"it says {error.code}"
    if isinstance(cause, ssl.SSLError):
        return in_words(cause).rstrip(".")
    return one_line(str(getattr(cause, "strerror", None) or cause), LONGEST_REASON)
