"""The server process: start, files on disk, end, and the messages when it cannot start."""

import base64
import contextlib
import json
import os
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pika
import pytest
import trustme

from support.ports import free_port
from support.processes import clean_environment, listens
from support.server import Server, pulpit
from support.waiting import until

CONFIGURATION_ERROR = 78


def run(*options: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pulpit.cli", *options]
    environment = clean_environment()
    environment["PULP_SERVER_CONF"] = os.devnull
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, check=False)


def refused(*options: str) -> str:
    """The one sentence of a start that cannot be."""
    done = run(*options)
    assert done.returncode == CONFIGURATION_ERROR, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if not line[:4].isdigit()]
    assert sentence.startswith("pulpit: ")
    return sentence


def test_what_is_kept_is_kept_from_others_and_the_password_is_shown_once(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        shown = [line for line in server.said if server.password in line]
        assert len(shown) == 1
        server.stop()
        server.start()
        assert [line for line in server.said if server.password in line] == shown
        data_dir = server.data_dir
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    for path in data_dir.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0 or path.is_symlink(), path
    kept = b"".join(path.read_bytes() for path in data_dir.glob("pulpit.db*"))
    assert server.password.encode() not in kept


def test_d6_the_status_of_a_new_server_tells_of_its_broker(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        assert server.call("GET", "/pulp/api/v2/status/")["messaging_connection"] == {"connected": True}


def test_d6_a_broker_that_is_away_is_told_within_seconds(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data", f"[messaging]\nurl = amqp://a:b@127.0.0.1:{free_port()}/\n") as server:
        for _ in range(3):
            assert server.call("GET", "/pulp/api/v2/status/")["messaging_connection"] == {"connected": False}


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        assert server.stop() == 0


def test_a_request_of_a_server_that_is_still_starting_waits_for_its_response(tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "pulpit.cli",
        "serve",
        "--config",
        os.devnull,
        "--data-dir",
        str(tmp_path / "data"),
    ]
    command += ["--port", str(port), "--broker-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=clean_environment()) as process:
        try:
            until(lambda: listens(port), what="the port to be open")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=60) as response:
                assert response.status == 200
        finally:
            process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("option", ["--port", "--broker-port"])
def test_a_port_that_is_taken_is_one_sentence_that_names_the_key(tmp_path: Path, option: str) -> None:
    ports = {"--port": "0", "--broker-port": "0"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports[option] = str(taken.getsockname()[1])
        words = [word for pair in ports.items() for word in pair]
        sentence = refused("serve", "--data-dir", str(tmp_path / "data"), *words)
    section = "server" if option == "--port" else "broker"
    assert f"[{section}] port" in sentence
    assert ports[option] in sentence


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "many"], "[server] port: it must be a whole number"),
        (["--host", "nowhere.invalid"], "[server] host"),
        (["--host", "192.0.2.1", "--port", "0"], "[server] host: 192.0.2.1 is no address of this machine."),
        (["--config", "none.conf"], "there is no file none.conf"),
        (["--data-dir", "/dev/null/data"], "[server] data_dir"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_key(tmp_path: Path, options: list[str], words: str) -> None:
    given = options if "--data-dir" in options else ["--data-dir", str(tmp_path / "data"), *options]
    assert words in refused("serve", "--broker-port", "0", *given)


def test_a_database_of_a_newer_version_is_one_sentence(tmp_path: Path) -> None:
    """And an exit code that systemd does not restart upon; so it is for `pulpit check`."""
    with pulpit(tmp_path / "data") as server:
        server.stop()
        with contextlib.closing(sqlite3.connect(server.data_dir / "pulpit.db")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0999'")
            connection.commit()
        for command in (["serve", "--port", "0", "--broker-port", "0"], ["check"]):
            sentence = refused(*command, "--data-dir", str(server.data_dir))
            assert "pulpit.db was written by a newer version of Pulpit" in sentence


def test_a_second_server_in_one_folder_is_refused(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        options = ["--data-dir", str(server.data_dir), "--port", "0", "--broker-port", "0"]
        assert "another server is running" in refused("serve", *options)


def test_the_broker_with_users_and_tls_serves_them_and_the_server_itself(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "broker.pem"
    authority.issue_cert("broker.example.org").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    certificate.chmod(0o600)
    users = tmp_path / "users"
    users.write_text(f"# who may\nann:{run_hash('secret')}\n")
    users.chmod(0o600)
    conf = f"[broker]\nusers_file: {users}\nssl_certificate: {certificate}\nssl_key: {certificate}\n"
    with pulpit(tmp_path / "data", conf) as server:
        listener = server.listen("pulp")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        parameters = pika.ConnectionParameters(
            "127.0.0.1",
            server.broker_port,
            credentials=pika.PlainCredentials("ann", "secret"),
            ssl_options=pika.SSLOptions(context, "broker.example.org"),
        )
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            until(lambda: server.call("GET", "/pulp/api/v2/status/")["messaging_connection"]["connected"])
            channel.exchange_declare("pulp", passive=True)
        assert server.call("GET", f"/pulp/api/v2/events/{listener}/")["_delivery"]["last_error"] is None


def test_the_broker_can_be_looked_into(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data") as server:
        server.listen("pulp")
        with pika.BlockingConnection(pika.URLParameters(server.amqp_url)) as connection:
            channel = connection.channel()
            channel.queue_declare("mine\x1b[2J", durable=True)
            channel.queue_bind("mine\x1b[2J", "amq.topic", "a.#")
            channel.basic_publish("amq.topic", "a.b", b"x")
            until(lambda: look(server, "status")["published"] == 1, what="the message to be counted")
            (queue,) = look(server, "queues")
            assert (queue["messages_ready"], queue["consumers"]) == (1, 0)
            assert {"amq.topic", "pulp"} <= {exchange["name"] for exchange in look(server, "exchanges")}
            assert [binding["routing_key"] for binding in look(server, "bindings") if binding["source"]] == ["a.#"]
            assert {client["user"] for client in look(server, "connections")} == {"guest", "pulpit"}
            table = run("broker", "queues", *asking(server)).stdout
        assert "\x1b" not in table
        assert table.splitlines()[0].split("  ")[0] == "vhost"
        token = base64.b64encode(f"admin:{server.password}".encode()).decode()
        request = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Basic {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert b"pulpit_broker_published_total 1.0" in answer.read()


def look(server: Server, part: str) -> Any:
    done = run("broker", part, "--json", *asking(server))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def asking(server: Server) -> list[str]:
    return ["--url", server.url, "-u", "admin", "--password-file", str(server.data_dir / "admin-password")]


def test_an_empty_password_is_not_hashed() -> None:
    command = [sys.executable, "-m", "pulpit.cli", "broker", "hash"]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr == "pulpit: There is no password on standard input.\n"


def run_hash(password: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pulpit.cli", "broker", "hash"],
        input=password,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def test_users_that_others_can_read_are_refused(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:secret\n")
    users.chmod(0o644)
    conf = tmp_path / "conf"
    conf.write_text(f"[broker]\nusers_file: {users}\n")
    options = ["--config", str(conf), "--data-dir", str(tmp_path / "data"), "--port", "0"]
    assert "chmod 600" in refused("serve", *options)


def test_the_broker_alone(tmp_path: Path) -> None:
    port = free_port()
    options = ["--data-dir", str(tmp_path / "data"), "--port", str(port)]
    broker = subprocess.Popen([sys.executable, "-m", "pulpit.cli", "broker", *options], stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens(port), what="the broker")
        with pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/%2F")) as connection:
            connection.channel().queue_declare("mine", durable=True)
    finally:
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(60) == 0


@pytest.mark.parametrize("closed", [(0,), (0, 1), (1, 2), (0, 1, 2)])
def test_closed_standard_streams_are_filled(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """No socket gets their numbers, so nothing is printed to a client and the event loop does not abort."""
    data, port = tmp_path / "data", free_port()
    redirections = " ".join(f"{number}>&-" for number in closed)
    command = f'exec "$0" -m pulpit.cli serve --data-dir "$1" --port {port} --broker-port 0 {redirections}'
    environment = clean_environment()
    process = subprocess.Popen(
        ["sh", "-c", command, sys.executable, str(data)],
        env={**environment, "PULP_SERVER_CONF": os.devnull},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: listens(port), what="the server")
        for number in closed:
            assert str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) == os.devnull
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_a_full_standard_error_ends_no_server(tmp_path: Path) -> None:
    """What cannot be said is not said."""
    port = free_port()
    command = [sys.executable, "-m", "pulpit.cli", "serve", "--data-dir", str(tmp_path / "data"), "--port", str(port)]
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen([*command, "--broker-port", "0"], stderr=full, stdout=full)
    try:
        until(lambda: listens(port), what="the server")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_a_demo_that_is_ended_ends_what_it_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pulpit.cli", "demo"]
    with subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        ready = next(line for line in demo.stdout if "was ready at" in line)
        demo.terminate()
        demo.communicate(timeout=60)
    assert demo.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    port = int(ready.rpartition(" ")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
