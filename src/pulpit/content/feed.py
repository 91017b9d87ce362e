"""The configuration that all importers share: the feed and how to reach it."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from pulpit.content import paths
from pulpit.content.port import Config
from pulpit.errors import InvalidValue, UnsupportedValue

POLICIES: Final = ("immediate", "background", "on_demand")
MOST_DOWNLOADS: Final = 100
MOST_RETAINED: Final = 1_000_000
"""Maximum of `retain_old_count`."""
_MOST_PORT: Final = 65535
_MOST_HOSTS: Final = 100
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_TOKEN: Final = re.compile(r"[!\"$-~]+")

SECRET_KEYS: Final = frozenset({"basic_auth_password", "proxy_password", "query_auth_token", "ssl_client_key"})
"""Keys of any importer's or distributor's configuration that are never shown again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """How to reach an upstream; PEM texts, speeds in bytes per second for each download."""

    url: str
    ssl_ca_cert: str | None
    ssl_client_cert: str | None
    ssl_client_key: str | None
    ssl_client_cert_hosts: frozenset[str]
    """Further hosts that may receive the client certificate, in lower case."""
    ssl_validation: bool
    proxy: str | None
    proxy_username: str | None
    proxy_password: str | None
    username: str | None
    password: str | None
    token: str | None
    """Sent as the query of every URL below the feed, and of no other."""
    max_speed: float | None
    max_downloads: int | None

    @classmethod
    def of(cls, config: Config) -> "Feed | None":
        """Read a checked configuration; `None` if it names no feed."""
        if not config.get("feed"):
            return None
        host, port = config.get("proxy_host"), config.get("proxy_port")
        proxy = host if host is None or "://" in host else f"http://{host}"
        address, _, token = config["feed"].partition("?") if _has_token(config["feed"]) else (config["feed"], "", "")
        return cls(
            url=address if "?" in address else address.rstrip("/") + "/",
            token=token or (config.get("query_auth_token") or "").lstrip("?") or None,
            proxy=f"{proxy.rstrip('/')}:{port}" if proxy and port else proxy,
            ssl_client_cert_hosts=frozenset(host.lower() for host in config.get("ssl_client_cert_hosts") or ()),
            ssl_validation=config.get("ssl_validation") is not False,
            username=config.get("basic_auth_username"),
            password=config.get("basic_auth_password"),
            **{name: config.get(name) for name in _SAME_NAME},
        )


def without_credentials(config: dict[str, Any]) -> dict[str, Any]:
    """Move a user and a password from the feed's URL to the keys of their own, where Pulp 2 keeps and shows them."""
    url = config.get("feed")
    scheme, separator, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    authority, slash, path = rest.partition("/")
    login, at, host = authority.rpartition("@")
    if not (separator and at):
        return config
    user, _, password = login.partition(":")
    names = {"basic_auth_username": unquote(user), "basic_auth_password": unquote(password)}
    kept = {key: value for key, value in config.items() if key not in names}
    return kept | {"feed": f"{scheme}://{host}{slash}{path}"} | {key: value for key, value in names.items() if value}


def _has_token(url: str) -> bool:
    """Whether the query of a feed is a token for all below it, as in SUSE's URLs, and not part of a mirrorlist's URL.

    The path of a mirrorlist does not end in a slash, unless it is the root of its host.
    """
    parts = urlsplit(url)
    return bool(parts.query) and parts.path.endswith("/") and parts.path != "/"


_SAME_NAME: Final = (
    "ssl_ca_cert",
    "ssl_client_cert",
    "ssl_client_key",
    "proxy_username",
    "proxy_password",
    "max_speed",
    "max_downloads",
)


def beneath(url: str, relative_path: str) -> str:
    """Return the URL of a path below a URL that ends in a slash."""
    return url + quote(relative_path)


def boolean(name: str, value: Any) -> None:
    """Reject anything but true and false."""
    if not isinstance(value, bool):
        raise InvalidValue(name, "it must be true or false.")


def text(name: str, value: Any) -> None:
    """Reject anything but text on one line."""
    if not isinstance(value, str) or any(ord(character) < ord(" ") for character in value):
        raise InvalidValue(name, "it must be text on one line.")


