# SPDX-License-Identifier: Apache-2.0
"""Server and credentials, from options, environment, `admin.conf` and the server's data folder.

Address:      --url, PULPIT_URL, [server] of the configuration files, http://127.0.0.1:24880
Credentials:  -u with -p, --password-file, PULPIT_PASSWORD or a prompt; --token-file, PULPIT_TOKEN; [auth]; over
https
              the session of `login`; `admin-password` in the data folder
Files:        /etc/pulp/admin/admin.conf, ~/.pulp/admin.conf, --config; a later one overrides an earlier one by key
"""

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pulpit.client.failures import WrongSettings, WrongUse
from pulpit.client.streams import read_line
from pulpit.errors import ConfigurationError
from pulpit.net.addresses import is_loopback
from pulpit.net.config_files import (
    ADMIN_PASSWORD_FILE,
    ADMINISTRATOR,
    default_data_dir,
    first_line,
    home_dir,
    ini_flaw,
    read_secret,
)
from pulpit.text import host_and_port, system_reason

DEFAULT_URL: Final = "http://127.0.0.1:24880"
DEFAULT_PREFIX: Final = "/pulp/api"
SYSTEM_FILE: Final = Path("/etc/pulp/admin/admin.conf")

_PULP2_PORT: Final = 443


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A user and the password, which its repr does not show."""

    user: str
    password: str = field(repr=False)
    is_first: bool = False
    """Whether the server left the password in its data folder, and nobody has given it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token, which its repr does not show."""

    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The command line's values; None is "not given"."""

    url: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    token_file: Path | None = None
    config: Path | None = None
    ca_path: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of a connection."""

    url: SplitResult
    prefix: str = DEFAULT_PREFIX
    verify: bool = True
    ca_path: Path | None = None
    credentials: Credentials | Token | None = None
    certificate: Path | None = None
    """Of the session of `login`; used if there are no credentials."""
    poll_seconds: float = 0.5

    @property
    def server_name(self) -> str:
        """The server's name in messages, without path and password."""
        return f"{self.url.scheme}://{self.url.netloc}"


def load(
    options: Options, environment: Mapping[str, str], ask: Callable[[str], str], system_file: Path = SYSTEM_FILE
) -> Settings:
    """Combine all sources; `ask` is called with the user's name if only that is known.

    Raises:
        WrongSettings: a file or an address is invalid, or a file with a secret is readable by others.
        WrongUse: a password without a user.
    """
    files = [system_file]
    with contextlib.suppress(ConfigurationError):  # without a home folder, as in some containers
        files.append(home_dir() / ".pulp" / "admin.conf")
    read = _read([path for path in files if path.is_file()] + ([options.config] if options.config else []))
    places = {
        "--url": options.url,
        "PULPIT_URL": environment.get("PULPIT_URL"),
        "[server] of admin.conf": _configured_url(read),
        "the default": DEFAULT_URL,
    }
    url = _url(*next((place, text) for place, text in places.items() if text))
    credentials = _given_token(options, environment) or _credentials(options, environment, read, url, ask)
    configured = read.get("server", "ca_path", fallback="")
    try:
        verify = read.getboolean("server", "verify_ssl", fallback=True)
    except ValueError:
        raise WrongSettings("[server] verify_ssl must be true or false.") from None
    return Settings(
        url=url,
        prefix="/" + read.get("server", "api_prefix", fallback=DEFAULT_PREFIX).strip("/"),
        verify=verify,
        ca_path=options.ca_path or (_expanded(configured, "[server] ca_path") if configured else None),
        credentials=credentials,
        certificate=None if credentials else _session(url),
        poll_seconds=_seconds(read),
    )


def _read(paths: list[Path]) -> ConfigParser:
    read = ConfigParser(interpolation=None)
    for path in paths:
        try:
            with path.open(encoding="utf-8") as file:
                read.read_file(file)
                mode = os.fstat(file.fileno()).st_mode
        except PermissionError:
            if path == SYSTEM_FILE:
                continue
            raise WrongSettings(f"{path} cannot be read.") from None
        except OSError as error:
            raise WrongSettings(f"{path} cannot be read: {system_reason(error)}.") from None
        except UnicodeDecodeError:
            raise WrongSettings(f"{path} cannot be read: it is no text in UTF-8.") from None
        except Error as error:
            raise WrongSettings(f"{path} cannot be read: {ini_flaw(error)}.") from None
        secrets = [option for option in ("password", "token") if read.has_option("auth", option)]
        if secrets and mode & stat.S_IRWXO:
            raise WrongSettings(f"{path} holds a {secrets[0]} and can be read by others; run: chmod o-rwx {path}")
    return read


