"""A real Pulp 3 started by the test: pulpcore with its plug-ins from PyPI in a separate environment, on a PostgreSQL.

What takes long is done once and kept below `.venv/pulp3/<version>`: the installation, and a cluster with Pulp's tables.
"""

import base64
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support import postgresql
from support.ports import free_port
from support.waiting import until

NEWEST = "3.123.1"
VERSION = os.environ.get("PULPIT_PULP3_VERSION", NEWEST)
"""Another pulpcore to run all of it with, as far as it installs."""
PLUGINS = {
    NEWEST: ("pulp-rpm==3.39.4", "pulp-python==3.36.4", "pulp-cli==0.41.1"),
    "3.63.49": ("pulp-rpm==3.27.14", "pulp-python==3.18.0", "pulp-cli==0.31.3"),
    "3.49.72": ("pulp-rpm==3.27.14", "pulp-python==3.18.0", "pulp-cli==0.29.5"),
}
"""What is installed beside a pulpcore, which has pulp_file in itself; of one that is not named here, nothing."""
API = "/pulp/api/v3"
PASSWORD = "Gorilla-3"
ENDED = ("completed", "failed", "canceled", "skipped")
HOMES = Path(sys.prefix) / "pulp3"
INSTALLING_SECONDS = 900
ADD_TASK = """
    INSERT INTO core_task SELECT (jsonb_populate_record(NULL::core_task, jsonb_build_object(
        'pulp_id', %(id)s::text, 'pulp_created', now(), 'state', 'waiting', 'name', %(name)s::text,
        'logging_cid', 'of-a-test', 'reserved_resources_record', ARRAY[%(resource)s::text],
        'pulp_domain_id', (SELECT pulp_id FROM core_domain LIMIT 1), 'versions', '', 'deferred', true,
        'immediate', false, 'pulp_api_version', 'v3'))).*
"""
"""A task that waits, written as Pulp's API does; columns that a version does not have are left out."""
ADD_REPOSITORY = """
    INSERT INTO core_repository SELECT (jsonb_populate_record(NULL::core_repository, jsonb_build_object(
        'pulp_id', %(id)s::text, 'pulp_created', now(), 'name', %(name)s::text, 'pulp_type', 'file.file',
        'next_version', 1, 'pulp_labels', '', 'user_hidden', false,
        'pulp_domain_id', (SELECT pulp_id FROM core_domain LIMIT 1)))).*
"""
_WORKER = """
import sys
from pulpcore.tasking import entrypoint, worker
worker.WORKER_CLEANUP_INTERVAL = 10
sys.argv[0] = "pulpcore-worker"
sys.exit(entrypoint.worker())
"""
"""`pulpcore-worker`, which looks every ten heartbeats for workers that are gone, and not every hundred."""
_KEPT = "cluster-2.tar"
_SETTINGS = """\
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": "{port}",
    "NAME": "pulp", "USER": "postgres", "PASSWORD": "{password}"}}}}
SECRET_KEY = "of a test"
DB_ENCRYPTION_KEY = "{folder}/key"
CONTENT_ORIGIN = "http://127.0.0.1:{content_port}"
DEPLOY_ROOT = "{folder}"
MEDIA_ROOT = "{folder}/media"
STATIC_ROOT = "{folder}/assets"
WORKING_DIRECTORY = "{folder}/work"
FILE_UPLOAD_TEMP_DIR = "{folder}/work"
CACHE_ENABLED = False
ANALYTICS = False
WORKER_TTL = 3
DOMAIN_ENABLED = {domains}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""


def why_not(version: str = VERSION) -> str | None:
    """Why no Pulp 3 can run here, as a skip reason; `None` if it can. Installs what is missing, which takes minutes."""
    if reason := postgresql.why_not():
        return reason
    with _alone():
        return _install(version)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process at a time installs, whatever number of them runs tests."""
    HOMES.mkdir(exist_ok=True)
    with (HOMES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(version: str) -> str | None:
    home = HOMES / version
    if (home / "installed").exists():
        return None
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
    packages = [f"pulpcore=={version}", *PLUGINS.get(version, ())]
    pip = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALLING_SECONDS, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        return f"pulpcore {version} cannot be installed from a package index here ({last[:200]})"
    (home / "installed").touch()
    return None


class Cluster:
    """A PostgreSQL that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        programs = postgresql._programs()
        assert programs
        self.folder, self.port, self.password = folder, free_port(), secrets.token_hex(8)
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self, kept: Path) -> bool:
        """Unpack the cluster of an earlier run, or make an empty one; whether there was one."""
        self._own(self.folder)
        if kept.exists():
            subprocess.run(["tar", "-xf", str(kept), "-C", str(self.folder)], check=True)
        else:
            (self.folder / "password").write_text(self.password)
            self._own(self.folder / "password")
            options = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={self.folder}/password", "--no-sync"]
            postgresql._run([str(self._programs / "initdb"), "-D", self._data, "-E", "UTF8", *options], self.folder)
        hba = self.folder / "data/pg_hba.conf"
        hba.write_text("local all all trust\nhost all,replication all 127.0.0.1/32 scram-sha-256\n")
        return kept.exists()

    def keep(self, kept: Path) -> None:
        """Pack the cluster, which must be stopped, for later runs."""
        made = kept.with_suffix(f".{os.getpid()}")
        subprocess.run(["tar", "-cf", str(made), "-C", str(self.folder), "data"], check=True)
        made.rename(kept)

    def follow(self, primary: "Cluster") -> None:
        """Start as a standby of another cluster, with all that it has."""
        self._own(self.folder)
        self.password = primary.password
        copy = [
            str(self._programs / "pg_basebackup"),
            "-D",
            self._data,
            "-d",
            primary.url("postgres"),
            "-R",
            "-c",
            "fast",
        ]
        postgresql._run([*copy, "--no-sync"], self.folder)
        self._serve()
        until(self._is_up, what="the standby", seconds=120)

    def promote(self) -> None:
        """Make a standby a cluster that takes writes."""
        with self.connect("postgres") as connection:
            assert connection.execute("SELECT pg_promote()").fetchall() == [(True,)]

    def dump(self, database: str, *, user: str = "postgres") -> bytes:
        """A backup of one database, by somebody with the same password."""
        url = self.url(database).replace("//postgres:", f"//{user}:")
        return subprocess.run([str(self._programs / "pg_dump"), "-Fc", url], capture_output=True, check=True).stdout

    def restore(self, database: str, backup: bytes) -> None:
        """Put a backup in place of a database, whoever uses that."""
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {database}".encode())
        command = [str(self._programs / "pg_restore"), "-d", self.url(database), "--exit-on-error"]
        subprocess.run(command, input=backup, check=True, capture_output=True)

    def start(self) -> None:
        self._serve()
        try:
            until(self._set_password, what="PostgreSQL", seconds=120)
        except AssertionError as error:
            error.add_note((self.folder / "log").read_text(errors="replace")[-3000:])
            raise

    def _serve(self) -> None:
        command = [str(self._programs / "postgres"), "-D", self._data, "-p", str(self.port), "-c", "fsync=off"]
        command += [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self.folder}",
            *postgresql.NO_SHM,
        ]
        with (self.folder / "log").open("ab") as log:
            lent = postgresql._lent(command)
            self._process = subprocess.Popen(lent, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is a fast stop, SIGQUIT an immediate one: connections break, and the next start recovers."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    @property
    def pid(self) -> int:
        """The process of which those of the connections are children."""
        assert self._process
        return self._process.pid

    def url(self, database: str = "pulp") -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "pulp") -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.url(database), autocommit=True)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _is_up(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.connect("postgres").close()
            return True
        return False

    def _set_password(self) -> bool:
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(f"host={self.folder} port={self.port} user=postgres", autocommit=True) as connection,
        ):
            connection.execute(f"ALTER USER postgres PASSWORD '{self.password}'".encode())
            return True
        return False

    @staticmethod
    def _own(path: Path) -> None:
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(path, user.pw_uid, user.pw_gid)


class Pulp3:
    """A Pulp whose API and workers can be started and killed one by one."""

    def __init__(self, folder: Path, cluster: Cluster, version: str, *, domains: bool = False) -> None:
        self.folder, self.cluster, self.version = folder, cluster, version
        self.api = "/pulp/default/api/v3" if domains else API
        self.home = HOMES / version
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._api: subprocess.Popen[bytes] | None = None
        for name in ("media", "assets", "work"):
            (folder / name).mkdir(parents=True)
        (folder / "key").write_text(base64.b64encode(secrets.token_bytes(32)).decode())
        settings = _SETTINGS.format(
            port=cluster.port, password=cluster.password, folder=folder, content_port=free_port(), domains=domains
        )
        (folder / "settings.py").write_text(settings)

    @property
    def api_pid(self) -> int:
        """The process of which those that serve the API are children."""
        assert self._api
        return self._api.pid

    def manage(self, *arguments: str) -> None:
        """Run `pulpcore-manager`."""
        command = [str(self.home / "bin/pulpcore-manager"), *arguments]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        assert not done.returncode, done.stdout[-2000:] + done.stderr[-2000:]

    def upgrade(self, version: str) -> None:
        """Stop, and have another pulpcore migrate the tables and be what runs from now on."""
        if reason := why_not(version):
            pytest.skip(reason)
        if self._api:  # which takes its leave; of one that has not, migrations believe for minutes that it runs
            self._api.terminate()
            self._api.wait(60)
        self.stop()
        self.version, self.home = version, HOMES / version
        self.manage("migrate")

    def start(self, *, workers: int = 1) -> None:
        self._api = self._run("pulpcore-api", "-b", f"127.0.0.1:{self.port}", "--workers", "1")
        for _ in range(workers):
            self.start_worker()
        until(self._is_up, what="Pulp 3", seconds=120)

    def start_worker(self) -> "subprocess.Popen[bytes]":
        """Start one more worker; it is the leader of a process group of its own."""
        worker = self._run("python", "-c", _WORKER)
        self.workers.append(worker)
        return worker

    def kill_worker(self, worker: "subprocess.Popen[bytes]") -> None:
        """`kill -9` of a worker and of the task that it runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(20)
        self.workers.remove(worker)

    def task_processes(self) -> list[int]:
        """The processes of tasks under way: the children of the workers."""
        return [pid for worker in self.workers for pid in _children(worker)]

    def worker_of_a_task(self) -> "subprocess.Popen[bytes]":
        """A worker that has a task under way."""
        (worker, *_) = until(lambda: [worker for worker in self.workers if _children(worker)], what="a task")
        return worker

    def stop(self) -> None:
        for process in (*self.workers, self._api):
            if process and process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)
        self.workers.clear()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask Pulp's API as administrator; raises `urllib.error.HTTPError` on a refusal."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        token = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data, timeout=60) as reply:
            return json.loads(reply.read() or b"null")

    def create_domain(self, name: str) -> str:
        """Create a domain; returns where its API is."""
        storage = {"location": str(self.folder / "media" / name)}
        body = {"name": name, "storage_class": "pulpcore.app.models.storage.FileSystem", "storage_settings": storage}
        self.call("POST", f"{self.api}/domains/", body)
        return f"/pulp/{name}/api/v3"

    def create(
        self,
        kind: str,
        name: str,
        feed: str = "",
        *,
        api: str = "",
        remote: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Create a repository of a kind such as `file/file`, with a remote if there is a feed; returns its href.

        `api` is where the API of another domain is.
        """
        api = api or self.api
        body = {"name": name, **more}
        if feed:
            settings = {"name": f"{name}-remote", "url": feed, **(remote or {})}
            body["remote"] = self.call("POST", f"{api}/remotes/{kind}/", settings)["pulp_href"]
        return str(self.call("POST", f"{api}/repositories/{kind}/", body)["pulp_href"])

    def sync(self, repository: str, **options: Any) -> str:
        """Queue a sync; returns the task's href. Older versions skip nothing, and know no `optimize`."""
        try:
            return str(self.call("POST", f"{repository}sync/", options)["task"])
        except urllib.error.HTTPError as refused:
            if refused.code != 400 or "optimize" not in options:
                raise
        return self.sync(repository, **{key: value for key, value in options.items() if key != "optimize"})

    def publish(self, kind: str, repository: str) -> str:
        """Queue a publish; returns the task's href."""
        api = repository.partition("/repositories/")[0]
        return str(self.call("POST", f"{api}/publications/{kind}/", {"repository": repository})["task"])

    def cancel(self, task: str) -> None:
        self.call("PATCH", task, {"state": "canceled"})

    def state(self, task: str) -> str:
        return str(self.call("GET", task)["state"])

    def ended(self, task: str, *, seconds: float = 120) -> dict[str, Any]:
        """A task once it has ended."""
        until(lambda: self.state(task) in ENDED, what=f"the end of {task}", seconds=seconds)
        report: dict[str, Any] = self.call("GET", task)
        return report

    def _is_up(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            status = self.call("GET", f"{API}/status/")  # which stands there with domains, too
            return bool(status["online_workers"]) or not self.workers
        return False

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [str(self.home / "bin" / program), *arguments],
                env=self._environment(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        ours = {name: text for name, text in os.environ.items() if not name.startswith(("PULP", "PYTEST"))}
        path = f"{self.home}/bin:{ours.get('PATH', '')}"
        return {
            **ours,
            "PATH": path,
            "PULP_SETTINGS": str(self.folder / "settings.py"),
            "DJANGO_SETTINGS_MODULE": "pulpcore.app.settings",
        }


def _children(process: "subprocess.Popen[bytes]") -> list[int]:
    try:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


@contextlib.contextmanager
def pulp3(version: str = VERSION, *, workers: int = 1, start: bool = True, domains: bool = False) -> Iterator[Pulp3]:
    """Run a Pulp 3 with an administrator and empty tables; a test is skipped where none can be."""
    if reason := why_not(version):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="pulpit-pulp3-"))
    folder.chmod(0o755)
    (folder / "postgresql").mkdir()
    cluster = Cluster(folder / "postgresql")
    kept = HOMES / version / _KEPT
    pulp = Pulp3(folder / "pulp", cluster, version, domains=domains)
    try:
        with _alone():
            if not cluster.initialise(kept):
                cluster.start()
                with cluster.connect("postgres") as connection:
                    connection.execute("CREATE DATABASE pulp")
                pulp.manage("migrate")
                pulp.manage("reset-admin-password", "-p", PASSWORD)
                cluster.stop()
                cluster.keep(kept)
        cluster.start()
        if start:
            pulp.start(workers=workers)
        yield pulp
    finally:
        pulp.stop()
        cluster.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