def pem(name: str, value: Any) -> None:
    """Reject anything but PEM."""
    if not isinstance(value, str) or "-----BEGIN " not in value:
        raise InvalidValue(name, "it must be the content of a PEM file.")


def _hosts(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(host, str) and _HOST.fullmatch(host) for host in value):
        raise InvalidValue(name, "it must be a list of names of hosts, without scheme and port.")
    if len(value) > _MOST_HOSTS:
        raise InvalidValue(name, f"there are {len(value)} of them; {_MOST_HOSTS} are the most.")


def whole(least: int, most: int) -> Callable[[str, Any], None]:
    """Return a check for a whole number between bounds."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidValue(name, f"it must be a whole number from {least} to {most}.")

    return check


def one_of(values: Collection[str]) -> Callable[[str, Any], None]:
    """Return a check for one of a few words."""

    def check(name: str, value: Any) -> None:
        if value not in values:
            raise InvalidValue(name, f"it must be one of {', '.join(values)}.")

    return check


def _speed(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise InvalidValue(name, "it must be a number of bytes per second above 0.")


def url(name: str, value: Any) -> None:
    """Reject anything but an HTTP URL; one with a query is a mirrorlist, or carries a token."""
    text(name, value)
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.fragment:
        raise InvalidValue(name, "it must be a URL such as http://host/folder/.")
    if any(character.isspace() for character in value):
        raise InvalidValue(name, "it has a blank, which no URL has; in a path it is written %20.")


def _url(name: str, value: Any) -> None:
    url(name, value)
    if "?" in value and not _has_token(value):
        sentence = "it must be a URL such as http://host/folder/ or http://host/folder/?TOKEN."
        raise InvalidValue(name, sentence)


def _token(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise InvalidValue(name, "it must be the query of a URL: printable ASCII without blanks and #.")


def relative_url(name: str, value: Any) -> None:
    """Reject an invalid path to publish at; a leading slash, as the original client may send, is ignored."""
    text(name, value)
    reason = paths.flaw(value.strip("/")) if value else None
    if reason:
        raise InvalidValue(name, f"it {reason}.")


def place(repo_id: str, config: Config) -> str:
    """Return the path at which a distributor publishes: its `relative_url`, else the repository's id."""
    return (config.get("relative_url") or "").strip("/") or repo_id


CHECKS: Final[dict[str, Callable[[str, Any], None]]] = {
    "feed": _url,
    "validate": boolean,
    "ssl_ca_cert": pem,
    "ssl_client_cert": pem,
    "ssl_client_key": pem,
    "ssl_client_cert_hosts": _hosts,
    "ssl_validation": boolean,
    "proxy_host": text,
    "proxy_port": whole(1, _MOST_PORT),
    "proxy_username": text,
    "proxy_password": text,
    "basic_auth_username": text,
    "basic_auth_password": text,
    "max_downloads": whole(1, MOST_DOWNLOADS),
    "max_speed": _speed,
    "remove_missing": boolean,
    "download_policy": one_of(POLICIES),
    "force_full": boolean,
    "query_auth_token": _token,
    "allow_empty": boolean,
}
_NEEDS: Final = {
    "ssl_client_key": "ssl_client_cert",
    "ssl_client_cert_hosts": "ssl_client_cert",
    "proxy_port": "proxy_host",
    "proxy_username": "proxy_host",
    "proxy_password": "proxy_username",
    "basic_auth_password": "basic_auth_username",
}


def check(config: Config, further: Mapping[str, Callable[[str, Any], None]] | None = None) -> None:
    """Check an importer's configuration; a null value counts as absent.

    Raises:
        InvalidValue: a value is invalid.
        UnsupportedValue: the key is unknown.
    """
    check_keys(config, {**CHECKS, **(further or {})})
    for name, needed in _NEEDS.items():
        if config.get(name) is not None and config.get(needed) is None:
            raise InvalidValue(name, f"it needs {needed} too.")


def check_keys(config: Config, checks: Mapping[str, Callable[[str, Any], None]]) -> None:
    """Check every value that is not null by its key's rule.

    Raises:
        InvalidValue: a value is invalid.
        UnsupportedValue: the key is unknown.
    """
    unknown = sorted(config.keys() - checks.keys())
    if unknown:
        raise UnsupportedValue(unknown)
    for name, value in config.items():
        if value is not None:
            checks[name](name, value)
