"""A real PostgreSQL started by the test, on a port and a folder of its own; root runs it as Debian's user for it."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from support.ports import free_port
from support.waiting import until

_USER = "postgres"
NO_SHM = ("-c", "dynamic_shared_memory_type=mmap")
"""Shared memory in the cluster's own folder: what is killed leaves nothing in `/dev/shm`."""


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def why_not() -> str | None:
    """Why PostgreSQL cannot run here, as a skip reason; `None` if it can."""
    if _programs() is None:
        return "Debian's package postgresql is not installed (as root on Debian, `make test` installs it)"
    if os.geteuid() == 0 and not any(user.pw_name == _USER for user in pwd.getpwall()):
        return f"PostgreSQL does not run as root, and there is no user {_USER}"
    return None


class PostgreSQL:
    """A running cluster that hands out empty databases."""

    def __init__(self, folder: Path, port: int, password: str, *, durable: bool) -> None:
        self._folder = folder
        self._port = port
        self._password = password
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        programs = _programs()
        assert programs
        command = [
            str(programs / "postgres"),
            "-D",
            str(self._folder / "data"),
            "-p",
            str(self._port),
            "-c",
            f"fsync={'on' if self._durable else 'off'}",
        ]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}", *NO_SHM]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _lent(command), stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        until(lambda: _answers(self), what="PostgreSQL")

    def stop(self) -> None:
        """Stop as `pg_ctl stop -m immediate` does: every connection breaks."""
        assert self._process
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def kill(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop all of its processes for a while: connections stay open, and nothing is answered."""
        processes = self._processes()
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """The first process, which makes the others, and then those."""
        assert self._process
        first, children = self._process.pid, list[int]()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == first:
                    children.append(int(stat.parent.name))
        return [first, *children]

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def fresh(self, encoding: str = "UTF8") -> str:
        """Make an empty database and return its URL."""
        name = f"t{secrets.token_hex(6)}"
        engine = sa.create_engine(
            self.url().replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            options = (
                f"ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'" if encoding != "UTF8" else ""
            )
            connection.execute(sa.text(f"CREATE DATABASE {name} {options}"))
        engine.dispose()
        return self.url(name)


@contextlib.contextmanager
def postgresql(*, durable: bool = False) -> Iterator[PostgreSQL]:
    """Run a cluster; durable, it waits for the disk at each commit."""
    programs = _programs()
    assert programs
    folder = Path(tempfile.mkdtemp(prefix="pulpit-postgresql-"))
    password, port = secrets.token_hex(8), free_port()
    (folder / "password").write_text(password)
    if os.geteuid() == 0:
        user = pwd.getpwnam(_USER)
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    options = ["-U", _USER, "-A", "scram-sha-256", f"--pwfile={folder}/password", "--no-sync", "-E", "UTF8"]
    _run([str(programs / "initdb"), "-D", str(folder / "data"), *options], folder)
    running = PostgreSQL(folder, port, password, durable=durable)
    try:
        running.start()
        yield running
    finally:
        running.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(running: PostgreSQL) -> bool:
    with contextlib.suppress(sa.exc.OperationalError):
        running.fresh()
        return True
    return False


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(_lent(command), check=True, capture_output=True, timeout=60, cwd=folder)


def _lent(command: list[str]) -> list[str]:
    """Run as Debian's user, where we are root."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *command]
