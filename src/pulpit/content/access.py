"""The configuration keys that say who may read what a distributor publishes.

Content types have several names for the same (`serve_http` and `http`, `ssl_auth_ca_cert` and `auth_ca`); they are Pulp
2's. User and password are Pulpit's own, and the same for all: a content type never sees them.
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
    """The access rules of a configuration; a protocol that it does not mention is allowed."""

    http: bool
    https: bool
    authorities: str | None
    """CA certificates (PEM) for client certificates, if these are required."""
    login: str | None
    password_hash: str | None
    is_protected: bool
    """Whether access is restricted, by whatever means."""

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
        """Whether everybody may read it."""
        return not (self.authorities or self.login or self.password_hash or self.is_protected)


def of_type(config: Config) -> dict[str, Any]:
    """Return the configuration without the keys that content types do not know."""
    return {key: value for key, value in config.items() if key not in _OWN}


def check(config: Config) -> None:
    """Reject a configuration that protects nothing, or lets nobody in.

    Raises:
        InvalidValue: the named key has an invalid value.
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
