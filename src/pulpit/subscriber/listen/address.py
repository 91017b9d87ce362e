"""Where the brokers are and who asks, from the option, the environment or a file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pulpit.net.config_files import first_line, read_secret
from pulpit.subscriber.address import Address, check_safe, parse_all

URL_VARIABLE: Final = "PULPIT_AMQP_URL"
ALLOW_PLAIN: Final = "--allow-plain-without-tls"


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
        check_safe(one, source, allowed=allow_plain, permission=ALLOW_PLAIN)
    return addresses


def _named(url: str | None, url_file: Path | None, environment: Mapping[str, str]) -> tuple[str, tuple[Address, ...]]:
    if url is not None:
        return "--url", parse_all(url, "--url")
    if url_file is not None:
        return "--url-file", parse_all(first_line(read_secret(url_file, "--url-file")), "--url-file")
    if environment.get(URL_VARIABLE):
        return URL_VARIABLE, parse_all(environment[URL_VARIABLE], URL_VARIABLE)
    return "--address", (Address(),)
