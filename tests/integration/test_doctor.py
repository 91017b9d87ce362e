"""`pulpit doctor`: every problem is reported with a remedy, and a healthy server has none."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from pulpit.clock import system_clock
from pulpit.server import notifiers
from pulpit.server.doctor import examine
from pulpit.server.doctor_machine import Finding, State
from pulpit.settings import (
    BrokerSettings,
    EmailSettings,
    KafkaSettings,
    MessagingSettings,
    NatsSettings,
    Pulp3Settings,
    ServerSettings,
    Settings,
    StorageSettings,
)
from pulpit.storage.opening import open_storage
from pulpit.store import dead_letters, listeners, schema, servers
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.servers import Instance
from support import database, s3
from support.authority import Authority
from support.ports import free_port
from support.processes import clean_environment
from support.server import Server, pulpit
from support.waiting import until

pytestmark = pytest.mark.timeout(300)
BAD = (State.WARNING, State.PROBLEM)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("doctor") / "data", "[server]\nwebhook_allow: 127.0.0.0/8\n") as server:
        until(lambda: len(server.call("GET", "/pulp/api/v2/status/")["known_workers"]) == 2, what="the workers")
        yield server


def settings_of(folder: Path, **sections: Any) -> Settings:
    """A server that never ran, on free ports."""
    own = {"server": ServerSettings(data_dir=str(folder), port=free_port()), "broker": BrokerSettings(port=free_port())}
    return Settings(**{**own, **sections})


def of(server: Server) -> Settings:
    section = ServerSettings(data_dir=str(server.data_dir), port=server.port)
    return Settings(server=section, broker=BrokerSettings(port=server.broker_port))


def told(settings: Settings, part: str) -> list[Finding]:
    """What is not well with one part."""
    return [found for found in examine(settings, []) if found.part == part and found.state in BAD]


def doctor(*options: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment()
    command = [sys.executable, "-m", "pulpit.cli", "doctor", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_before_the_first_start_nothing_is_made_and_nothing_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    findings = list(examine(settings_of(folder), []))
    assert [found for found in findings if found.state is State.PROBLEM] == []
    assert {"configuration", "server", "files", "disk", "ports", "database", "broker"} <= {it.part for it in findings}
    assert not folder.exists()


def test_a_healthy_server_has_no_problem(served: Server) -> None:
    options: list[str | Path] = [
        "--data-dir",
        served.data_dir,
        "--port",
        str(served.port),
        "--broker-port",
        str(served.broker_port),
    ]
    asked = doctor(*options, "--json")
    assert (asked.returncode, asked.stderr) == (0, "")
    document = json.loads(asked.stdout)
    assert document["well"] is True
    sentences = [found["sentence"] for found in document["findings"]]
    assert f"The server at {served.url} answers and has 2 workers." in sentences
    assert f"The embedded broker answers at 127.0.0.1:{served.broker_port}." in sentences
    assert {found["state"] for found in document["findings"]} <= {"ok", "warning"}


def test_a_running_server_that_is_asked_at_the_wrong_port_is_told_from_one_that_stopped(served: Server) -> None:
    asked = doctor("--data-dir", served.data_dir, "--port", str(free_port()), "--broker-port", str(free_port()))
    assert asked.returncode == 3
    lines = [line for line in asked.stdout.splitlines() if line.startswith("problem")]
    assert "does not answer" in lines[0]
    assert "give the same ones here" in lines[0]
    assert "The embedded broker does not answer" in lines[1]
    assert asked.stdout.splitlines()[-1].startswith("2 problems, ")


def test_a_listener_that_fails_and_one_with_dead_letters_are_named(served: Server) -> None:
    config = {"url": f"http://127.0.0.1:{free_port()}/hook"}
    body = {"notifier_type_id": "http", "notifier_config": config, "event_types": ["ci.#"]}
    made = served.call("POST", "/pulp/api/v2/events/", body)["id"]
    served.call("POST", "/pulpit/v1/events", {"event_type": "ci.build.finish"})
    [failing] = until(lambda: told(of(served), "listeners"), what="the failure to be told")
    assert made in failing.sentence
    assert failing.state is State.PROBLEM
    assert f"--listener-id {made}" in failing.remedy
    served.call("DELETE", f"/pulp/api/v2/events/{made}/")
    until(lambda: not told(of(served), "listeners"), what="nothing to be told any more")


def test_what_stands_in_the_database_is_told_of_a_stopped_server(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with database.fresh(tmp_path) as (store, _):
        event = database.fire_one(store)
        with store.write() as tx:
            hook = listeners.add(tx, "http", {"url": "http://x.test/"}, ["*"], now=now)
            mail = listeners.add(tx, "email", {}, ["*"], now=now)
            letter = NewDeadLetter(event_number=event.number, reason="HTTP 400")
            dead_letters.add(tx, hook.id, [letter], attempts=1, now=now)
            listeners.pause(tx, hook.id, "The receiver said 410.")
            servers.enter(tx, Instance(node="other-1", id="a", home="elsewhere"))
            tx.connection.execute(update(schema.servers).values(seen_at=now - timedelta(hours=1)))
    tmp_path.chmod(0o700)
    sentences = [found.sentence for found in examine(settings_of(tmp_path), []) if found.state in BAD]
    text = "\n".join(sentences)
    assert f"The http listener {hook.id} was paused by Pulpit: The receiver said 410." in text
    assert f"The http listener {hook.id} has 1 dead letters." in text
    assert "There are email listeners, and [email] enabled is false; nothing is sent" in text
    assert "The server other-1 was last seen" in text
    assert mail.id not in text


def test_a_port_that_another_program_has_is_told(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        [found] = told(settings_of(tmp_path / "data", broker=BrokerSettings(port=port)), "ports")
    assert found.sentence == f"127.0.0.1:{port} cannot be listened on: another program has it."
    assert f"sport = :{port}" in found.remedy


def test_a_configuration_that_cannot_be_read_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    conf = tmp_path / "server.conf"
    conf.write_text("[server]\nport: many\n")
    asked = doctor("--config", conf)
    assert (asked.returncode, asked.stderr) == (3, "")
    assert "[server] port: it must be a whole number" in asked.stdout
    [finding] = json.loads(doctor("--config", conf, "--json").stdout)["findings"]
    assert (finding["part"], finding["state"]) == ("configuration", "problem")


def test_keys_that_the_server_would_refuse_are_told(tmp_path: Path) -> None:
    opened = tmp_path / "users"
    opened.write_text("jane:secret\n")
    opened.chmod(0o644)
    settings = settings_of(
        tmp_path / "data",
        server=ServerSettings(data_dir=str(tmp_path / "data"), host="192.0.2.1", webhook_allow="ten"),
        broker=BrokerSettings(port=free_port(), users_file=str(opened)),
    )
    found = told(settings, "configuration")
    assert [it.state for it in found] == [State.PROBLEM, State.PROBLEM, State.WARNING]
    assert "chmod 600" in found[0].sentence
    assert "secret" not in found[0].sentence.replace("holds a secret", "")
    assert "webhook_allow" in found[1].sentence
    assert "clear text" in found[2].sentence


def test_a_broker_outside_is_connected_to_and_its_password_told_nobody(served: Server, tmp_path: Path) -> None:
    def asked(url: str) -> list[Finding]:
        return [
            it
            for it in examine(settings_of(tmp_path / "data", messaging=MessagingSettings(url=url)), [])
            if it.part == "broker"
        ]

    [good] = asked(served.amqp_url)
    assert good.state is State.WELL
    [refused] = asked(served.amqp_url.replace("guest:guest", "guest:wrongpassword"))
    assert refused.state is State.PROBLEM
    assert "wrongpassword" not in refused.sentence + refused.remedy
    gone, there = asked(f"amqp://guest:guest@127.0.0.1:{free_port()},{served.amqp_url}")
    assert (gone.state, there.state) == (State.PROBLEM, State.WELL)


def test_a_pulp_3_whose_database_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://pulp:verysecret@127.0.0.1:{free_port()}/pulp"
    [found] = told(settings_of(tmp_path / "data", pulp3=Pulp3Settings(database_url=url)), "pulp3")
    assert found.state is State.PROBLEM
    assert "cannot be reached" in found.sentence
    assert "verysecret" not in found.sentence + found.remedy


def test_nats_and_kafka_are_reached_out_for_and_a_missing_library_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = free_port()
    settings = settings_of(
        tmp_path / "data",
        nats=NatsSettings(servers=f"nats://127.0.0.1:{gone}"),
        kafka=KafkaSettings(servers=f"127.0.0.1:{gone}"),
    )
    for kind, module in (("nats", "nats"), ("kafka", "confluent_kafka")):
        if find_spec(module):
            [found] = told(settings, kind)
            assert found.state is State.PROBLEM
            assert f"127.0.0.1:{gone}" in found.sentence
    monkeypatch.setattr(notifiers, "find_spec", lambda _name: None)
    for kind in ("nats", "kafka"):
        [found] = told(settings, kind)
        assert f"pip install 'pulpit[{kind}]'" in found.remedy
    assert told(settings, "configuration") == []
    notifiers.notifier_types(settings, None, "node")
    said = [record.getMessage() for record in caplog.records if vars(record).get("action") == "notifier_unusable"]
    assert ["pulpit[kafka]" in said[0], "pulpit[nats]" in said[1]] == [True, True]


def test_a_certificate_is_told_before_it_ends(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    old, good = authority.issue("old", expired=True), authority.issue("good")
    server = ServerSettings(data_dir=str(tmp_path / "data"), ssl_certificate=str(old), ssl_key=str(old))
    [found] = told(settings_of(tmp_path / "data", server=server), "certificates")
    assert found.state is State.PROBLEM
    assert "has expired on" in found.sentence
    settings = settings_of(tmp_path, server=replace(server, ssl_certificate=str(good), ssl_key=str(good)))
    assert told(settings, "certificates") == []


def test_files_that_others_can_read_and_a_damaged_database_are_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "pulpit.db").write_bytes(b"no database" * 1000)
    (tmp_path / "pulpit.db").chmod(0o644)
    settings = settings_of(tmp_path, email=EmailSettings(enabled=True))
    modes = told(settings, "files")
    assert [it.remedy for it in modes] == [f"Run: chmod go= {tmp_path / 'pulpit.db'}", f"Run: chmod 700 {tmp_path}"]
    [damaged] = told(settings, "database")
    assert "is damaged or no database" in damaged.sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_belongs_to_another_user_is_told(tmp_path: Path) -> None:
    theirs = tmp_path / "content"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    tmp_path.chmod(0o700)
    [found] = told(settings_of(tmp_path), "files")
    assert found.remedy == f"Run as root: chown -R --reference={tmp_path} {theirs}"
    os.chown(tmp_path, 65534, 65534)
    [found] = told(settings_of(tmp_path), "files")
    assert "belongs to another user" in found.sentence


def test_a_clock_that_was_ahead_is_told(tmp_path: Path) -> None:
    with database.fresh(tmp_path) as (store, _):
        database.fire_one(store)
        ahead = system_clock() + timedelta(days=1)
        with store.write() as tx:
            tx.connection.execute(update(schema.events).values(occurred_at=ahead))
    tmp_path.chmod(0o700)
    assert "which is still to come" in "".join(it.sentence for it in told(settings_of(tmp_path), "clock"))


def test_a_storage_that_is_away_full_or_not_ours_is_told(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    settings = settings_of(tmp_path / "data", storage=StorageSettings(url=str(shared)))
    assert "nothing was ever put there" in told(settings, "storage")[0].sentence
    open_storage(settings.storage, tmp_path).begin()
    well = [found.sentence for found in examine(settings, []) if found.part == "storage" and found.state not in BAD]
    assert any("is one of Pulpit's" in sentence for sentence in well)
    assert "It took a file, gave it back and removed it." in well
    assert [path for path in shared.rglob("*") if path.is_file()] == [shared / "pulpit-storage"]

    (shared / "pulpit-storage").unlink()
    away = told(settings, "storage")
    assert [found.state for found in away] == [State.PROBLEM]
    assert "mount it" in away[0].sentence


def test_a_bucket_that_refuses_or_does_not_answer_is_told(tmp_path: Path) -> None:
    with s3.running(tmp_path) as store:
        store.make_bucket("looked-at")
        settings = settings_of(tmp_path / "data", storage=store.settings("looked-at"))
        assert "pulpit-storage" in told(settings, "storage")[0].sentence
        open_storage(settings.storage, tmp_path).begin()
        assert told(settings, "storage") == []
    gone = replace(settings, storage=replace(settings.storage, endpoint=f"http://127.0.0.1:{free_port()}"))
    assert "cannot be reached" in told(gone, "storage")[0].sentence
    wrong = replace(settings, storage=replace(settings.storage, credentials_file=str(tmp_path / "nothing")))
    assert "There is no" in told(wrong, "storage")[0].sentence


def test_the_other_servers_are_told_with_version_and_clock(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    with database.fresh(data_dir) as (store, _), store.write() as tx:
        servers.enter(tx, Instance(node="other-1", id="1", home="x"))
        tx.connection.execute(update(schema.servers).values(version="0", clock_ahead=90.0))
    sentences = [found.sentence for found in told(settings_of(data_dir), "servers")]
    assert any("is of version 0" in sentence for sentence in sentences)
    assert any("is 90 s ahead of that of the database" in sentence for sentence in sentences)
