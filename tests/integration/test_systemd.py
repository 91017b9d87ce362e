"""The server as a systemd service: the notify protocol, and the units that are installed."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from pulpit.server.process import ServiceManager
from pulpit.server.service import NotInstallable, for_machine, quoted
from support.ports import free_port

PULPIT = Path(sys.executable).with_name("pulpit")
UNITS = resources.files("pulpit.server").joinpath("units")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


class Manager:
    """The end of the protocol that systemd holds."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(120)

    def heard(self) -> list[str]:
        return self._socket.recv(4096).decode().splitlines()

    def heard_until(self, assignment: str) -> list[str]:
        """Everything up to a message with an assignment."""
        lines: list[str] = []
        while assignment not in lines:
            lines += self.heard()
        return lines

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def manager(address: str) -> Iterator[Manager]:
    with contextlib.closing(Manager(address)) as one:
        yield one


@pytest.mark.timeout(300)
def test_a_server_says_when_it_is_ready_that_it_lives_and_when_it_stops(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    port = free_port()
    options = ["--data-dir", str(tmp_path / "data"), "--port", str(port), "--broker-port", "0"]
    environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000", "PULP_SERVER_CONF": os.devnull}
    with (
        manager(address) as systemd,
        subprocess.Popen([PULPIT, "serve", *options], env=environment, stderr=subprocess.DEVNULL) as server,
    ):
        try:
            assert systemd.heard() == ["READY=1", f"STATUS=Answers at http://127.0.0.1:{port}"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=20) as answer:
                assert answer.status == 200
            for _ in range(3):
                assert systemd.heard() == ["WATCHDOG=1"]
            server.send_signal(signal.SIGTERM)
            assert set(systemd.heard_until("STOPPING=1")) <= {"WATCHDOG=1", "STOPPING=1"}
            assert server.wait(30) == 0
        finally:
            server.kill()


def test_a_name_without_a_file_is_taken_and_nothing_is_left_for_children() -> None:
    name = f"@pulpit-test-{os.getpid()}"
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    with manager(f"\0{name[1:]}") as systemd:
        service = ServiceManager(environment)
        service.say("READY=1")
        assert systemd.heard() == ["READY=1"]
    assert service.pause == 5
    assert environment == {"PATH": "/bin"}
    service.say("STOPPING=1")  # nobody is there any more, which ends no service


@pytest.mark.parametrize(
    "environment", [{}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}], ids=str
)
def test_who_is_asked_for_no_signs_of_life_gives_none(environment: dict[str, str]) -> None:
    assert ServiceManager(environment).pause == 0


def test_a_service_of_the_machine_must_be_where_services_can_see_it() -> None:
    plan = for_machine(Path("/opt/pulpit/bin/pulpit"), Path("/usr/bin/python3.11"))
    unit = plan.files[Path("/etc/systemd/system/pulpit.service")]
    assert "\nExecStart=/opt/pulpit/bin/pulpit serve\n" in unit
    assert "\nType=notify\n" in unit
    workers = plan.files[Path("/etc/systemd/system/pulpit-worker@.service")]
    assert "\nExecStart=/opt/pulpit/bin/pulpit worker --data-dir /var/lib/pulpit-worker-%i\n" in workers
    assert plan.files[Path("/etc/sysusers.d/pulpit.conf")].splitlines()[-1].startswith("u pulpit ")
    for program, interpreter in (
        (Path("/", "root", "bin", "pulpit"), Path("/usr/bin/python3")),
        (Path("/opt/x/pulpit"), Path("/home", "jane", "python")),
    ):
        with pytest.raises(NotInstallable, match="cannot see it"):
            for_machine(program, interpreter)


def test_a_service_of_a_user_is_written_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": "/config"}
    command: list[str | Path] = [PULPIT, "install-service", "--user", "--root", tmp_path]
    unit = tmp_path / "config/systemd/user/pulpit.service"
    for options, is_there in ((["--dry-run"], False), ([], True)):
        done = subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert str(unit) in done.stdout
        assert "to run: systemctl --user daemon-reload" in done.stdout
        assert unit.exists() is is_there
    assert f"ExecStart={quoted(PULPIT)} serve" in unit.read_text()


def test_a_unit_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where a folder should be")
    environment = {**os.environ, "XDG_CONFIG_HOME": "/config"}
    command: list[str | Path] = [PULPIT, "install-service", "--user", "--root", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot be written" in done.stderr


@needs_systemd
@pytest.mark.parametrize("name", ["pulpit.service", "pulpit-user.service", "pulpit-worker@.service"])
def test_systemd_finds_no_fault_with_the_units(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "a folder with 100%"
    folder.mkdir()
    program = folder / "pulpit"
    program.symlink_to(PULPIT)
    unit = tmp_path / name.replace("@", "@1")
    unit.write_text(UNITS.joinpath(name).read_text().replace("/usr/bin/pulpit", quoted(program)))
    command: list[str | Path] = ["systemd-analyze", "verify", "--man=no", *(["--user"] if "user" in name else []), unit]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_the_service_is_confined(tmp_path: Path) -> None:
    unit = tmp_path / "pulpit.service"
    unit.write_text(UNITS.joinpath("pulpit.service").read_text().replace("/usr/bin/pulpit", str(PULPIT)))
    command: list[str | Path] = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze knows no --offline")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or os.geteuid() != 0, reason="systemd-sysusers and root are needed"
)
def test_the_user_is_made(tmp_path: Path) -> None:
    conf = tmp_path / "pulpit.conf"
    conf.write_text(UNITS.joinpath("pulpit.sysusers").read_text())
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", conf], check=True, capture_output=True, timeout=60)
    [line] = (tmp_path / "etc/passwd").read_text().splitlines()
    assert line.startswith("pulpit:")
    assert line.endswith(":/var/lib/pulpit:/usr/sbin/nologin")
