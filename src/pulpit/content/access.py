"""Who may have what a distributor publishes: the keys of its configuration that say so.

Content types have several names for the same (`serve_http` and `http`, `ssl_auth_ca_cert` and `auth_ca`); they are Pulp
2's. The user and the password are ours, and the same for all: a content type is never shown them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pulpit.content import feed
from pulpit.content.port import Config
from pulpit.errors import InvalidValue

LOGIN: Final = "basic_auth_username"
PASSWORD: Final = "basic_auth_password"  # noqa: S105 - a key's name
_OWN: Final = frozenset({LOGIN, PASSWORD})
_HTTP: Final = ("http", "serve_http")
_HTTPS: Final = ("https", "serve_https")
_AUTHORITIES: Final = ("auth_ca", "ssl_auth_ca_cert")


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """What a configuration says; a protocol that it does not speak of is allowed."""

    http: bool
    https: bool
    authorities: str | None
    """Certificates (PEM) of those who sign the client certificates that are asked for."""
    login: str | None
    password_hash: str | None
    is_protected: bool
    """Whether it must not be for everybody, by whatever means."""

    @classmethod
    def of(cls, config: Config) -> "Access":
        """Read a checked configuration."""
        return cls(
            http=_first(config, _HTTP) is not False,
            https=_first(config, _HTTPS) is not False,
            authorities=_first(config, _AUTHORITIES) or None,
            login=config.get(LOGIN) or None,
            password_hash=config.get(PASSWORD) or None,
            is_protected=bool(config.get("protected")),
        )

    @property
    def is_open(self) -> bool:
        """Whether everybody may have it."""
        return not (self.authorities or self.login or self.password_hash or self.is_protected)


def of_type(config: Config) -> dict[str, Any]:
    """The configuration as its content type knows it."""
    return {key: value for key, value in config.items() if key not in _OWN}


def check(config: Config) -> None:
    """Refuse what would protect nothing, or let nobody in.

    Raises:
        InvalidValue: the named key cannot work so.
    """
    for name in _OWN:
        if config.get(name) is not None:
            feed.text(name, config[name])
    access = Access.of(config)
    if bool(access.login) != bool(access.password_hash):
        raise InvalidValue(PASSWORD if access.login else LOGIN, "user and password are needed together.")
    if ":" in (access.login or ""):
        raise InvalidValue(LOGIN, "it must not hold a colon.")
    if access.is_protected and not (access.authorities or access.login):
        raise InvalidValue("protected", f"say by what: auth_ca (client certificates), or {LOGIN} and {PASSWORD}.")
    if access.authorities:
        _check_authorities(config, access)


def _check_authorities(config: Config, access: Access) -> None:
    name = next(name for name in _AUTHORITIES if config.get(name))
    if not access.https:
        raise InvalidValue(name, "client certificates are shown over HTTPS only; allow that.")
    from cryptography import x509  # noqa: PLC0415 - few configurations need cryptography

    try:
        x509.load_pem_x509_certificates(str(access.authorities).encode())
    except ValueError:
        raise InvalidValue(name, "it must be the content of a PEM file of certificates.") from None


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)
