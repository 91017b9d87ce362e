"""What may stand in the configuration of a yum importer and distributor."""

import re
from collections.abc import Callable
from typing import Any, Final

from pulpit.content import feed
from pulpit.content.port import Config
from pulpit.errors import InvalidValue

SKIPPABLE: Final = ("rpm", "drpm", "srpm", "distribution", "erratum")
CHECKSUM_TYPES: Final = ("md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512")
_KEY_ID: Final = re.compile(r"(0x)?[0-9A-Fa-f]{8,64}\Z")


def _types(name: str, value: Any) -> None:
    if not isinstance(value, list) or any(one not in SKIPPABLE for one in value):
        raise InvalidValue(name, f"it must be a list of {', '.join(SKIPPABLE)}.")


def _key_ids(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(one, str) and _KEY_ID.match(one) for one in value):
        raise InvalidValue(name, "it must be a list of key ids: 8 to 64 hexadecimal digits each.")


def _checksum_type(name: str, value: Any) -> None:
    if value not in CHECKSUM_TYPES:
        raise InvalidValue(name, f"it must be one of {', '.join(CHECKSUM_TYPES)}.")


def _public_keys(name: str, value: Any) -> None:
    if not isinstance(value, str) or "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in value:
        raise InvalidValue(name, "it must be the content of a file of OpenPGP public keys.")


_IMPORTER: Final[dict[str, Callable[[str, Any], None]]] = {
    "feed": feed.url,
    "type_skip_list": _types,
    "retain_old_count": feed.whole(0, feed.MOST_RETAINED),
    "require_signature": feed.boolean,
    "allowed_keys": _key_ids,
    "repo_gpgcheck": feed.boolean,
    "gpgkey": _public_keys,
}
_DISTRIBUTOR: Final[dict[str, Callable[[str, Any], None]]] = {
    "http": feed.boolean,
    "https": feed.boolean,
    "relative_url": feed.relative_url,
    "skip": _types,
    "checksum_type": _checksum_type,
    "updateinfo_checksum_type": _checksum_type,
    "generate_sqlite": feed.boolean,
    "repoview": feed.boolean,
    "gpgkey": _public_keys,
    "https_ca": feed.pem,
    "auth_ca": feed.pem,
    "auth_cert": feed.pem,
    "protected": feed.boolean,
    "force_full": feed.boolean,
}


def check_importer(config: Config) -> None:
    """Refuse a configuration that cannot work.

    Raises:
        InvalidValue: a value cannot work.
        UnsupportedValue: nobody knows the key.
    """
    feed.check(config, _IMPORTER)
    if config.get("repo_gpgcheck") and not config.get("gpgkey"):
        raise InvalidValue("repo_gpgcheck", "it needs gpgkey too: the public keys that are trusted.")


def check_distributor(config: Config) -> None:
    """Refuse a configuration that cannot work, as above."""
    feed.check_keys(config, _DISTRIBUTOR)
