"""Where Pulpit is and who asks it, by `events.toml`, the environment and pulp-cli's profile; and the asking itself."""

import contextlib
import ipaddress
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import click
import requests
from pulp_cli.generic import PulpCLIContext

DEFAULT_URL: Final = "http://127.0.0.1:24880"
FILES: Final = (Path("/etc/pulp/events.toml"), Path(click.utils.get_app_dir("pulp"), "events.toml"))
KEYS: Final = frozenset({"url", "username", "password", "password_file", "verify_ssl"})
LISTENERS: Final = "/pulp/api/v2/events/"
V1: Final = "/pulpit/v1"
TIMEOUT: Final = 60
"""Seconds for one request."""
_PROFILE: Final = "pulp_cli.profile"
"""The key under which pulp-cli keeps the name of its profile."""
_SAFE: Final = frozenset({"GET", "HEAD"})


class Pulpit:
    """The server, asked as one user."""

    def __init__(self, context: PulpCLIContext) -> None:
        root = click.get_current_context().find_root()
        settings = _settings(root.meta.get(_PROFILE))
        self.context: Final = context
        self._dry_run: Final = bool(root.params.get("dry_run"))
        self._url: Final = (os.environ.get("PULPIT_URL") or settings.get("url", DEFAULT_URL)).rstrip("/")
        if not re.match(r"(?i)https?://[^/@]+(/|\Z)", self._url):
            raise click.ClickException(
                "url in events.toml, or PULPIT_URL, must look like https://pulpit.example.com:24880."
            )
        self._session: Final = requests.Session()
        self._session.trust_env = False  # a ~/.netrc would beat the user that was named
        self._session.verify = settings.get("verify_ssl", True)
        self._session.auth = self._user(settings)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send one request and return what the reply's JSON holds.

        Raises:
            click.ClickException: it failed, in a sentence.
        """
        if self._dry_run and method not in _SAFE:
            raise click.ClickException(f"Nothing was done, as --dry-run says: {method} {path}")
        return self._send(method, path, body, query)

    def ask(self, path: str, body: Any) -> Any:
        """Ask something by POST that changes nothing, so that pulp-cli's --dry-run lets it through.

        Raises:
            click.ClickException: it failed, in a sentence.
        """
        return self._send("POST", path, body, {})

    def _send(self, method: str, path: str, body: Any, query: dict[str, Any]) -> Any:
        try:
            reply = self._session.request(
                method, f"{self._url}{path}", json=body, params=query, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise click.ClickException(f"{self._url} does not speak TLS as https needs it.") from None
            raise click.ClickException(f"The certificate of {self._url} is not trusted; see verify_ssl.") from None
        except requests.exceptions.RequestException as error:
            reason = type(error).__name__
            raise click.ClickException(f"Pulpit cannot be reached at {self._url} ({reason}).") from None
        except OSError:  # of requests, for a file of authorities that is not there
            raise click.ClickException(f"{self._session.verify} cannot be read; see verify_ssl.") from None
        with contextlib.suppress(ValueError):  # a page of something else
            if reply.ok and not reply.is_redirect:
                return reply.json() if reply.content else None
        raise click.ClickException(_failure(reply, self._url))

    def show(self, result: Any) -> None:
        """Print a result in the format that pulp-cli was asked for."""
        self.context.output_result(result)

    def _user(self, settings: dict[str, Any]) -> tuple[bytes, bytes] | None:
        """Who asks: the environment's, the file's, or the user of pulp-cli's profile."""
        username = os.environ.get("PULPIT_USERNAME") or settings.get("username") or self.context.username
        if username is None:
            return None
        password = os.environ.get("PULPIT_PASSWORD") or _password(settings)
        if password is None and username == self.context.username:
            password = self.context.password
        parts = urlsplit(self._url)
        if parts.scheme != "https" and not _is_this_machine(parts.hostname or ""):
            raise click.ClickException(f"A password does not go over http to another machine: {self._url}; use https.")
        if password is None:
            password = click.prompt(f"Password of {username} at {self._url}", hide_input=True)
        return str(username).encode(), str(password).encode()


def path_of(listener_id: str, *words: str) -> str:
    """Where a listener is, or what can be done with it."""
    name = quote(listener_id, safe="")
    return (
        "/".join((f"{V1}/listeners/{name}", *(quote(word, safe="") for word in words)))
        if words
        else f"{LISTENERS}{name}/"
    )


def _settings(profile: str | None) -> dict[str, Any]:
    """The section of pulp-cli's profile; the user's own file goes before the machine's."""
    section = f"cli-{profile}" if profile else "cli"
    found: dict[str, Any] = {}
    for path in FILES:
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text).get(section, {})
        except (FileNotFoundError, PermissionError):
            continue
        except ValueError:  # what it says may quote a password
            raise click.ClickException(f"{path} is no TOML.") from None
        except OSError as error:
            raise click.ClickException(f"{path} cannot be read ({error.strerror}).") from None
        if not isinstance(values, dict) or values.keys() - KEYS:
            raise click.ClickException(f"{path}: [{section}] may hold {', '.join(sorted(KEYS))}.")
        for key, value in values.items():
            if not isinstance(value, str) and not (key == "verify_ssl" and isinstance(value, bool)):
                words = "true, false or a file" if key == "verify_ssl" else "text in quotes"
                raise click.ClickException(f"{path}: {key} of [{section}] must be {words}.")
        if "password" in values and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise click.ClickException(f"{path} holds a password and is open to others; run: chmod 600 {path}")
        found |= values
    return found


def _password(settings: dict[str, Any]) -> str | None:
    if "password_file" not in settings:
        return settings.get("password")
    path = Path(settings["password_file"]).expanduser()
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise click.ClickException(f"{path} holds a password and is open to others; run: chmod 600 {path}")
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise click.ClickException(f"{path} cannot be read ({reason}).") from None


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _failure(reply: requests.Response, url: str) -> str:
    """What the server says of a refusal."""
    try:
        said = str(reply.json()["error_message"])
    except (ValueError, KeyError, TypeError):
        return f"{url} replied {reply.status_code} and is perhaps no Pulpit; see url in events.toml, or PULPIT_URL."
    return "".join(character for character in said if character.isprintable())
