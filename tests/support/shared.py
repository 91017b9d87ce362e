"""Several servers on one PostgreSQL and one storage, and workers beside them; each can be killed and started again."""

import contextlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pulpit.settings import StorageSettings
from support import postgresql as pg
from support import s3
from support.processes import Process, clean_environment
from support.server import Server


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the servers of a test share."""

    folder: Path
    conf: str
    settings: StorageSettings
    s3: s3.S3


@contextlib.contextmanager
def shared_by(kind: str, folder: Path, *, redirect: bool = False) -> Iterator[Shared]:
    """A PostgreSQL, and a storage that is a `shared folder` or an `object store`."""
    with pg.postgresql() as cluster, s3.running(folder) as store:
        if kind == "object store":
            store.make_bucket("bucket")
            settings = store.settings("bucket", redirect=redirect)
        else:
            settings = StorageSettings(url=str(folder / "shared"))
        keys = ("url", "endpoint", "region", "credentials_file", "redirect")
        section = "".join(f"{key}: {getattr(settings, key)}\n" for key in keys if getattr(settings, key))
        conf = f"[database]\nurl: {cluster.fresh()}\n[messaging]\nurl:\n[storage]\n{section}"
        yield Shared(folder=folder, conf=conf, settings=settings, s3=store)


def beside(
    shared: Shared,
    first: Server,
    name: str = "two",
    further: str = "",
    *,
    variables: Mapping[str, str] | None = None,
) -> Server:
    """A server beside the first, which has made the administrator; it is not started."""
    server = Server(shared.folder / name, shared.conf + further, variables=variables)
    server.data_dir.mkdir(mode=0o700)
    (server.data_dir / "node").write_text(f"{name:_<6}")
    (server.data_dir / "admin-password").write_text(first.password)
    return server


class Workers(Process):
    """`pulpit worker`."""

    def __init__(self, shared: Shared, further: str = "") -> None:
        self._data_dir = shared.folder / "workers"
        self._data_dir.mkdir(mode=0o700)
        (self._data_dir / "node").write_text("worker")
        self._conf = shared.folder / "workers.conf"
        self._conf.write_text(shared.conf + further)

    def start(self) -> None:
        """Start it; it works in a moment."""
        command = [sys.executable, "-m", "pulpit.cli", "worker", "--config", str(self._conf)]
        self._process = subprocess.Popen([*command, "--data-dir", str(self._data_dir)], stderr=subprocess.DEVNULL)


def read(server: Server, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of what a server publishes at a path; whoever is sent elsewhere goes there."""
    request = urllib.request.Request(f"{server.url}/pulp/{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def check(server: Server) -> None:
    """`pulpit check --deep` on a server's machine, which must find nothing wrong."""
    conf = server.data_dir.parent / f"{server.data_dir.name}.conf"
    command = [sys.executable, "-m", "pulpit.cli", "check", "--deep", "--config", str(conf)]
    environment = clean_environment()
    command += ["--data-dir", str(server.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
