"""Where the brokers are and who asks, from the option, the environment or a file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pulpit.cleartext import check_password_is_safe
from pulpit.errors import ConfigurationError
from pulpit.subscriber.address import Address, parse_all

URL_VARIABLE: Final = "PULPIT_AMQP_URL"
ALLOW_PLAIN: Final = "--allow-plain-without-tls"

_MAXIMUM_URL_FILE: Final = 4096


def choose(
    *,
    url: str | None,
    url_file: Path | None,
    host: str | None,
    port: int | None,
    environment: Mapping[str, str],
    allow_plain: bool = False,
) -> tuple[Address, ...]:
    """Take the URLs from the option, else the file, else the environment; host and port given alone change them.

    Raises:
        ConfigurationError: what was given is no AMQP URL, or the file cannot be read or is open to others, or the
            password would travel unencrypted to another machine and `allow_plain` does not permit it.
    """
    source, named = _named(url, url_file, environment)
    addresses = tuple(replace(one, host=host or one.host, port=port or one.port) for one in named)
    source = "--address" if host else source
    for one in addresses:
        check_password_is_safe(source, one.host, tls=one.tls, allowed=allow_plain, permission=ALLOW_PLAIN)
    return addresses


def _named(url: str | None, url_file: Path | None, environment: Mapping[str, str]) -> tuple[str, tuple[Address, ...]]:
    if url is not None:
        return "--url", parse_all(url, "--url")
    if url_file is not None:
        return "--url-file", parse_all(_private_line(url_file), "--url-file")
    if environment.get(URL_VARIABLE):
        return URL_VARIABLE, parse_all(environment[URL_VARIABLE], URL_VARIABLE)
    return "--address", (Address(),)


def _private_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = path.stat().st_mode
            line = file.readline(_MAXIMUM_URL_FILE).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("--url-file", f"{path} cannot be read ({error})") from None
    if mode & 0o077:
        raise ConfigurationError("--url-file", f"{path} can be read by others; run: chmod 600 {path}")
    return line
