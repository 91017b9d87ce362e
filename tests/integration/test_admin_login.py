"""`pulp-admin login` against a real server that speaks HTTPS: the session replaces the password until it expires."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.processes import clean_environment
from support.server import Server, pulpit

PROGRAM = [sys.executable, "-c", "from pulpit.admin.main import main; main()"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    conf = f"[messaging]\nurl =\n[server]\nssl_certificate: {folder}/cert.pem\nssl_key: {folder}/key.pem\n"
    with pulpit(folder / "data", conf) as running:
        yield running


class Admin:
    """Somebody at another machine, who has nothing but an address, a name and a password."""

    def __init__(self, server: Server, home: Path) -> None:
        self.session = home / ".pulp" / "user-cert.pem"
        self.environment = {
            **clean_environment(),
            "HOME": str(home),
            "PULPIT_DATA_DIR": str(home),
            "PULPIT_URL": f"https://localhost:{server.port}",
        }
        self._trust = ["--ca-path", str(server.data_dir.parent / "ca.pem")]

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [*PROGRAM, *self._trust, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done
        return done.stdout + done.stderr


@pytest.fixture
def admin(server: Server, tmp_path: Path) -> Admin:
    return Admin(server, tmp_path)


def test_a_session_from_its_beginning_to_its_end(admin: Admin, server: Server) -> None:
    assert "wants to know who asks" in admin.run("repo", "list", code=77)
    told = admin.run("login", "-u", "admin", "-p", server.password)
    assert told.startswith("Logged in as admin until 20")
    assert stat.S_IMODE(admin.session.stat().st_mode) == 0o600
    assert "no such repositories" in admin.run("repo", "list")
    assert admin.run("logout") == "Logged out.\n"
    assert not admin.session.exists()
    assert "Nobody is logged in" in admin.run("logout")
    assert "wants to know who asks" in admin.run("repo", "list", code=77)


def test_a_user_that_is_named_counts_more_than_the_session(admin: Admin, server: Server) -> None:
    admin.run("login", "-u", "admin", "-p", server.password)
    assert "does not accept" in admin.run("-u", "admin", "-p", "wrong", "repo", "list", code=77)


def test_user_and_password_may_come_before_the_command(admin: Admin, server: Server) -> None:
    assert "login -u USER" in admin.run("login", code=64)
    assert admin.run("-u", "admin", "-p", server.password, "login").startswith("Logged in as admin until 20")
    assert "does not accept" in admin.run("-u", "admin", "-p", server.password, "login", "-p", "wrong", code=77)
    assert "Nobody" not in admin.run("logout")


def test_a_session_ends_when_the_password_is_changed(admin: Admin, server: Server) -> None:
    credentials = ["-u", "admin", "-p", server.password]
    admin.run(*credentials, "auth", "user", "create", "--login", "jane", "--password", "old")
    admin.run("login", "-u", "jane", "-p", "old")
    assert "jane" in admin.run("auth", "user", "list")
    admin.run(*credentials, "auth", "user", "update", "--login", "jane", "--password", "new")
    assert "The session has ended" in admin.run("auth", "user", "list", code=77)


def test_a_wrong_password_keeps_nothing(admin: Admin) -> None:
    assert "does not accept" in admin.run("login", "-u", "admin", "-p", "wrong", code=77)
    assert not admin.session.exists()


def test_what_is_no_session_is_named(admin: Admin) -> None:
    admin.session.parent.mkdir()
    admin.session.write_text("nothing")
    assert "log in again" in admin.run("repo", "list", code=78)
    admin.run("logout")


def test_over_http_there_is_no_session(admin: Admin, server: Server) -> None:
    admin.environment["PULPIT_URL"] = f"http://127.0.0.1:{server.port}"
    assert "needs https" in admin.run("login", "-u", "admin", "-p", "x", code=64)
