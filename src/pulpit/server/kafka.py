"""Connection settings for the Kafka brokers of `[kafka]`: addresses, TLS, and the login."""

import re
from typing import TYPE_CHECKING, Any, Final

from pulpit.errors import ConfigurationError, InvalidValue
from pulpit.net.addresses import is_loopback
from pulpit.net.config_files import section_password
from pulpit.net.tls import section_context
from pulpit.settings import KafkaSettings

if TYPE_CHECKING:
    from pulpit.delivery.notifiers.kafka import KafkaBrokers

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SERVERS: Final = "[kafka] servers"
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\Z")
_DEFAULT_PORT: Final = 9092
_LAST_PORT: Final = 65535


def kafka_brokers(section: KafkaSettings) -> "KafkaBrokers":
    """Read the section, and the files that it names.

    Raises:
        ConfigurationError: an address or a file is invalid, the library is missing, or a password would be sent
            unencrypted to another machine.
    """
    try:
        from pulpit.delivery.notifiers.kafka import KafkaBrokers, check_topic  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(_SERVERS, "confluent-kafka is not there; pip install 'pulpit[kafka]'.") from None
    try:
        check_topic(section.topic)
    except InvalidValue as error:
        raise ConfigurationError("[kafka] topic", error.reason.removeprefix("topic ")) from None
    servers = [_server(text.strip()) for text in section.servers.split(",") if text.strip()]
    login = _login(section)
    if login and not section.tls and not section.allow_plain_without_tls:
        for server in servers:
            if not is_loopback(server.rpartition(":")[0].strip("[]")):
                reason = f"the password would travel unencrypted to {server}; set tls, or allow_plain_without_tls."
                raise ConfigurationError(_SERVERS, reason)
    protocol = f"{'sasl_' if login else ''}{'ssl' if section.tls else 'plaintext'}"
    return KafkaBrokers(servers=",".join(servers), options={"security.protocol": protocol, **login, **_tls(section)})


def _server(text: str) -> str:
    found = _SERVER.match(text)
    port = int(found[2] or _DEFAULT_PORT) if found else 0
    if not found or not 0 < port <= _LAST_PORT:
        raise ConfigurationError(_SERVERS, "one of them is not host:port, such as kafka.example.com:9092.")
    return f"{found[1]}:{port}"


def _login(section: KafkaSettings) -> dict[str, Any]:
    password = section_password("kafka", section.username, section.password_file)
    if section.mechanism not in MECHANISMS:
        raise ConfigurationError("[kafka] mechanism", f"it must be one of {', '.join(MECHANISMS)}.")
    if not password:
        return {}
    return {"sasl.mechanism": section.mechanism, "sasl.username": section.username, "sasl.password": password}


def _tls(section: KafkaSettings) -> dict[str, Any]:
    if not section.tls:
        return {}
    section_context("kafka", section.cacert, section.clientcert)  # librdkafka reads them itself; this only checks them
    options: dict[str, Any] = {"enable.ssl.certificate.verification": True}
    if section.cacert:
        options["ssl.ca.location"] = section.cacert
    if section.clientcert:
        options |= {"ssl.certificate.location": section.clientcert, "ssl.key.location": section.clientcert}
    return options
