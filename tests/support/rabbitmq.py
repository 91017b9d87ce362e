"""A real RabbitMQ (Debian's `rabbitmq-server`) of the test's own: own ports, own node, own data folder, own epmd."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPError

from support.ports import free_port
from support.waiting import until

_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_EPMD = shutil.which("epmd") or "epmd"


def why_not() -> str | None:
    """Why RabbitMQ cannot run here, as a skip reason; `None` if it can."""
    if not _SERVER.exists():
        return "Debian's package rabbitmq-server is not installed (as root on Debian, `make test` installs it)"
    return None


needs_rabbitmq = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


class RabbitMQ:
    """One node; it can be killed and started again with what it had on disk."""

    def __init__(self, folder: Path, plugins: Sequence[str] = (), settings: str = "") -> None:
        self.port, self._dist_port, self._epmd_port = (free_port() for _ in range(3))
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self._folder = folder
        self._node = f"test-{secrets.token_hex(4)}@localhost"
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plugins").write_text(f"[{','.join(plugins)}].\n")
        (folder / "rabbitmq.conf").write_text(
            "vm_memory_high_watermark.relative = 0.3\ndisk_free_limit.absolute = 50MB\n" + settings
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self._folder / "out.log").open("ab") as log:
            if self._epmd is None:
                command = [_EPMD, "-port", str(self._epmd_port), "-address", "127.0.0.1"]
                self._epmd = subprocess.Popen(command, stdout=log, stderr=log)
            self._process = subprocess.Popen(
                [_SERVER], env=self._environment(), stdout=log, stderr=log, start_new_session=True, cwd=self._folder
            )
        until(self._answers, what=f"RabbitMQ; see {self._folder / 'out.log'}", seconds=60)

    def kill(self) -> None:
        """`kill -9` of the whole node."""
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """End the node and the epmd that it started."""
        self.kill()
        if self._epmd:
            self._epmd.kill()
            self._epmd.wait(10)

    def control(self, *words: str) -> str:
        """Run `rabbitmqctl` and answer what it prints."""
        command = [str(_SERVER.with_name("rabbitmqctl")), "--quiet", "--node", self._node, *words]
        done = subprocess.run(command, env=self._environment(), check=True, capture_output=True, timeout=60, text=True)
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
            "RABBITMQ_NODENAME": self._node,
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
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
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
