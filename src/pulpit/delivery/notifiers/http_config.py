"""The configuration of an http listener, validated and read into one value."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from yarl import URL

from pulpit.delivery import headers as event_headers
from pulpit.delivery.notifiers import templates
from pulpit.delivery.notifiers.http_bodies import BATCHED, JSON, Format
from pulpit.delivery.notifiers.templates import TemplateTrouble
from pulpit.errors import ConfigurationError, InvalidValue
from pulpit.intervals import span_seconds
from pulpit.listener_options import HTTP
from pulpit.net.addresses import ForbiddenAddress, WebhookGuard
from pulpit.net.tls import CertificateFiles, client_context
from pulpit.net.urls import LONGEST_URL, http_url

DEFAULT_TIMEOUT: Final = 15
LONGEST_TIMEOUT: Final = 60
"""Seconds (Standard Webhooks advises 15 to 30)."""
MOST_AT_ONCE: Final = 64
"""Concurrent requests of one listener, if it gives up order or keeps it only within a repository."""
MOST_TOGETHER: Final = 500
"""Events in one request."""
LONGEST_GATHERING: Final = 3600
"""Seconds."""
NO_PROXY: Final = "none"
"""The value of `proxy` that bypasses the server's proxy."""
MOST_HEADERS: Final = 32
LONGEST_HEADER: Final = 4096
LONGEST_LOGIN: Final = 1024

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
_CONTENT_TYPE: Final = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,80}(; ?charset=utf-8)?\Z")
_TEXT: Final = re.compile(r"[\x20-\x7e\t]*\Z")
_FRAMING: Final = frozenset(
    {"connection", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_RESERVED_ROOTS: Final = ("webhook-", "ce-", "pulpit-", "proxy-", "content-", "accept-encoding")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """A proxy: requests in absolute form for `http://`, by CONNECT for `https://`."""

    url: URL
    username: str = ""
    """Empty if the proxy needs no login."""
    password: str = field(default="", repr=False)

    @property
    def hidden(self) -> tuple[str, ...]:
        """The login as text, to be masked in everything that is stored or logged."""
        return (self.password, _basic(self.username, self.password)) if self.username else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """How many events go into one request."""

    most: int
    wait: timedelta
    """How long they are gathered, from the time of the first one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """The receiver of an http listener, and how to post to it."""

    url: URL
    headers: Mapping[str, str]
    """The listener's own, with `Authorization` if it has a user and a password."""
    keys: tuple[bytes, ...]
    plain_key: bytes
    """Signs the body alone, for receivers without Standard Webhooks; empty if not wanted."""
    form: Format
    template: str
    """Renders the body instead of a format; empty for none."""
    content_type: str
    """Of the rendered template."""
    batch: Batch | None
    """`None` posts each event separately."""
    ca_path: str
    client_cert_path: str
    """The certificate that the receiver asks for, with its key; empty for none."""
    timeout: int
    redirects: bool
    proxy: Proxy | None
    """The listener's own; if `None`, the server's is used, unless `direct`."""
    direct: bool
    hidden: tuple[str, ...]
    """Secrets as text, to be masked in everything that is stored or logged."""


def check(config: Mapping[str, Any], guard: WebhookGuard) -> None:
    """Reject an invalid configuration, and an address that the operator did not allow.

    Raises:
        InvalidValue: `notifier_config`.
    """
    hook, key = read(config), "url"
    try:
        guard.check(hook.url.raw_host or "")
        if hook.proxy:
            key = "proxy"
            guard.check(hook.proxy.url.raw_host or "")
        if hook.ca_path:
            client_context(hook.ca_path)
        if hook.client_cert_path:
            client_certificate(hook.client_cert_path).check()
    except ConfigurationError as error:
        raise _invalid(str(error).rstrip(".")) from None
    except ForbiddenAddress as error:
        raise _invalid(f"{key}: {error.strerror}") from None
    except OSError as error:
        raise _invalid(f"ca_path cannot be used ({error.strerror})") from None


def read(config: Mapping[str, Any]) -> Hook:
    """Read a configuration.

    Raises:
        InvalidValue: `notifier_config`.
    """
    HTTP.refuse_strangers(config)
    headers = _headers(config.get("headers"))
    login = _login(config)
    if login:
        if any(name.lower() == "authorization" for name in headers):
            raise _invalid("headers: Authorization comes from username and password here; leave one of them out")
        headers["Authorization"] = f"Basic {login}"
    redirects = config.get("redirects")
    if redirects is not None and not isinstance(redirects, bool):
        raise _invalid("redirects must be true or false")
    several, lanes = (_whole(key, config.get(key), otherwise=1, most=MOST_AT_ONCE) for key in ("concurrency", "lanes"))
    if several > 1 and lanes > 1:
        raise _invalid("concurrency gives up the order that lanes keep; leave one of them out")
    form, batch = _form(config.get("format")), _batch(config.get("batch"))
    template, content_type = _template(config)
    if batch and template:
        raise _invalid("a template takes one event at a time, so batch has no meaning beside it; leave one of them out")
    if batch and form not in BATCHED:
        raise _invalid(f"batch is for the formats {', '.join(sorted(BATCHED))}; {form} takes one event at a time")
    if batch and several > 1:
        raise _invalid("concurrency posts events one by one, so batch has no meaning beside it; leave one of them out")
    return Hook(
        url=_url(config.get("url")),
        headers=headers,
        keys=_keys(config),
        plain_key=_plain_key(config),
        form=form,
        template=template,
        content_type=content_type,
        batch=batch,
        ca_path=_path("ca_path", config),
        client_cert_path=_path("client_cert_path", config),
        timeout=_whole("timeout", config.get("timeout"), otherwise=DEFAULT_TIMEOUT, most=LONGEST_TIMEOUT),
        redirects=bool(redirects),
        proxy=_proxy(config),
        direct=config.get("proxy") == NO_PROXY,
        hidden=_hidden(config, login),
    )


def client_certificate(path: str) -> CertificateFiles:
    """Return the files of `client_cert_path`: one holds the certificate and its key."""
    return CertificateFiles(certificate=Path(path), key=Path(path), source="client_cert_path")


def configured_proxy(text: str) -> Proxy | None:
    """Parse `[server] webhook_proxy`; empty is none.

    Raises:
        ConfigurationError: it is invalid; it is not quoted, because it may hold a password.
    """
    if not text:
        return None
    scheme, slashes, rest = text.partition("://")
    place, slash, path = rest.partition("/")
    login, _, place = place.rpartition("@")
    username, _, password = login.partition(":")
    try:
        url = _proxy_url(scheme + slashes + place + slash + path)
    except ValueError as error:
        raise ConfigurationError("[server] webhook_proxy", f"it {error}.") from None
    return Proxy(url=url, username=unquote(username), password=unquote(password))


def _proxy_url(text: str) -> URL:
    url = http_url(text)
    if url.scheme != "http" or url.raw_path_qs not in ("", "/"):
        raise ValueError("must be http:// with a host and a port, such as http://proxy.example.com:3128")
    return url


def _proxy(config: Mapping[str, Any]) -> Proxy | None:
    text = _text("proxy", config.get("proxy"), LONGEST_URL)
    username, password = (_text(key, config.get(key), LONGEST_LOGIN) for key in ("proxy_username", "proxy_password"))
    if (username or password) and text in ("", NO_PROXY):
        raise _invalid("proxy_username and proxy_password are only used beside a proxy")
    if bool(username) != bool(password) or ":" in username:
        raise _invalid("proxy_username, without a colon, and proxy_password belong together")
    if text in ("", NO_PROXY):
        return None
    try:
        return Proxy(url=_proxy_url(text), username=username, password=password)
    except ValueError as error:
        raise _invalid(f"proxy {error}".replace("username and password", "proxy_username and proxy_password")) from None


def _url(text: object) -> URL:
    if not isinstance(text, str) or not text:
        raise _invalid("url is missing: the address that events are posted to")
    try:
        return http_url(text)
    except ValueError as error:
        raise _invalid(f"url {error}") from None


def _login(config: Mapping[str, Any]) -> str:
    """Return Basic credentials; as in Pulp 2 they are sent only if both user and password are given."""
    user, password = (_text(key, config.get(key), LONGEST_LOGIN) for key in ("username", "password"))
    if ":" in user:
        raise _invalid("username must not contain a colon (RFC 7617)")
    return _basic(user, password) if user and password else ""


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _headers(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or len(given) > MOST_HEADERS:
        raise _invalid(f"headers must be an object of at most {MOST_HEADERS} names and values")
    for name, text in given.items():
        _check_header(name, text)
    if len({name.lower() for name in given}) < len(given):
        raise _invalid("headers holds one name twice")
    return dict(given)


def _check_header(name: object, text: object) -> None:
    if not isinstance(name, str) or not _NAME.match(name):
        raise _invalid(f"headers: {str(name)[:100]!r} is no name of a header")
    if name.lower() in _FRAMING or name.lower().startswith(_RESERVED_ROOTS):
        raise _invalid(f"headers: {name} is set by the server itself")
    if not isinstance(text, str) or len(text) > LONGEST_HEADER or not _TEXT.match(text):
        raise _invalid(f"headers: {name} must be at most {LONGEST_HEADER} printable ASCII characters in one line")


def _keys(config: Mapping[str, Any]) -> tuple[bytes, ...]:
    written = {key: _text(key, config.get(key), LONGEST_LOGIN) for key in ("secret", "old_secret")}
    if written["old_secret"] and not written["secret"]:
        raise _invalid("old_secret is only used beside a secret")
    keys: list[bytes] = []
    for name, text in written.items():
        try:
            keys += [event_headers.key_of(text)] if text else []
        except ValueError as error:
            raise _invalid(f"{name} {error}") from None
    return tuple(keys)


def _plain_key(config: Mapping[str, Any]) -> bytes:
    """Return the whole text of the secret as key, as such receivers expect."""
    wanted = config.get("plain_signature")
    if wanted is not None and not isinstance(wanted, bool):
        raise _invalid("plain_signature must be true or false")
    if wanted and not config.get("secret"):
        raise _invalid("plain_signature signs by the secret, which is missing")
    return str(config["secret"]).encode() if wanted else b""


def _form(given: object) -> Format:
    if given is None:
        return Format.PULP
    if not isinstance(given, str) or given not in set(Format):
        raise _invalid(f"format must be one of {', '.join(Format)}")
    return Format(given)


def _template(config: Mapping[str, Any]) -> tuple[str, str]:
    template, made = config.get("template") or "", config.get("content_type") or ""
    if not isinstance(template, str):
        raise _invalid("template must be a text")
    if made and not template:
        raise _invalid("content_type is only used beside a template")
    if template and config.get("format"):
        raise _invalid("a template takes the place of a format; leave one of them out")
    if made and not (isinstance(made, str) and _CONTENT_TYPE.match(made)):
        raise _invalid("content_type must look like application/json")
    try:
        if template:
            templates.check(template)
    except TemplateTrouble as trouble:
        raise _invalid(f"the template {trouble}") from None
    return template, made or JSON


def _batch(given: object) -> Batch | None:
    if given is None or given == "":
        return None
    most, slash, time = given.partition("/") if isinstance(given, str) else ("", "", "")
    seconds = span_seconds(time) if slash else 0
    number = int(most) if most.isascii() and most.isdigit() and len(most) < 4 else 0  # noqa: PLR2004 - digits
    if not 1 <= number <= MOST_TOGETHER or seconds is None or seconds > LONGEST_GATHERING:
        raise _invalid(f"batch must look like 100/2s: 1 to {MOST_TOGETHER} events, gathered for at most an hour")
    return Batch(most=number, wait=timedelta(seconds=seconds))


def _whole(key: str, given: object, *, otherwise: int, most: int) -> int:
    if given is None:
        return otherwise
    try:
        number = int(given) if isinstance(given, int | str) else 0
    except ValueError:
        number = 0
    if isinstance(given, bool) or not 1 <= number <= most:
        raise _invalid(f"{key} must be a whole number from 1 to {most}")
    return number


def _path(key: str, config: Mapping[str, Any]) -> str:
    path = _text(key, config.get(key), LONGEST_URL)
    if path and not Path(path).is_absolute():
        raise _invalid(f"{key} must be an absolute path on the server")
    return path


def _text(key: str, given: object, longest: int) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > longest or not given.isprintable():
        raise _invalid(f"{key} must be at most {longest} printable characters")
    return given


def _hidden(config: Mapping[str, Any], login: str) -> tuple[str, ...]:
    texts = [*(config.get(key) for key in ("password", "secret", "old_secret")), login]
    texts += (config.get("headers") or {}).values()
    return tuple(sorted({text for text in texts if text}, key=len, reverse=True))


def _invalid(reason: str) -> InvalidValue:
    return InvalidValue("notifier_config", f"{reason}.")