def _configured_url(read: ConfigParser) -> str | None:
    if read.has_option("server", "url"):
        return read.get("server", "url")
    if not read.has_option("server", "host"):
        return None
    host = read.get("server", "host")
    port = read.get("server", "port", fallback=str(_PULP2_PORT))
    return f"https://{host_and_port(host, port)}"


def _url(place: str, text: str) -> SplitResult:
    """Parse the server's address; an invalid one is not quoted, because it may hold a password."""
    try:
        url = urlsplit(text)
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise WrongSettings(f"The server's address in {place} must look like http://host:port or https://host:port.")
    if url.username is not None:
        raise WrongSettings("The server's address must not hold a user; give it with -u.")
    return url


def _seconds(read: ConfigParser) -> float:
    try:
        seconds = read.getfloat("output", "poll_frequency_in_seconds", fallback=0.5)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3600:  # noqa: PLR2004 - an hour
        raise WrongSettings("[output] poll_frequency_in_seconds must be a number above 0 and at most 3600.")
    return seconds


def _given_token(options: Options, environment: Mapping[str, str]) -> Token | None:
    of_user = options.username is not None or options.password is not None or options.password_file is not None
    if options.token_file is not None and of_user:
        raise WrongUse("A token is shown instead of a user and a password; give one or the other.")
    if options.token_file is not None:
        return _token(secret_from(options.token_file, "--token-file"), "--token-file")
    found = "" if of_user else environment.get("PULPIT_TOKEN")
    return _token(found, "PULPIT_TOKEN") if found else None


def _credentials(
    options: Options,
    environment: Mapping[str, str],
    read: ConfigParser,
    url: SplitResult,
    ask: Callable[[str], str],
) -> Credentials | Token | None:
    password = options.password
    if password is None and options.password_file is not None:
        password = secret_from(options.password_file)
    if password is None:
        password = environment.get("PULPIT_PASSWORD")
    user = options.username or environment.get("PULPIT_USERNAME")
    if user is None and (options.password is not None or options.password_file is not None):
        raise WrongUse("A password needs its user; give it with -u.")
    if user is not None or password is not None:
        user = user or ADMINISTRATOR
        return Credentials(user=user, password=ask(user) if password is None else password)
    if read.has_option("auth", "token"):
        return _token(read.get("auth", "token"), "[auth] token")
    if read.has_option("auth", "username") and read.has_option("auth", "password"):
        return Credentials(user=read.get("auth", "username"), password=read.get("auth", "password"))
    if _session(url):
        return None
    return _left_by_server(environment) if is_loopback(url.hostname or "") else None


def _token(text: str, source: str) -> Token:
    secret = text.strip()
    if not (secret.isascii() and secret.isprintable() and secret and " " not in secret):
        raise WrongSettings(f"{source} holds no token; it is one word, as `pulp-admin auth token create` has shown it.")
    return Token(secret=secret)


def session_file() -> Path:
    """Return where `login` stores key and certificate, as in Pulp 2's client.

    Raises:
        WrongSettings: the user has no home folder.
    """
    try:
        return home_dir() / ".pulp" / "user-cert.pem"
    except ConfigurationError as error:
        raise WrongSettings(str(error)) from None


def _session(url: SplitResult) -> Path | None:
    if url.scheme != "https":
        return None
    with contextlib.suppress(WrongSettings):
        path = session_file()
        return path if path.is_file() else None
    return None


def _left_by_server(environment: Mapping[str, str]) -> Credentials | None:
    """Return the credentials that the server wrote at its first start, if we may read them; for this machine only."""
    given = environment.get("PULPIT_DATA_DIR")
    try:
        path = (_expanded(given, "PULPIT_DATA_DIR") if given else default_data_dir()) / ADMIN_PASSWORD_FILE
        if not path.is_file():
            return None
        password = secret_from(path, "The administrator's password")
        return Credentials(user=ADMINISTRATOR, password=password, is_first=True)
    except (PermissionError, ConfigurationError):
        return None


def _expanded(text: str, place: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise WrongSettings(f"{place} begins with ~ and names no user's home folder.") from None


def secret_lines(path: Path, source: str) -> list[str]:
    """Read the non-empty lines of a file that nobody else may read.

    Raises:
        WrongSettings: the file that `source` names cannot be read or is readable by others.
    """
    try:
        return [line.strip() for line in read_secret(path, source).splitlines() if line.strip()]
    except ConfigurationError as error:
        raise WrongSettings(str(error)) from None


def secret_from(path: Path, source: str = "--password-file") -> str:
    """Read a password, the first line of a file that nobody else may read; `-` is standard input.

    Raises:
        WrongSettings: the file that `source` names cannot be read or is readable by others.
    """
    if str(path) == "-":
        return read_line()
    try:
        return first_line(read_secret(path, source))
    except ConfigurationError as error:
        raise WrongSettings(str(error)) from None
