"""The messages and exit codes of pulp-admin for errors."""

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from pulpit.admin.main import run
from support.command_tables import commands
from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["event"],
        ["event", "listener"],
        ["nonsense"],
        ["event", "listener", "list", "stray"],
        ["event", "listener", "list", "--unknown"],
        ["event", "listener", "delete"],
        ["event", "listener", "delete", "--listener-id", ""],
        ["event", "listener", "delete", "--listener-id"],
        ["event", "listener", "http", "create", "--event-type", "", "--url", "x"],
        ["tasks", "list", "--all", "--state", "running"],
        ["tasks", "purge"],
        ["orphan", "remove"],
        ["-p", "x", "status"],
    ],
)
def test_wrong_use_is_64_and_asks_nobody(admin: RunAdmin, wire: RestWire, arguments: list[str]) -> None:
    assert admin(*arguments) == 64
    assert wire.asked == []


def test_all_missing_options_are_named_at_once(admin: RunAdmin, capsys: Screen) -> None:
    assert admin("event", "listener", "email", "create") == 64
    told = capsys.readouterr().err
    assert "Usage:" in told
    assert all(option in told for option in ("--event-type", "--subject", "--addresses"))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["repo", "history", "sync", "--repo-id", "r", "--limit", "x"], "--limit"),
        (["iso", "repo", "create", "--repo-id", "r", "--proxy-port", "70000"], "--proxy-port"),
        (["iso", "repo", "create", "--repo-id", "r", "--feed-ca-cert", "/no/such/file"], "--feed-ca-cert"),
        (["iso", "repo", "create", "--repo-id", "r", "--note", "x"], "--note"),
        (["tasks", "list", "--state", "asleep"], "--state"),
        (["event", "listener", "email", "update", "--listener-id", "x", "--addresses", ","], "--addresses"),
    ],
)
def test_a_refused_value_is_65_and_names_the_option(
    admin: RunAdmin, capsys: Screen, arguments: list[str], names: str
) -> None:
    assert admin(*arguments) == 65
    assert names in capsys.readouterr().err


ERROR = {"code": "X", "description": "outer", "data": {}, "sub_errors": [{"description": "inner", "sub_errors": []}]}


@pytest.mark.parametrize(
    ("reply", "code", "says"),
    [
        (Reply(status=400, body={"error": ERROR, "property_names": ["a"]}), 65, "outer\ninner"),
        (Reply(status=400, body={"property_names": ["event_types"]}), 65, "event_types"),
        (Reply(status=400, body={"missing_property_names": ["id"]}), 65, "Still needed: id"),
        (Reply(status=404, body={"resources": {"event_listener": "abc"}}), 65, "  abc (event_listener)"),
        (Reply(status=409, body={"resource_id": "zoo"}), 65, "zoo"),
        (
            Reply(status=409, body={"reasons": [{"resource_type": "repo", "resource_id": "z", "operation": "sync"}]}),
            65,
            "sync: z (repo)",
        ),
        (Reply(status=409, body={"error_message": "busy"}), 65, "busy"),
        (Reply(status=401, body={"auth_error_code": "authentication_failed"}), 77, "who asks"),
        (Reply(status=401, body={}), 77, "who asks"),
        (Reply(status=500, body={"error_message": "boom", "_href": "/x"}), 70, "boom"),
        (Reply(status=503, body=None), 70, "503"),
        (Reply(status=404, body=None), 70, "404"),
        (Reply(status=502, raw=b"<html>"), 70, "502"),
        (Reply(status=302, raw=b"", headers={"Location": "http://elsewhere/"}), 70, "302"),
        (Reply(status=200, raw=b"hello"), 70, "not JSON"),
        (Reply(status=404, body={"resources": {"x\x1b[2J": "\x1b]0;t\x07"}}), 65, "]0;t"),
    ],
)
def test_a_refusal_has_its_code_and_a_sentence(  # noqa: PLR0917 - three parts and three columns of the table
    admin: RunAdmin, wire: RestWire, capsys: Screen, reply: Reply, code: int, says: str
) -> None:
    wire.on("GET events/", reply)
    assert admin("event", "listener", "list") == code
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.out == ""
    assert "\x1b" not in shown.err


