"""Creates the storage from the configuration."""

import configparser
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from pulpit.errors import ConfigurationError
from pulpit.net.config_files import read_secret
from pulpit.settings import StorageSettings
from pulpit.storage.cache import Cache
from pulpit.storage.folder import FolderStorage
from pulpit.storage.port import Storage

SCHEMES: Final = ("s3", "gs", "az")
CREDENTIALS: Final = {
    "s3": ("access_key_id", "secret_access_key", "session_token"),
    "gs": ("service_account", "service_account_key"),
    "az": ("account_name", "account_key", "sas_key", "client_id", "client_secret", "tenant_id"),
}
"""Keys of a credentials file, by kind of store."""
_URL: Final = "[storage] url"
_FILE: Final = "[storage] credentials_file"
_MIB: Final = 1 << 20

_CONNECT: Final = timedelta(seconds=5)
_SILENCE: Final = timedelta(seconds=30)
_WORK_TRIES: Final = {"max_retries": 6, "retry_timeout": timedelta(seconds=90)}
_READERS_SILENCE: Final = timedelta(seconds=10)
_READERS_TRIES: Final = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}
_LONGEST: Final = timedelta(days=1)
"""Per request; a request without progress is ended much earlier."""


def open_storage(settings: StorageSettings, data_dir: Path) -> Storage:
    """Return the configured storage, without contacting it.

    Raises:
        ConfigurationError: a key is invalid, or the library for object stores is not installed.
    """
    if not settings.url:
        return FolderStorage(data_dir / "content")
    if "://" not in settings.url:
        if not settings.url.startswith("/"):
            raise ConfigurationError(_URL, "a folder is named by its whole path, which begins with a slash.")
        return FolderStorage(Path(settings.url), is_shared=True)
    return _objects(settings, data_dir)


def _objects(settings: StorageSettings, data_dir: Path) -> Storage:
    scheme = _scheme(settings.url)
    try:
        from obstore.store import from_url  # noqa: PLC0415 - an extra, only needed for object stores

        from pulpit.storage.objects import ObjectStorage  # noqa: PLC0415 - as above
    except ImportError:
        raise ConfigurationError(_URL, "it needs the extra `objects`: pip install 'pulpit[objects]'.") from None
    config = _config(settings, scheme)

    def store(silence: timedelta, tries: Mapping[str, Any]) -> Any:
        client: dict[str, Any] = {"connect_timeout": _CONNECT, "read_timeout": silence, "timeout": _LONGEST}
        client["allow_http"] = settings.endpoint.startswith("http://")
        if settings.cacert:
            client["root_certificate"] = _authorities(Path(settings.cacert))
        return from_url(settings.url, config=config, client_options=client, retry_config=dict(tries))  # type: ignore[call-overload] # its TypedDicts

    try:
        stores = store(_SILENCE, _WORK_TRIES), store(_READERS_SILENCE, _READERS_TRIES)
    except Exception as error:  # the library has no common exception for an invalid URL or value
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(_URL, f"{settings.url} cannot be used with these settings.") from None
    cache = Cache(data_dir / "cache", settings.cache_size * _MIB)
    return ObjectStorage(
        *stores, settings.url, cache, redirect=settings.redirect, proves_uploads="checksum_algorithm" in config
    )


def _config(settings: StorageSettings, scheme: str) -> dict[str, Any]:
    config: dict[str, Any] = dict(_credentials(settings, scheme))
    if settings.endpoint:
        if _parts(settings.endpoint).scheme not in {"http", "https"} or "@" in settings.endpoint:
            raise ConfigurationError("[storage] endpoint", "it must be a URL such as https://minio.example.com:9000.")
        if scheme == "gs":
            raise ConfigurationError("[storage] endpoint", "a store of Google's has none; leave it out.")
        config["endpoint"] = settings.endpoint
    if scheme == "s3":
        config["checksum_algorithm"] = "sha256"
        if settings.region:
            config["region"] = settings.region
    return config


def _scheme(url: str) -> str:
    parts = _parts(url)
    if parts.scheme not in SCHEMES or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            _URL,
            f"it must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)} and name a bucket, nothing else.",
        )
    return parts.scheme


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # not a URL, which is noticed where its scheme is checked
        return urlsplit("")


def _credentials(settings: StorageSettings, scheme: str) -> dict[str, str]:
    if not settings.credentials_file:
        return {}
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    try:
        parser.read_string("[credentials]\n" + read_secret(Path(settings.credentials_file), _FILE))
    except configparser.Error:
        raise ConfigurationError(_FILE, "each line must be `name = value`, such as `access_key_id = …`.") from None
    given = dict(parser["credentials"])
    unknown = given.keys() - set(CREDENTIALS[scheme])
    if unknown or not given:
        names = ", ".join(CREDENTIALS[scheme])
        raise ConfigurationError(_FILE, f"for {scheme}:// it may hold {names}, and nothing else.")
    return given


def _authorities(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError("[storage] cacert", f"{path} cannot be read ({error.strerror}).") from None
