"""A real RabbitMQ (Debian's `rabbitmq-server`) started by the test: own ports, own node, own data folder, own epmd."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPError

from support.ports import free_port
from support.waiting import until

_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_ERLANG = ("+sbwt none +sbwtdcpu none +sbwtdio none", "-kernel inet_dist_use_interface {127,0,0,1}")
_EPMD = shutil.which("epmd") or "epmd"


def why_not() -> str | None:
    """Why RabbitMQ cannot run here, as a skip reason; `None` if it can."""
    if not _SERVER.exists():
        return "Debian's package rabbitmq-server is not installed (as root on Debian, `make test` installs it)"
    return None


@cache
def major_version() -> int:
    """The first number of the installed version; 0 without RabbitMQ."""
    version = _SERVER.resolve().parent.parent.name.partition("rabbitmq_server-")[2]  # it is a link into that folder
    return int(version.partition(".")[0] or 0)


needs_rabbitmq = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


class RabbitMQ:
    """One node; it can be killed and started again with what it had on disk.

    A node that is given another one to `know` shares its epmd and its cookie, and so can be in one cluster with it.
    """

    def __init__(
        self, folder: Path, plugins: Sequence[str] = (), settings: str = "", *, know: "RabbitMQ | None" = None
    ) -> None:
        self.port, self._dist_port = free_port(), free_port()
        self._epmd_port: int = know._epmd_port if know else free_port()
        self._cookie: str = know._cookie if know else secrets.token_hex(16)
        self._knows = know
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self._folder = folder
        self.node = f"test-{secrets.token_hex(4)}@localhost"
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._has_booted = False
        folder.mkdir(parents=True, exist_ok=True)
        cookie = folder / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        (folder / "plugins").write_text(f"[{','.join(plugins)}].\n")
        (folder / "rabbitmq.conf").write_text(
            "vm_memory_high_watermark.relative = 0.3\ndisk_free_limit.absolute = 50MB\n" + settings
        )

    def configure(self, settings: str) -> None:
        with (self._folder / "rabbitmq.conf").open("a") as conf:
            conf.write(settings)

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self.launch()
        self.until_ready()

    def launch(self) -> None:
        """Start it without waiting; the node that it was given to know must have been started before."""
        with (self._folder / "out.log").open("ab") as log:
            if self._epmd is None and self._knows is None:
                command = [_EPMD, "-port", str(self._epmd_port), "-address", "127.0.0.1"]
                self._epmd = subprocess.Popen(command, stdout=log, stderr=log)
            self._process = subprocess.Popen(
                [_SERVER], env=self._environment(), stdout=log, stderr=log, start_new_session=True, cwd=self._folder
            )
        self._has_booted = False

    def until_ready(self) -> None:
        until(self._answers, what=f"RabbitMQ; see {self._folder / 'out.log'}", seconds=180)

    def remember(self) -> None:
        """Have it write what was declared into its tables; a node that is killed soon after may forget it otherwise."""
        self.control("eval", "mnesia:dump_log().")

    def kill(self) -> None:
        """`kill -9` of the whole node."""
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(60)

    def stop(self) -> None:
        """End the node and the epmd that it started."""
        self.kill()
        if self._epmd:
            self._epmd.kill()
            self._epmd.wait(60)

    def control(self, *words: str) -> str:
        """Run `rabbitmqctl` and return what it prints.

        A node that accepts connections already may still be starting, and `rabbitmqctl` refuses it then (exit code 64).
        """
        if not self._has_booted:
            self._rabbitmqctl("await_startup")
            self._has_booted = True
        return self._rabbitmqctl(*words)

    def _rabbitmqctl(self, *words: str) -> str:
        command = [str(_SERVER.with_name("rabbitmqctl")), "--quiet", "--node", self.node, *words]
        done = subprocess.run(
            command, env=self._environment(), check=False, capture_output=True, timeout=120, text=True
        )
        assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "out.log").read_text()[-2000:]
        with contextlib.suppress(AMQPError, OSError):
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
            return True
        return False

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "USER": pwd.getpwuid(os.geteuid()).pw_name,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(_ERLANG),
        }


@contextlib.contextmanager
def rabbitmq(folder: Path, plugins: Sequence[str] = (), settings: str = "") -> Iterator[RabbitMQ]:
    """Run one node with its data in a folder; `settings` are further lines of its rabbitmq.conf."""
    broker = RabbitMQ(folder, plugins, settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextlib.contextmanager
def rabbitmq_cluster(folder: Path) -> Iterator[list[RabbitMQ]]:
    """Run three nodes that are one broker, as docs/operations.md says how."""
    first = RabbitMQ(folder / "one")
    nodes = [first, *(RabbitMQ(folder / name, know=first) for name in ("two", "three"))]
    settings = "cluster_formation.peer_discovery_backend = classic_config\n"
    for number, node in enumerate(nodes, 1):
        settings += f"cluster_formation.classic_config.nodes.{number} = {node.node}\n"
    settings += "cluster_partition_handling = pause_minority\n"
    try:
        for node in nodes:
            node.configure(settings)
            node.launch()
        for node in nodes:
            node.until_ready()
        yield nodes
    finally:
        for node in reversed(nodes):
            node.stop()


def certificate_log_in(port: int, authority: Path, server: Path, *, must_show: bool) -> str:
    """Settings of a node with TLS on `port` that takes the common name of a client certificate as the login.

    It needs the plug-in `rabbitmq_auth_mechanism_ssl`; with `must_show`, nobody else is let in.
    """
    return f"""\
listeners.ssl.default = 127.0.0.1:{port}
ssl_options.cacertfile = {authority}
ssl_options.certfile = {server}
ssl_options.keyfile = {server}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = {str(must_show).lower()}
auth_mechanisms.1 = EXTERNAL
auth_mechanisms.2 = PLAIN
ssl_cert_login_from = common_name
"""