def test_wrong_credentials_are_told_from_missing_ones(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("GET events/", Reply(status=401, body={"auth_error_code": "authentication_failed"}))
    assert admin("-u", "u", "-p", "wrong", "event", "listener", "list") == 77
    told = capsys.readouterr().err
    assert "does not accept" in told
    assert "wrong" not in told
    assert wire.asked[0].headers["Authorization"] == "Basic dTp3cm9uZw=="


def test_a_first_password_that_was_changed_is_named(
    admin: RunAdmin, wire: RestWire, tmp_path: Path, capsys: Screen
) -> None:
    wire.on("GET events/", Reply(status=401, body={"auth_error_code": "authentication_failed"}))
    first = tmp_path / "admin-password"
    first.write_text("first\n")
    first.chmod(0o600)
    assert admin("event", "listener", "list") == 77
    assert "admin-password in the data folder" in capsys.readouterr().err
    assert admin("-u", "admin", "-p", "wrong", "event", "listener", "list") == 77
    assert "admin-password" not in capsys.readouterr().err


def test_nobody_at_the_address_is_74(admin: RunAdmin, capsys: Screen) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert admin("--url", url, "status") == 74
    assert url in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://no-such-host.invalid:1", "http://" + "a" * 70 + ".invalid"])
def test_an_unknown_host_is_78(admin: RunAdmin, capsys: Screen, url: str) -> None:
    assert admin("--url", url, "status") == 78
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_answer_that_is_no_http_is_74(admin: RunAdmin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_say, args=(server, b"SSH-2.0-x\r\n\r\n"))
        thread.start()
        assert admin("--url", f"http://127.0.0.1:{server.getsockname()[1]}", "status") == 74
        thread.join()


def test_http_where_https_is_spoken_is_told(admin: RunAdmin, authority: trustme.CA, capsys: Screen) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve_tls, args=(server, context))
        thread.start()
        assert admin("--url", f"http://127.0.0.1:{server.getsockname()[1]}", "status") == 74
        thread.join()
    assert "Is it https://" in capsys.readouterr().err


def _say(server: socket.socket, words: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(words)


def _serve_tls(server: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = server.accept()
    with connection:
        try:
            with context.wrap_socket(connection, server_side=True) as encrypted:
                encrypted.recv(65536)
                encrypted.sendall(b"HTTP/1.0 200 OK\r\n\r\n{}")
        except OSError:
            pass


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def _over_tls(admin: RunAdmin, certificate: trustme.LeafCert, *options: str) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve_tls, args=(server, context))
        thread.start()
        code = admin("--url", f"https://127.0.0.1:{server.getsockname()[1]}", *options, "status")
        thread.join()
    return code


def test_tls_is_checked(admin: RunAdmin, authority: trustme.CA, tmp_path: Path, capsys: Screen) -> None:
    ca_path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_path)
    good, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("other.example.com")
    assert _over_tls(admin, good, "--ca-path", str(ca_path)) == 0
    assert _over_tls(admin, other, "--ca-path", str(ca_path)) == 65
    assert "another host" in capsys.readouterr().err
    assert _over_tls(admin, good) == 70
    assert "not trusted" in capsys.readouterr().err
    conf = tmp_path / "a.conf"
    conf.write_text("[server]\nverify_ssl: false\n")
    assert _over_tls(admin, good, "--config", str(conf)) == 0


def test_a_missing_ca_file_is_78(admin: RunAdmin) -> None:
    assert admin("--url", "https://127.0.0.1:1", "--ca-path", "/no/such", "status") == 78


def test_help_and_version_are_0(admin: RunAdmin, capsys: Screen) -> None:
    assert admin("--help") == 0
    assert admin("event", "listener", "http", "create", "--help") == 0
    assert admin("--version") == 0
    assert capsys.readouterr().out.startswith("Usage: pulp-admin")


def test_a_closed_pipe_ends_quietly(wire: RestWire, tmp_path: Path) -> None:
    wire.on("GET events/", Reply(body=[{"id": str(number), "x": "y" * 1000} for number in range(500)]))
    program = "from pulpit.admin.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--url", wire.url, "--json", "event", "listener", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"HOME": str(tmp_path), "PULPIT_DATA_DIR": str(tmp_path)},
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, b"")


def test_every_command_has_help_and_json() -> None:
    for words, command in commands():
        assert command.help, words
        assert any("--json" in parameter.opts for parameter in command.params), words
    assert run(["--help"]) == 0
