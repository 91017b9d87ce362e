"""A running server reloads certificates, users and permissions, and ignores invalid ones."""

import base64
import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker

from support.authority import Authority
from support.ports import free_port
from support.server import Server, pulpit
from support.waiting import until


class Files:
    """What an administrator edits while the server runs."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "authority")
        self.certificate, self.users, self.permissions = (folder / name for name in ("tls.pem", "users", "permissions"))
        self.certify("one.example.com")
        self.say("ann:first\nbob:b\n", "ann all * *\nbob all * *\n")

    def certify(self, name: str) -> None:
        """Put a new certificate in place, as an ACME client does."""
        fresh = self.authority.issue("fresh", name, "127.0.0.1")
        shutil.move(fresh, self.certificate)

    def say(self, users: str, permissions: str) -> None:
        for path, text in ((self.users, users), (self.permissions, permissions)):
            path.write_text(text)
            path.chmod(0o600)

    @property
    def configuration(self) -> str:
        tls = f"ssl_certificate: {self.certificate}\nssl_key: {self.certificate}\n"
        people = f"users_file: {self.users}\npermissions_file: {self.permissions}\n"
        return f"[server]\nlog_format: json\n{tls}[broker]\n{tls}{people}"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def server(files: Files, tmp_path: Path) -> Iterator[Server]:
    with pulpit(tmp_path / "data", files.configuration) as running:
        yield running


def shown(port: int, authority: Authority) -> str:
    """The first name in the certificate that stands at a port."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        authority.client().wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        certificate: Any = tls.getpeercert()
    return str(certificate["subjectAltName"][0][1])


@contextlib.contextmanager
def connected(server: Server, files: Files, user: str, password: str) -> Iterator[pika.BlockingConnection]:
    parameters = pika.ConnectionParameters(
        "127.0.0.1",
        server.broker_port,
        credentials=pika.PlainCredentials(user, password),
        ssl_options=pika.SSLOptions(files.authority.client(), "127.0.0.1"),
    )
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection
    finally:
        with contextlib.suppress(AMQPError):
            connection.close()


def enters(server: Server, files: Files, user: str, password: str) -> bool:
    try:
        with connected(server, files, user, password):
            return True
    except AMQPError:
        return False


def actions(server: Server, action: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.said if line.startswith("{")]
    return [line for line in lines if line.get("action") == action]


def test_a_renewed_certificate_is_shown_without_a_restart_and_the_server_trusts_its_own(
    server: Server, files: Files
) -> None:
    ports = (server.port, server.broker_port)
    with connected(server, files, "ann", "first") as before:
        assert [shown(port, files.authority) for port in ports] == ["one.example.com"] * 2
        files.certificate.write_text("half a certificate")
        until(lambda: len(actions(server, "files_not_renewed")) == 2, what="the complaint")
        files.certify("two.example.com")
        until(lambda: {shown(port, files.authority) for port in ports} == {"two.example.com"}, what="the new one")
        before.process_data_events(0)
    body = {"notifier_type_id": "amqp", "notifier_config": {"exchange": "pulp"}, "event_types": ["*"]}
    asked(
        server, files, "POST", "/pulp/api/v2/events/", body
    )  # from now on the server itself is a client of its broker
    until(lambda: asked(server, files, "GET", "/pulp/api/v2/status/")["messaging_connection"]["connected"])


def asked(server: Server, files: Files, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(f"https://127.0.0.1:{server.port}{path}", method=method)
    request.add_header("Authorization", f"Basic {base64.b64encode(f'admin:{server.password}'.encode()).decode()}")
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data, timeout=60, context=files.authority.client()) as answer:
        return json.load(answer)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_not_spoken(server: Server, files: Files, version: ssl.TLSVersion) -> None:
    for port in (server.port, server.broker_port):
        context = files.authority.client()
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_users_and_permissions_change_without_a_restart(server: Server, files: Files) -> None:
    with connected(server, files, "ann", "first") as ann, connected(server, files, "bob", "b") as bob:
        files.say("ann:first\nno colon\n", "ann all * *\n")
        until(lambda: actions(server, "files_not_renewed"), what="the complaint")
        assert "line 2 of" in actions(server, "files_not_renewed")[0]["message"]
        assert enters(server, files, "bob", "b")
        files.say("ann:second\nbob:b\neve:e\n", "ann all * *\nbob all * *\neve read queue q\n")
        until(lambda: enters(server, files, "ann", "second"), what="the new password")
        assert not enters(server, files, "ann", "first")
        with pytest.raises(ConnectionClosedByBroker, match="rights of user 'ann' have changed"):
            ann.process_data_events(5)
        bob.channel().queue_declare("bobs", exclusive=True)
        with connected(server, files, "eve", "e") as eve, pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            eve.channel().queue_declare("q")


def test_the_broker_alone_takes_over_what_changes_too(files: Files, tmp_path: Path) -> None:
    port, conf = free_port(), tmp_path / "conf"
    conf.write_text(files.configuration)
    options = ["--config", str(conf), "--data-dir", str(tmp_path / "alone"), "--port", str(port)]
    broker = subprocess.Popen([sys.executable, "-m", "pulpit.cli", "broker", *options], stderr=subprocess.DEVNULL)
    try:
        until(lambda: shows(port, files.authority, "one.example.com"), what="the broker")
        files.certify("two.example.com")
        until(lambda: shows(port, files.authority, "two.example.com"), what="the new certificate")
    finally:
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(60) == 0


def shows(port: int, authority: Authority, name: str) -> bool:
    try:
        return shown(port, authority) == name
    except OSError:
        return False
