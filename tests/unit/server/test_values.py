"""Any value of a configuration key: the server starts, or refuses with a sentence that names the key."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from pulpit.configuration import Key, keys, load
from pulpit.errors import ConfigurationError, PulpitError
from pulpit.server import data_folder, embedded_broker, messaging, notifiers, serve
from pulpit.settings import Settings
from pulpit.storage.opening import open_storage
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket

SECRET = "s3cr"
ODD = [
    "a\0b",
    "\ud800x",
    "x" * 5000,
    "a\nb",
    " ",
    "~/x",
    "..\\..",
    "a b",
    "a..b",
    "\u00fc" * 70,
    "/dev/null",
    "/etc/passwd/x",
    "http://[::1",
    "[::1%lo]",
    "://",
    f"postgresql://u:{SECRET}/et@h/d",
    f"postgresql://u:{SECRET}@h:port/d",
    f"mysql://u:{SECRET}@h/d",
    "sqlite://",
    "sqlite:////dev",
    f"amqp://joe:{SECRET}/et@h/",
    f"amqp://joe:{SECRET}@",
    "amqp://joe@127.0.0.1/",
    "amqp://127.0.0.1?heartbeat=x",
    "amqp+10://h:99999",
    ", ,",
    "{nope}",
    "{exchange.__class__}",
    "1.2.3.4/33",
    "@",
    "-1",
    "65536",
    "\u0661",
    "1e3",
    "''",
]
TOGETHER = {
    ("email", "ca"): {("email", "tls"): "tls"},
    ("server", "ssl_certificate"): {("server", "ssl_key"): "/etc/hostname"},
    ("server", "ssl_key"): {("server", "ssl_certificate"): "/etc/hostname"},
    ("storage", "endpoint"): {("storage", "url"): "s3://bucket/files"},
    ("storage", "region"): {("storage", "url"): "s3://bucket/files"},
    ("storage", "credentials_file"): {("storage", "url"): "s3://bucket/files"},
    ("storage", "cacert"): {("storage", "url"): "s3://bucket/files"},
    ("broker", "ssl_certificate"): {("broker", "ssl_key"): "/etc/hostname"},
    ("broker", "ssl_key"): {("broker", "ssl_certificate"): "/etc/hostname"},
}
"""What must be given with a key for it to mean anything."""


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths of the values end here."""
    monkeypatch.chdir(tmp_path)


async def compose(settings: Settings) -> None:
    """What a start does with the configuration, short of serving."""
    data_folder.prepare(settings.data_dir)
    with WakeupSocket(settings.data_dir) as wakeups:
        database = Database(settings.data_dir, wakeups, url=settings.database.url)
        try:
            database.prepare()
        finally:
            database.close()
    with serve._listening(settings.server.host, settings.server.port):
        pass
    open_storage(settings.storage, settings.data_dir)
    if settings.embedded_broker:
        embedded_broker.with_own_user(embedded_broker.broker_config(settings))
        publisher = None
    else:
        publisher = serve._publisher(settings, None, messaging.trust(settings.messaging))
    notifiers.notifier_types(settings, publisher, "node")
    serve._retention(settings)
    if settings.server.ssl_certificate:
        serve._certificate(settings).check()


@pytest.mark.parametrize("key", keys(), ids=lambda key: f"{key.section}-{key.name}")
def test_an_odd_value_is_refused_in_one_sentence_or_is_fine(tmp_path: Path, key: Key) -> None:
    """No traceback, and nothing of what may be a password."""
    this = (key.section, key.name)
    given = {("server", "data_dir"): str(tmp_path / "data"), ("server", "port"): "0", **TOGETHER.get(this, {})}
    if key.section == "email":
        given[("email", "enabled")] = "true"
    if key.section == "messaging" and key.name not in ("url", "url_file"):
        given[("messaging", "url")] = "amqps://127.0.0.1/"
    for value in ODD:
        error = refusal({**given, this: value})
        if isinstance(error, ConfigurationError):
            assert "\n" not in str(error), value
            assert key.section in error.key, (value, str(error))
        elif error:
            assert this == ("database", "url"), (value, str(error))
        if key.name in ("url", "webhook_proxy", "password"):
            assert SECRET not in str(error), value


def refusal(given: Mapping[tuple[str, str], str]) -> PulpitError | None:
    try:
        settings, _ = load(Path("/dev/null"), {}, given)
        asyncio.run(compose(settings))
    except PulpitError as error:
        return error
    return None


def test_a_folder_of_other_files_is_not_closed_to_everybody(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "letter.txt").touch()
    with pytest.raises(ConfigurationError, match="holds other files"):
        data_folder.prepare(folder)
    assert folder.stat().st_mode & 0o777 == 0o755
    (folder / "letter.txt").rename(folder / "node")
    data_folder.prepare(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
