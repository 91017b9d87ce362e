"""Every key of the configuration with its default, unit and meaning; `configuration` reads the values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pulpit.events import MOST_CHANGES
from pulpit.net.config_files import default_data_dir

MESSAGING_URL: Final = "[messaging] url"


def _key(default: Any, meaning: str, *, unit: str = "", least: int | None = None, most: int | None = None) -> Any:
    return field(default=default, metadata={"meaning": meaning, "unit": unit, "least": least, "most": most})


_PORT: Final[dict[str, Any]] = {"unit": "TCP port, 0 for any free one", "least": 0, "most": 65535}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """`[server]`: the REST API and the published repositories."""

    host: str = _key("127.0.0.1", "Address to listen on; by default only this machine can connect.")
    port: int = _key(24880, "Port of the REST API and of the published repositories.", **_PORT)
    data_dir: str = _key("", "Folder for all data; empty is the platform's default.", unit="path")
    ssl_certificate: str = _key("", "Certificate chain; with `ssl_key` the server speaks HTTPS.", unit="path, PEM")
    ssl_key: str = _key("", "Private key of the certificate.", unit="path, PEM")
    trusted_proxies: str = _key(
        "127.0.0.1, ::1",
        "Addresses and networks of reverse proxies and load balancers whose `X-Forwarded-For` and `X-Forwarded-Proto` "
        "are believed.",
        unit="networks",
    )
    drain: int = _key(
        0,
        "How long requests are still served after SIGTERM, while `/health/ready` responds 503, so that a load balancer "
        "sends them to other servers.",
        unit="seconds",
        least=0,
        most=3600,
    )
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
        90, "How long events stay in the log; 0 is forever.", unit="days", least=0, most=36_500
    )
    keep_events_count: int = _key(
        0, "How many events stay in the log at most; 0 is no limit.", unit="events", least=0, most=1_000_000_000
    )
    keep_events_for_listeners: bool = _key(
        True, "Whether an event stays, however old, until it is delivered to every listener or is a dead letter."
    )
    log_level: str = _key("info", "Lowest level to log: debug, info, warning or error.")
    log_format: str = _key("text", "`text` for people, `json` for machines.")


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsSettings:
    """`[events]`: what events contain."""

    changes: int = _key(
        MOST_CHANGES,
        "How many added, removed and replaced units one event lists; the API has the others.",
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
    """`[storage]`: where package files are kept, for one server or shared by several."""

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
    cacert: str = _key(
        "", "CA certificates to trust for the object store, in addition to the system's.", unit="path, PEM"
    )
    redirect: bool = _key(
        False, "Whether clients are redirected to the object store by signed URLs, or get files from this server."
    )
    cache_size: int = _key(
        10_240,
        "Size of the cache of the object store's files in the data folder.",
        unit="MiB",
        least=64,
        most=1_073_741_824,
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
    topic_exchange: str = _key("amq.topic", "Exchange of listeners that name none; declared when it is missing.")
    cacert: str = _key("", "Authorities to trust for `amqps://`; empty is the system's.", unit="path, PEM")
    clientcert: str = _key(
        "",
        "Client certificate and its key for `amqps://`; without a user it is also the login (EXTERNAL).",
        unit="path, PEM, mode 0600",
    )
    allow_plain_without_tls: bool = _key(
        False, "Whether the password may be sent unencrypted to a broker on another machine."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EmailSettings:
    """`[email]`: the mail server of email listeners."""

    enabled: bool = _key(False, "Whether email listeners send anything.")
    host: str = _key("localhost", "Mail server.")
    port: int = _key(25, "Port of the mail server.", unit="TCP port", least=1, most=65535)
    sender: str = _key("pulpit@localhost", "Sender of the messages; the key is `from`.", unit="mail address")
    tls: str = _key("none", "`starttls`, `tls` from the first byte, or `none`.")
    ca: str = _key("", "Authorities to trust for TLS; empty is the system's.", unit="path, PEM")
    username: str = _key("", "User to log in as; empty is no login.")
    password: str = _key("", "Password of the user.")
    password_file: str = _key("", "File with the password, instead of `password`.", unit="path, mode 0600")
    timeout: int = _key(30, "Timeout for sending one message.", unit="seconds", least=1, most=600)


@dataclass(frozen=True, kw_only=True, slots=True)
class NatsSettings:
    """`[nats]`: the NATS servers of nats listeners."""

    servers: str = _key(
        "",
        "Servers such as `nats://host:4222` or `tls://host:4222`, several with commas between, of which the next is "
        "tried when one cannot be used; empty is none, and then there are no nats listeners.",
        unit="URLs",
    )
    stream: str = _key("PULPIT", "Stream of listeners that name none; created when it is missing.")
    credentials_file: str = _key(
        "", "Credentials (`.creds`: a JWT and its key) to log in with.", unit="path, mode 0600"
    )
    username: str = _key("", "User to log in as, where there are no credentials.")
    password_file: str = _key("", "File whose first line is the password.", unit="path, mode 0600")
    cacert: str = _key("", "Authorities to trust for `tls://`; empty is the system's.", unit="path, PEM")
    clientcert: str = _key("", "Client certificate and its key for `tls://`.", unit="path, PEM, mode 0600")
    allow_plain_without_tls: bool = _key(
        False, "Whether the password may be sent unencrypted to a server on another machine."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaSettings:
    """`[kafka]`: the brokers of kafka listeners."""

    servers: str = _key(
        "",
        "Bootstrap brokers, such as `kafka1.example.com:9092,kafka2.example.com:9092`; empty is none, and "
        "then there are no kafka listeners.",
        unit="host:port",
    )
    topic: str = _key("pulpit", "Topic of listeners that name none.")
    tls: bool = _key(False, "Whether the brokers speak TLS.")
    cacert: str = _key("", "Authorities to trust for TLS; empty is the system's.", unit="path, PEM")
    clientcert: str = _key("", "Client certificate and its key for TLS.", unit="path, PEM, mode 0600")
    username: str = _key("", "User to log in as (SASL); empty is no login.")
    password_file: str = _key("", "File whose first line is the password.", unit="path, mode 0600")
    mechanism: str = _key("SCRAM-SHA-512", "How to log in: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.")
    allow_plain_without_tls: bool = _key(
        False, "Whether the login may be sent unencrypted to a broker on another machine."
    )


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
        "Permissions of users, a line `user operations kind name` each; empty allows all. See [the broker](broker.md).",
        unit="path",
    )
    virtual_hosts: str = _key("/", "Virtual hosts, with commas between; the first one is Pulpit's.", unit="names")
    ssl_certificate: str = _key("", "Certificate chain; with `ssl_key` the broker speaks TLS.", unit="path, PEM")
    ssl_key: str = _key("", "Private key of the certificate.", unit="path, PEM")
    ssl_ca: str = _key("", "Authorities of client certificates (EXTERNAL); empty asks for none.", unit="path, PEM")
    memory_limit: int = _key(
        256, "Memory used by messages above which publishers are blocked.", unit="MiB", least=16, most=1_048_576
    )
    disk_free_limit: int = _key(
        50, "Free disk space below which publishers are blocked.", unit="MiB", least=1, most=1_048_576
    )
    max_message_size: int = _key(128, "Largest body of a message.", unit="MiB", least=1, most=2048)
    max_connections: int = _key(4096, "Connections at one time.", unit="connections", least=1, most=65_536)
    max_queues: int = _key(100_000, "Queues in one virtual host.", unit="queues", least=1, most=10_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class TasksSettings:
    """`[tasks]`: the processes that sync and publish."""

    workers: int = _key(
        2,
        "Worker processes, and so tasks at a time; 0 leaves tasks to other servers.",
        unit="processes",
        least=0,
        most=64,
    )
    stop_timeout: int = _key(
        10, "How long a task may take to stop when it is cancelled.", unit="seconds", least=1, most=3600
    )
    stall_timeout: int = _key(
        30, "How long an upstream may send nothing before a download is aborted.", unit="seconds", least=1, most=3600
    )
    least_speed: int = _key(
        500,
        "A download slower than this over a minute is aborted (or slower than half of `max_speed`, if that is less).",
        unit="bytes per second",
        least=1,
        most=1_000_000_000,
    )
    download_tries: int = _key(4, "Attempts before a download counts as failed.", unit="tries", least=1, most=100)
    native_limit: int = _key(
        300,
        "CPU time that a library may take for one piece of a list or package; beyond that the task fails.",
        unit="seconds",
        least=1,
        most=86_400,
    )
    keep_days: int = _key(30, "How long finished tasks are kept; 0 is forever.", unit="days", least=0, most=36_500)
    keep_history_days: int = _key(
        365, "How long the history of syncs and publishes is kept; 0 is forever.", unit="days", least=0, most=36_500
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningSettings:
    """`[signing]`: signatures of the published package lists (`repomd.xml.asc`); off unless a key is named."""

    command: str = _key(
        "",
        "Program, with its arguments, that signs the file whose path it gets as the last one; no shell runs it, and "
        "everybody on this machine can see the arguments.",
    )
    key_file: str = _key(
        "", "Secret key without a passphrase that gpg signs with, instead of `command`.", unit="path, mode 0600"
    )
    public_key: str = _key(
        "",
        "Public keys that are published and that verify each signature; with `key_file`, empty is its own.",
        unit="path",
    )
    timeout: int = _key(60, "Timeout for making a signature.", unit="seconds", least=1, most=3600)

    @property
    def is_wanted(self) -> bool:
        """Whether anything is signed."""
        return bool(self.command or self.key_file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulp3Settings:
    """`[pulp3]`: a Pulp 3 whose syncs and publishes become events; each further one is `[pulp3:NAME]`."""

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
        "How often Pulp's tasks are compared with the events that were fired for them.",
        unit="seconds",
        least=1,
        most=86_400,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishSettings:
    """`[publish]`: how long old publications stay, and where exports go."""

    keep: int = _key(
        5, "Publications kept for each place, including the current one.", unit="publications", least=1, most=1000
    )
    grace: int = _key(
        3600,
        "How long a list that is named by its checksum is still served after a publish replaced it.",
        unit="seconds",
        least=0,
        most=30 * 86400,
    )
    export_dir: str = _key(
        "",
        "Folder below which exports may be written over REST and by `pulp-admin repo export`; empty allows none. It "
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
    nats: NatsSettings = field(default_factory=NatsSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
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
        """Each Pulp 3 that events come from, by name; the name of `[pulp3]` is empty."""
        every = {"": self.pulp3, **self.further_pulp3}
        return {name: section for name, section in every.items() if section.database_url}

    @property
    def data_dir(self) -> Path:
        """The data folder: the configured one, else `/var/lib/pulpit` for root, else the user's own."""
        return Path(self.server.data_dir) if self.server.data_dir else default_data_dir()

    @property
    def embedded_broker(self) -> bool:
        """Whether events go to the embedded broker."""
        return self.messaging.url is None and not self.messaging.url_file and self.broker.enabled


SECTIONS: Final[Mapping[str, type]] = {
    "server": ServerSettings,
    "database": DatabaseSettings,
    "storage": StorageSettings,
    "messaging": MessagingSettings,
    "email": EmailSettings,
    "nats": NatsSettings,
    "kafka": KafkaSettings,
    "broker": BrokerSettings,
    "tasks": TasksSettings,
    "publish": PublishSettings,
    "signing": SigningSettings,
    "events": EventsSettings,
    "pulp3": Pulp3Settings,
}
