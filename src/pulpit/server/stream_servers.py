"""The NATS servers of `[nats]` and the Kafka brokers of `[kafka]`: their addresses, TLS, and the login."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pulpit.errors import ConfigurationError, InvalidValue
from pulpit.net.addresses import is_loopback
from pulpit.net.config_files import read_secret, section_password
from pulpit.net.tls import section_context
from pulpit.settings import KafkaSettings, NatsSettings
from pulpit.text import host_and_port

if TYPE_CHECKING:
    from pulpit.delivery.notifiers.kafka import KafkaBrokers
    from pulpit.delivery.notifiers.nats_connection import NatsServers

_NATS: Final = "[nats] servers"
_NATS_PORT: Final = 4222
_CREDENTIALS_FILE: Final = "[nats] credentials_file"
_CREDENTIALS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")
"""Markers that a credentials file must contain."""
_KAFKA: Final = "[kafka] servers"
_KAFKA_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\Z")
_KAFKA_PORT: Final = 9092
_LAST_PORT: Final = 65535
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def nats_servers(section: NatsSettings) -> "NatsServers":
    """Read the section, and the files that it names.

    Raises:
        ConfigurationError: an address or a file is invalid, the library is missing, or a password would be sent
            unencrypted to another machine.
    """
    try:
        from pulpit.delivery.notifiers.nats_connection import NatsServers  # noqa: PLC0415 - an extra
        from pulpit.delivery.notifiers.nats_jetstream import check_stream  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(_NATS, "nats-py is not there; pip install 'pulpit[nats]'.") from None
    urls = tuple(_nats_url(text.strip()) for text in section.servers.split(",") if text.strip())
    try:
        check_stream(section.stream)
    except InvalidValue as error:
        raise ConfigurationError("[nats] stream", error.reason.removeprefix("stream ")) from None
    password = section_password("nats", section.username, section.password_file)
    if section.credentials_file:
        text = read_secret(Path(section.credentials_file), _CREDENTIALS_FILE)
        if not all(mark in text for mark in _CREDENTIALS):
            raise ConfigurationError(_CREDENTIALS_FILE, f"{section.credentials_file} holds no JWT with its key.")
        if password:
            raise ConfigurationError(_CREDENTIALS_FILE, "there is a username too; keep one of them.")
    if password and not section.allow_plain_without_tls:
        for url in urls:
            if not url.startswith("tls:"):
                _check_near(_NATS, urlsplit(url).hostname or "", url, remedy="use tls://, or set")
    wants_tls = any(url.startswith("tls:") for url in urls)
    return NatsServers(
        urls=urls,
        tls=section_context("nats", section.cacert, section.clientcert) if wants_tls else None,
        username=section.username,
        password=password,
        credentials=section.credentials_file,
    )


def _nats_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port or _NATS_PORT
    except ValueError:
        raise ConfigurationError(_NATS, "one of them is no URL such as nats://host:4222.") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(_NATS, "one of them holds a user; use username and password_file.")
    if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ConfigurationError(_NATS, "one of them is not nats://host:4222 or tls://host:4222.")
    return f"{parts.scheme}://{host_and_port(parts.hostname, port)}"


def kafka_brokers(section: KafkaSettings) -> "KafkaBrokers":
    """Read the section, and the files that it names.

    Raises:
        ConfigurationError: an address or a file is invalid, the library is missing, or a password would be sent
            unencrypted to another machine.
    """
    try:
        from pulpit.delivery.notifiers.kafka import KafkaBrokers, check_topic  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(_KAFKA, "confluent-kafka is not there; pip install 'pulpit[kafka]'.") from None
    try:
        check_topic(section.topic)
    except InvalidValue as error:
        raise ConfigurationError("[kafka] topic", error.reason.removeprefix("topic ")) from None
    servers = [_kafka_server(text.strip()) for text in section.servers.split(",") if text.strip()]
    login = _kafka_login(section)
    if login and not section.tls and not section.allow_plain_without_tls:
        for server in servers:
            _check_near(_KAFKA, server.rpartition(":")[0].strip("[]"), server, remedy="set tls, or")
    protocol = f"{'sasl_' if login else ''}{'ssl' if section.tls else 'plaintext'}"
    return KafkaBrokers(
        servers=",".join(servers), options={"security.protocol": protocol, **login, **_kafka_tls(section)}
    )


def _kafka_server(text: str) -> str:
    found = _KAFKA_SERVER.match(text)
    port = int(found[2] or _KAFKA_PORT) if found else 0
    if not found or not 0 < port <= _LAST_PORT:
        raise ConfigurationError(_KAFKA, "one of them is not host:port, such as kafka.example.com:9092.")
    return f"{found[1]}:{port}"


def _kafka_login(section: KafkaSettings) -> dict[str, Any]:
    password = section_password("kafka", section.username, section.password_file)
    if section.mechanism not in MECHANISMS:
        raise ConfigurationError("[kafka] mechanism", f"it must be one of {', '.join(MECHANISMS)}.")
    if not password:
        return {}
    return {"sasl.mechanism": section.mechanism, "sasl.username": section.username, "sasl.password": password}


def _kafka_tls(section: KafkaSettings) -> dict[str, Any]:
    if not section.tls:
        return {}
    section_context("kafka", section.cacert, section.clientcert)  # librdkafka reads them itself; this only checks them
    options: dict[str, Any] = {"enable.ssl.certificate.verification": True}
    if section.cacert:
        options["ssl.ca.location"] = section.cacert
    if section.clientcert:
        options |= {"ssl.certificate.location": section.clientcert, "ssl.key.location": section.clientcert}
    return options


def _check_near(key: str, host: str, place: str, *, remedy: str) -> None:
    """Reject a password that would go unencrypted to another machine."""
    if not is_loopback(host):
        reason = f"the password would travel unencrypted to {place}; {remedy} allow_plain_without_tls."
        raise ConfigurationError(key, reason)
