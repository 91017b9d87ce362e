"""A user ID without an account and without HOME, as some containers have it, and a machine whose resolver is away."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import upstream
from support.server import pulpit

STRANGER = ("unshare", "--user", "--map-user=54321", sys.executable, "-m")
OFFLINE = ("unshare", "--user", "--net", "--map-user=54321", sys.executable, "-m")


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    """Skip where no user namespace can be made: there is no other way to such a user but as root."""
    if subprocess.run([*STRANGER, "platform"], capture_output=True, check=False).returncode != 0:
        pytest.skip("user namespaces (`unshare --user --map-user`) are not available")


def run(*command: str, within: Sequence[str] = STRANGER, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module of ours as that user."""
    known = {name: value for name, value in os.environ.items() if name not in {"HOME", "PULPIT_DATA_DIR"}}
    known = {name: value for name, value in known.items() if not name.startswith("XDG_")} | environment
    return subprocess.run(
        [*within, *command],
        env=known,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("command", ["serve", "check", "doctor"])
def test_a_server_wants_its_data_folder_named(command: str) -> None:
    done = run("pulpit.cli", command)
    assert done.returncode == 78, done.stderr
    [sentence] = done.stderr.splitlines()
    assert "[server] data_dir: the user ID 54321 has no home folder" in sentence


def test_clients_need_none(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        for command in (["pulpit.admin", "event", "listener", "list"], ["pulpit.cli", "fire", "ci.build.finish"]):
            done = run(*command, PULPIT_URL=server.url, PULPIT_DATA_DIR=str(server.data_dir))
            assert (done.returncode, done.stderr) == (0, "")


def test_what_has_to_be_kept_in_a_home_folder_says_so() -> None:
    on = ("pulpit.cli", "on", "repo.publish.finish", "--name", "x")
    for command in ([*on, "--", "true"], ["pulpit.cli", "install-service", "--user", "--dry-run"]):
        done = run(*command)
        assert done.returncode == 78, done.stderr
        assert "HOME: the user ID 54321 has no home folder" in done.stderr
    done = run("pulpit.admin", "logout")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    done = run("pulpit.admin", "status", PULPIT_DATA_DIR="~nobody-of-this-name/data")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)


def test_a_resolver_that_is_away_is_waited_for() -> None:
    login = {"PULPIT_URL": "http://pulp.example.org", "PULPIT_USERNAME": "admin", "PULPIT_PASSWORD": "pw"}
    done = run("pulpit.cli", "fire", "ci.build.finish", "--retry-for", "1s", within=OFFLINE, **login)
    assert done.returncode == 74, done.stderr
    assert "The host of http://pulp.example.org cannot be looked up now" in done.stderr
    assert "Retrying" in done.stderr


def test_a_server_for_which_warnings_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with upstream.running() as feed, pulpit(tmp_path / "data") as server:
        feed.put("a.iso", b"first file")
        feed.manifest()
        server.listen("pulp")
        server.create_iso("files", feed.url)
        assert server.ended(server.sync("files"))["state"] == "finished"
    assert [line for line in server.said if "Warning" in line] == []


@pytest.mark.skipif(shutil.which("ip") is None, reason="`ip` (Debian package iproute2) is not installed")
def test_a_demo_without_the_address_127_0_0_1_says_so() -> None:
    without = 'ip link set lo up && ip address del 127.0.0.1/8 dev lo && exec "$@"'
    within = ("unshare", "--user", "--net", "--map-root-user", "sh", "-c", without, "sh", sys.executable, "-m")
    done = run("pulpit.cli", "demo", within=within)
    assert done.returncode == 1
    assert done.stderr == "pulpit: this machine refuses what the demo needs: Cannot assign requested address.\n"
