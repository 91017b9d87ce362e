"""The readers of the Pulp 3s in `[pulp3]` and `[pulp3:NAME]`; psycopg is imported only for them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pulpit.clock import system_clock
from pulpit.errors import ConfigurationError
from pulpit.net.addresses import is_loopback
from pulpit.settings import Settings
from pulpit.store.database import Database

if TYPE_CHECKING:
    from pulpit.pulp3.reader import Reader


def pulp3_readers(settings: Settings, database: Database) -> "Sequence[Reader]":
    """Return a reader for each configured Pulp; none has connected yet.

    Raises:
        ConfigurationError: a URL or a password file is invalid, or PostgreSQL's client is not installed.
    """
    if not settings.pulps:
        return ()
    try:
        from pulpit.pulp3.reader import Reader  # noqa: PLC0415 - an extra of the installation
    except ModuleNotFoundError:
        reason = "a Pulp 3 needs: pip install 'pulpit[postgresql]'."
        raise ConfigurationError("[pulp3] database_url", reason) from None
    return [Reader(name, section, database, system_clock) for name, section in settings.pulps.items()]


def pulp3_api(settings: Settings) -> str:
    """Return the API's root URL of the Pulp 3 whose users may log in here; empty if none is configured.

    Raises:
        ConfigurationError: it is not a URL, or passwords would be sent unencrypted to another machine.
    """
    url = settings.pulp3.api_url
    if not url:
        return ""
    from pulpit.pulp3.translation import api_root  # noqa: PLC0415 - most servers have no Pulp 3

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigurationError("[pulp3] api_url", "it is not a URL such as https://pulp.example.com/pulp/.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        reason = "passwords of Pulp's users would go unencrypted to another machine; use https."
        raise ConfigurationError("[pulp3] api_url", reason)
    return f"{parts.scheme}://{parts.netloc}{api_root(url)}"
