"""The configuration: every key with its default, unit and meaning, said once.

Values come, each overriding the one before, from the default, the file (`/etc/pulp/server.conf`, Pulp 2's INI), the
environment and the command line. Unknown keys of the file are left alone and reported: a file of Pulp 2 has many.
"""

import configparser
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import platformdirs

from pulpit.amqp.address import TRANSPORTS, parse_all
from pulpit.errors import ConfigurationError
from pulpit.events import MOST_CHANGES
from pulpit.net.config_files import ini_flaw

DEFAULT_FILE: Final = Path("/etc/pulp/server.conf")
LONGEST_QUOTED: Final = 60
"""Characters of a wrong value that are repeated."""
FILE_VARIABLE: Final = "PULP_SERVER_CONF"
MESSAGING_URL: Final = "[messaging] url"


def _key(default: Any, meaning: str, *, unit: str = "", least: int | None = None, most: int | None = None) -> Any:
    return field(default=default, metadata={"meaning": meaning, "unit": unit, "least": least, "most": most})


_PORT: Final[dict[str, Any]] = {"unit": "TCP port, 0 for any free one", "least": 0, "most": 65535}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """`[server]`: the REST API and the published repositories."""

    host: str = _key("127.0.0.1", "Address to listen on; nothing beyond this machine unless you say so.")
    port: int = _key(24880, "Port of the REST API and of the published repositories.", **_PORT)
    data_dir: str = _key("", "Folder of everything that is kept; empty is the platform's place.", unit="path")
    ssl_certificate: str = _key("", "Certificate chain; with `ssl_key` the server speaks HTTPS.", unit="path, PEM")
    ssl_key: str = _key("", "Private key of the certificate.", unit="path, PEM")
    webhook_allow: str = _key(
        "",
        "Networks that http listeners may reach although they are not public, such as `127.0.0.0/8, 10.1.0.0/16`.",
        unit="networks",
    )
    webhook_proxy: str = _key(
        "",
        "Proxy of http listeners that name none, such as `http://user:password@proxy.example.com:3128`.",
        unit="URL",
    )
    keep_events_days: int = _key(
        90, "How long events stay in the log; 0 is for ever.", unit="days", least=0, most=36_500
    )
    keep_events_count: int = _key(
        0, "How many events stay in the log at most; 0 is any number.", unit="events", least=0, most=1_000_000_000
    )
    keep_events_for_listeners: bool = _key(
        True, "Whether an event stays, however old, until every listener has had it or put it aside."
    )
    log_level: str = _key("info", "Least severe messages to log: debug, info, warning or error.")
    log_format: str = _key("text", "`text` for people, `json` for machines.")


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsSettings:
    """`[events]`: what events say."""

    changes: int = _key(
        MOST_CHANGES,
        "How many added, removed and replaced units one event names; the API has the others.",
        unit="units",
        least=0,
        most=10_000,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseSettings:
    """`[database]`: where everything but package files is kept."""

    url: str = _key("", "`postgresql://user:password@host/name`; empty is SQLite in the data folder.", unit="URL")


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageSettings:
    """`[storage]`: where package files are kept, so that one server finds them or several do."""

    url: str = _key(
        "",
        "`s3://bucket/prefix`, `gs://bucket/prefix`, `az://account/container/prefix`, or the path of a folder that all "
        "servers of the database mount; empty is the folder `content` in the data folder, for one server alone.",
        unit="URL or path",
    )
    endpoint: str = _key("", "Address of an object store that is not the cloud's own, such as MinIO's.", unit="URL")
    region: str = _key("", "Region of the bucket; empty is the environment's, or `us-east-1`.")
    credentials_file: str = _key(
        "",
        "File with lines such as `access_key_id = …` and `secret_access_key = …`; empty is the environment "
        "(`AWS_ACCESS_KEY_ID`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY`, …) or the machine's own role.",
        unit="path, mode 0600",
    )
    cacert: str = _key("", "Authorities to trust for the object store, beside the system's.", unit="path, PEM")
    redirect: bool = _key(False, "Whether readers are sent to the object store by signed URLs, or get files from here.")
    cache_size: int = _key(
        10_240, "Copies of files of the object store in the data folder.", unit="MiB", least=64, most=1_073_741_824
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MessagingSettings:
    """`[messaging]`: the broker that amqp listeners publish to."""

    url: str | None = _key(
        None,
        "Broker, such as `amqp://user:password@host/vhost` (AMQP 0-9-1) or `amqp+10://user:password@host` (AMQP 1.0); "
        "or several with commas between, of which the next is tried when one cannot be used; absent is the embedded "
        "broker, an empty value turns amqp listeners off.",
        unit="URL",
    )
    url_file: str = _key("", "File whose first line is such a URL, instead of `url`.", unit="path, mode 0600")
    username: str = _key("", "User for brokers whose URL names none.")
    password_file: str = _key(
        "", "File whose first line is the password, for users without one.", unit="path, mode 0600"
    )
    transport: str = _key(
        "",
        "Version of AMQP: `amqp091` or `amqp10`; Pulp 2's `rabbitmq` means the former and `qpid` the latter; empty "
        "goes by the URL.",
    )
    profile: str = _key(
        "",
        "Over AMQP 1.0, which broker it is: `qpid`, `rabbitmq3`, `rabbitmq4` or `plain`; empty is what the broker "
        "calls itself.",
    )
    address: str = _key(
        "",
        "Over AMQP 1.0, the address that a broker of another kind wants, such as `topic://{exchange}` or "
        "`{exchange}.{subject}`; empty is the profile's.",
    )
    topic_exchange: str = _key("amq.topic", "Exchange of listeners that name none; made when missing.")
    cacert: str = _key("", "Authorities to trust for `amqps://`; empty is the system's.", unit="path, PEM")
    clientcert: str = _key(
        "",
        "Client certificate and its key for `amqps://`; without a user it is also the log-in (EXTERNAL).",
        unit="path, PEM, mode 0600",
    )
    allow_plain_without_tls: bool = _key(
        False, "Whether the password may travel unencrypted to a broker on another machine."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EmailSettings:
    """`[email]`: the mail server of email listeners."""

    enabled: bool = _key(False, "Whether email listeners send at all.")
    host: str = _key("localhost", "Mail server.")
    port: int = _key(25, "Port of the mail server.", unit="TCP port", least=1, most=65535)
    sender: str = _key("pulpit@localhost", "Sender of the messages; the key is `from`.", unit="mail address")
    tls: str = _key("none", "`starttls`, `tls` from the first byte, or `none`.")
    ca: str = _key("", "Authorities to trust for TLS; empty is the system's.", unit="path, PEM")
    username: str = _key("", "User to log in as; empty is no login.")
    password: str = _key("", "Password of the user.")
    password_file: str = _key("", "File with the password, instead of `password`.", unit="path, mode 0600")
    timeout: int = _key(30, "How long sending one message may take.", unit="seconds", least=1, most=600)


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerSettings:
    """`[broker]`: the embedded AMQP broker."""

    enabled: bool = _key(True, "Whether it runs when `[messaging] url` is absent.")
    host: str = _key("127.0.0.1", "Address to listen on; one beyond this machine needs users of your own and TLS.")
    port: int = _key(5672, "Port to listen on.", **_PORT)
    users_file: str = _key(
        "",
        "Users, a line `login:password` each, the password plain or hashed by `pulpit broker hash`; empty is "
        "guest with the password guest, from this machine only.",
        unit="path, mode 0600",
    )
    permissions_file: str = _key(
        "",
        "What users may do, a line `user operations kind name` each; empty is everything. See [the broker](broker.md).",
        unit="path",
    )
    virtual_hosts: str = _key("/", "Virtual hosts, with commas between; the first one is Pulpit's.", unit="names")
    ssl_certificate: str = _key("", "Certificate chain; with `ssl_key` the broker speaks TLS.", unit="path, PEM")
    ssl_key: str = _key("", "Private key of the certificate.", unit="path, PEM")
    ssl_ca: str = _key("", "Authorities of client certificates (EXTERNAL); empty asks for none.", unit="path, PEM")
    memory_limit: int = _key(
        256, "Messages in memory above which publishers must wait.", unit="MiB", least=16, most=1_048_576
    )
    disk_free_limit: int = _key(
        50, "Free room on the disk below which publishers must wait.", unit="MiB", least=1, most=1_048_576
    )
    max_message_size: int = _key(128, "Largest body of a message.", unit="MiB", least=1, most=2048)
    max_connections: int = _key(4096, "Connections at one time.", unit="connections", least=1, most=65_536)
    max_queues: int = _key(100_000, "Queues in one virtual host.", unit="queues", least=1, most=10_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class TasksSettings:
    """`[tasks]`: the processes that sync and publish."""

    workers: int = _key(
        2,
        "Worker processes, and so tasks at one time; 0 leaves them to other servers.",
        unit="processes",
        least=0,
        most=64,
    )
    stop_timeout: int = _key(
        10, "How long a task may take to stop when it is cancelled.", unit="seconds", least=1, most=3600
    )
    stall_timeout: int = _key(
        30, "How long an upstream may send nothing before a download is broken off.", unit="seconds", least=1, most=3600
    )
    least_speed: int = _key(
        500,
        "Slower than this over a minute, a download is broken off (or than half of `max_speed`, where that is less).",
        unit="bytes per second",
        least=1,
        most=1_000_000_000,
    )
    download_tries: int = _key(
        4, "How often a download is begun before it counts as failed.", unit="tries", least=1, most=100
    )
    native_limit: int = _key(
        300,
        "Processor time that a library may take for one piece of a list or package; then the task ends as an error.",
        unit="seconds",
        least=1,
        most=86_400,
    )
    keep_days: int = _key(
        30, "How long tasks that have ended can be asked about; 0 is for ever.", unit="days", least=0, most=36_500
    )
    keep_history_days: int = _key(
        365, "How long the history of syncs and publishes is kept; 0 is for ever.", unit="days", least=0, most=36_500
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningSettings:
    """`[signing]`: signatures of the published lists of packages (`repomd.xml.asc`); none unless a key is named."""

    command: str = _key(
        "",
        "Program, with its arguments, that signs the file whose path it gets as the last one; no shell runs it, and "
        "everybody on this machine can see the arguments.",
    )
    key_file: str = _key(
        "", "Secret key without a passphrase that gpg signs with, instead of `command`.", unit="path, mode 0600"
    )
    public_key: str = _key(
        "", "Public keys that are published and prove each signature; with `key_file`, empty is its own.", unit="path"
    )
    timeout: int = _key(60, "How long making a signature may take.", unit="seconds", least=1, most=3600)

    @property
    def is_wanted(self) -> bool:
        """Whether anything is signed."""
        return bool(self.command or self.key_file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulp3Settings:
    """`[pulp3]`: a Pulp 3 whose syncs and publishes become events; of several, each but one is `[pulp3:NAME]`."""

    database_url: str = _key(
        "",
        "Pulp's own database, prepared by `pulpit pulp3 attach`, such as `postgresql://pulp@host/pulp`; empty is no "
        "Pulp 3. Not through a pool that hands out connections by transaction.",
        unit="URL",
    )
    password_file: str = _key("", "File whose first line is the password of that URL.", unit="path, mode 0600")
    tasks: bool = _key(
        False, "Whether every change of a task's state becomes a `tasks.*` event, whatever the task does."
    )
    api_url: str = _key(
        "",
        "Pulp's API, such as `https://pulp.example.com/pulp/`: its path begins every `pulp_href`, and whoever may "
        "administrate the Pulp of `[pulp3]` logs in here with the password there; empty is `/pulp/` and no such users.",
        unit="URL",
    )
    reconcile_seconds: int = _key(
        60,
        "How often Pulp's tasks are compared with what was told of them.",
        unit="seconds",
        least=1,
        most=86_400,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishSettings:
    """`[publish]`: what stays of what was published before, and where exports go."""

    keep: int = _key(
        5, "Publications of a place that stay, the shown one included.", unit="publications", least=1, most=1000
    )
    grace: int = _key(
        3600,
        "How long a list that is named by its checksum is still served after a publish took it away.",
        unit="seconds",
        least=0,
        most=30 * 86400,
    )
    export_dir: str = _key(
        "",
        "Folder beneath which exports may be written over REST and by `pulp-admin repo export`; empty allows none. It "
        "must be the server's own, and nobody else may write there.",
        unit="path",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All sections."""

    server: ServerSettings = field(default_factory=ServerSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    messaging: MessagingSettings = field(default_factory=MessagingSettings)
    email: EmailSettings = field(default_factory=EmailSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    tasks: TasksSettings = field(default_factory=TasksSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)
    signing: SigningSettings = field(default_factory=SigningSettings)
    events: EventsSettings = field(default_factory=EventsSettings)
    pulp3: Pulp3Settings = field(default_factory=Pulp3Settings)
    further_pulp3: Mapping[str, Pulp3Settings] = field(default_factory=dict)
    """Those of `[pulp3:NAME]`, by name."""

    @property
    def pulps(self) -> dict[str, Pulp3Settings]:
        """Each Pulp 3 that events come from, by its name; the one of `[pulp3]` has none."""
        every = {"": self.pulp3, **self.further_pulp3}
        return {name: section for name, section in every.items() if section.database_url}

    @property
    def data_dir(self) -> Path:
        """The data folder: the configured one, else `/var/lib/pulpit` for root, else the user's own."""
        return Path(self.server.data_dir) if self.server.data_dir else default_data_dir()

    @property
    def embedded_broker(self) -> bool:
        """Whether the broker inside is the one that events go to."""
        return self.messaging.url is None and not self.messaging.url_file and self.broker.enabled


SECTIONS: Final[Mapping[str, type]] = {
    "server": ServerSettings,
    "database": DatabaseSettings,
    "storage": StorageSettings,
    "messaging": MessagingSettings,
    "email": EmailSettings,
    "broker": BrokerSettings,
    "tasks": TasksSettings,
    "publish": PublishSettings,
    "signing": SigningSettings,
    "events": EventsSettings,
    "pulp3": Pulp3Settings,
}
PULP3: Final = "pulp3"
_NAMED_PULP3: Final = re.compile(r"pulp3:([a-z0-9][a-z0-9_-]{0,31})")
_FILE_NAMES: Final = {"sender": "from"}  # `from` is no name in Python
_CHOICES: Final = {
    "tls": ("none", "starttls", "tls"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
    "transport": ("", *TRANSPORTS),
    "profile": ("", "qpid", "rabbitmq3", "rabbitmq4", "plain"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key as the file and the documentation know it."""

    section: str
    name: str
    variable: str
    field: Field[Any]


def keys() -> list[Key]:
    """Every key there is."""
    return [key for section in SECTIONS for key in _keys_of(section)]


def _keys_of(section: str) -> list[Key]:
    """The keys of a section; those of `pulp3:NAME` are those of `pulp3`."""
    prefix = "" if section == "server" else re.sub("[:-]", "_", section) + "_"
    return [
        Key(
            section=section,
            name=_FILE_NAMES.get(key.name, key.name),
            variable=f"PULPIT_{prefix}{key.name}".upper(),
            field=key,
        )
        for key in fields(SECTIONS[section.partition(":")[0]])
    ]


def default_data_dir() -> Path:
    """Where data is kept when nobody says."""
    if os.geteuid() == 0:
        return Path("/var/lib/pulpit")
    return Path(platformdirs.user_data_dir("pulpit", appauthor=False))


def load(
    config_file: Path | None, environment: Mapping[str, str], options: Mapping[tuple[str, str], str]
) -> tuple[Settings, list[str]]:
    """Read the configuration; the second part of the answer are sentences about what was left alone.

    Args:
        config_file: the file of `--config`; without it the one that the environment names, else Pulp 2's place, where
            it may be absent.
        environment: usually `os.environ`.
        options: values of the command line by (section, key).

    Raises:
        ConfigurationError: a file that was asked for is not there or is no INI file, or a value cannot be used.
    """
    given, strangers = _read(config_file, environment)
    named = sorted({section for section, _ in given if section not in SECTIONS})
    known = [*keys(), *(key for section in named for key in _keys_of(section))]
    given |= {(key.section, key.name): environment[key.variable] for key in known if key.variable in environment}
    given |= options
    sections: dict[str, dict[str, Any]] = {name: {} for name in (*SECTIONS, *named)}
    for key in known:
        text = given.get((key.section, key.name))
        if text is not None:
            text = " ".join(text.split("\n")).strip()
            quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""  # as in Pulp 2's own file
            sections[key.section][key.field.name] = _value(key, text[1:-1] if quoted else text)
    further = {name.partition(":")[2]: Pulp3Settings(**sections.pop(name)) for name in named}
    settings = Settings(**{name: SECTIONS[name](**values) for name, values in sections.items()}, further_pulp3=further)
    _check_together(settings)
    return settings, strangers


def _read(config_file: Path | None, environment: Mapping[str, str]) -> tuple[dict[tuple[str, str], str], list[str]]:
    named = config_file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    path = named or DEFAULT_FILE
    parser = configparser.ConfigParser(interpolation=None, strict=True, default_section="\0")
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError:
        if named:
            raise ConfigurationError("--config", f"there is no file {path}.") from None
        return {}, []
    except UnicodeDecodeError as error:
        raise ConfigurationError("--config", f"{path} is no text in UTF-8 (byte {error.start + 1}).") from None
    except OSError as error:
        raise ConfigurationError("--config", f"{path} cannot be read ({error.strerror}).") from None
    except configparser.Error as error:
        raise ConfigurationError("--config", f"{path} cannot be read: {ini_flaw(error)}.") from None
    pulps = [section for section in parser.sections() if _NAMED_PULP3.fullmatch(section)]
    known = {(key.section, key.name) for section in (*SECTIONS, *pulps) for key in _keys_of(section)}
    given = {(section, name): text for section in parser.sections() for name, text in parser.items(section)}
    strangers = []
    for section, name in given.keys() - known:
        # What cannot be the name of a key may be a line without a delimiter, and so a password.
        usable = re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name)
        key = name if usable else "what stands before a : or = and is no name of a key"
        strangers.append(f"{path}: [{section}] {key} is unknown here and left alone")
    used = {key: text for key, text in given.items() if key in known}
    return used, [*sorted(strangers), *_exposed(path, used)]


def _exposed(path: Path, given: Mapping[tuple[str, str], str]) -> list[str]:
    """What everybody on this machine can read, although it is a password."""
    if not path.stat().st_mode & stat.S_IROTH:
        return []
    secret = []
    for (section, name), text in given.items():
        login = text.partition("://")[2].rpartition("@")[0] if name in {"url", "database_url", "webhook_proxy"} else ""
        if ":" in login or (name == "password" and text):
            secret.append(f"[{section}] {name}")
    return [f"{path}: {key} holds a password that others can read; run: chmod o-r {path}" for key in sorted(secret)]


def _value(key: Key, text: str) -> Any:
    name = f"[{key.section}] {key.name}"
    if key.field.type is bool:
        try:
            return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
        except KeyError:
            raise ConfigurationError(name, f"it must be true or false, not {_short(text)}.") from None
    if key.field.type is int:
        return _integer(name, text, key.field.metadata["least"], key.field.metadata["most"])
    if any(not character.isprintable() for character in text):
        raise ConfigurationError(name, "it holds a line break, a control character or bytes that are no UTF-8.")
    choices = _CHOICES.get(key.name)
    if choices and text not in choices:
        raise ConfigurationError(name, f"it must be one of {', '.join(filter(None, choices))}, not {_short(text)}.")
    return text


def _short(text: str) -> str:
    return repr(text) if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]!r}…"


def _integer(name: str, text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ConfigurationError(name, f"it must be a whole number, not {_short(text)}.") from None
    if not least <= number <= most:
        raise ConfigurationError(name, f"it must be from {least} to {most}, not {number}.")
    return number


def _check_together(settings: Settings) -> None:
    if settings.messaging.url and settings.messaging.url_file:
        raise ConfigurationError("[messaging] url_file", "there is a url too; keep one of them.")
    messaging = settings.messaging
    if messaging.url:
        password = "" if messaging.password_file else None  # what is in the file is read when it is needed
        urls = [url for url in messaging.url.split(",") if url.strip()]
        parse_all(urls, MESSAGING_URL, transport=messaging.transport, user=messaging.username, password=password)
    if settings.publish.export_dir and not settings.publish.export_dir.startswith("/"):
        raise ConfigurationError("[publish] export_dir", "it must be an absolute path, such as /srv/exports.")
    signing = settings.signing
    if signing.command and signing.key_file:
        raise ConfigurationError("[signing] key_file", "there is a command too; keep one of them.")
    if signing.command and not signing.public_key:
        raise ConfigurationError("[signing] public_key", "the command needs it: the keys that its signatures are of.")
    for name, pulp in settings.pulps.items():
        if not pulp.database_url.startswith(("postgresql://", "postgres://")):
            key = f"[{PULP3}:{name}] database_url" if name else f"[{PULP3}] database_url"
            raise ConfigurationError(key, "it is not a URL such as postgresql://user@host/name.")
    for name, section in (("server", settings.server), ("broker", settings.broker)):
        if bool(section.ssl_certificate) != bool(section.ssl_key):
            missing = "ssl_key" if section.ssl_certificate else "ssl_certificate"
            raise ConfigurationError(f"[{name}] {missing}", "a certificate and its key are needed together.")


def default_of(key: Field[Any]) -> Any:
    """The default of a key, for the documentation."""
    return None if key.default is MISSING else key.default
