"""The kafka notifier against librdkafka's mock cluster: in order by repository, through hangs, kills and odd inputs."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="not installed: confluent-kafka, the extra `kafka`")

from pulpit.delivery.notifiers.kafka import Kafka, KafkaBrokers
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Refused, Retry
from pulpit.errors import ConfigurationError, InvalidValue
from pulpit.server.doctor import examine
from pulpit.server.doctor_machine import State
from pulpit.server.stream_servers import kafka_brokers
from pulpit.settings import KafkaSettings, ServerSettings, Settings
from support.authority import Authority
from support.kafka import Cluster, kafka_cluster
from support.made_events import event
from support.server import API, Server
from support.waiting import until


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with kafka_cluster(3) as running:
        yield running


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 120))


def test_messages_are_in_order_by_repository_with_what_receivers_need(cluster: Cluster) -> None:
    async def story() -> None:
        kind = Kafka(KafkaBrokers(servers=cluster.servers), "order", source="/pulpit/test")
        notifier = kind.open({})
        await notifier.prepare()
        sent = [event(number, repo_id=f"zoo{number % 7}", result="success") for number in range(1, 601)]
        halves = await asyncio.gather(notifier.deliver(sent[:300]), notifier.deliver(sent[300:]))
        assert [list(half) for half in halves] == [[DELIVERED] * 300] * 2
        (alone,) = await notifier.deliver([event(601, event_type="ci.done", repo_id=None)])
        assert alone == DELIVERED
        described = notifier.describe(sent[0])
        assert json.dumps(described)
        assert (described["topic"], described["key"]) == ("order", "zoo1")
        await kind.close()

        kept = await asyncio.to_thread(cluster.messages, "order", 601)
        assert len(kept) == 601
        by_key: dict[bytes | None, list[Any]] = {}
        for message in kept:
            by_key.setdefault(message.key(), []).append(message)
        assert by_key.keys() == {None, *(f"zoo{number}".encode() for number in range(7))}
        for number in range(7):
            mine = by_key[f"zoo{number}".encode()]
            assert len({message.partition() for message in mine}) == 1
            told = [dict(message.headers())["ce_id"].decode() for message in mine]
            assert told == [each.id for each in sent if each.repo_id == f"zoo{number}"]
        first = by_key[b"zoo1"][0]
        headers = {name: value.decode() for name, value in first.headers()}
        assert first.value().decode() == sent[0].body
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_type"] == "repo.sync.finish"
        assert headers["ce_source"] == "/pulpit/test"
        assert headers["ce_subject"] == "zoo1"
        assert headers["content-type"] == "application/json"
        assert headers["pulpit-number"] == "1"

    run(story)


def test_brokers_that_hang_are_a_retry_and_are_used_again_when_they_go_on() -> None:
    async def story() -> None:
        with kafka_cluster(1) as own:
            kind = Kafka(KafkaBrokers(servers=own.servers), "hang", message_timeout=5)
            notifier = kind.open({})
            sent = [event(number) for number in range(1, 5)]
            assert await notifier.deliver(sent[:1]) == [DELIVERED]
            own.freeze()
            (outcome,) = await asyncio.wait_for(notifier.deliver(sent[1:3]), 20)
            assert isinstance(outcome, Retry)
            own.thaw()
            outcomes: list[Any] = []
            while outcomes != [DELIVERED] * 3:
                outcomes = list(await notifier.deliver(sent[1:]))
            await kind.close()
            kept = await asyncio.to_thread(own.messages, "hang", 4)
            assert {dict(message.headers())["ce_id"].decode() for message in kept} == {each.id for each in sent}

    run(story)


def test_brokers_that_are_away_are_told_in_a_sentence() -> None:
    async def story() -> None:
        kind = Kafka(KafkaBrokers(servers="127.0.0.1:1"), "away", message_timeout=1)
        (outcome,) = await asyncio.wait_for(kind.open({}).deliver([event(1), event(2)]), 20)
        assert isinstance(outcome, Retry)
        assert outcome.reason.startswith("The Kafka brokers at 127.0.0.1:1 did not take it in time: ")
        assert "Connection refused" in outcome.reason
        assert outcome.reason.endswith(".")
        await kind.close()

    run(story)


def test_a_message_that_is_too_large_is_a_dead_letter_and_the_next_goes_on(cluster: Cluster) -> None:
    async def story() -> None:
        kind = Kafka(KafkaBrokers(servers=cluster.servers), "large")
        large = event(1)._replace(body=event(1).body + " " * 2**21)
        outcomes = await kind.open({}).deliver([large, event(2), large])
        assert [type(outcome) for outcome in outcomes] == [Refused, Delivered, Refused]
        await kind.close()

    run(story)


def test_more_than_there_is_room_for_waits(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulpit.delivery.notifiers.kafka.MOST_QUEUED", 50)

    async def story() -> None:
        kind = Kafka(KafkaBrokers(servers=cluster.servers), "narrow")
        sent = [event(number) for number in range(1, 301)]
        assert list(await kind.open({}).deliver(sent)) == [DELIVERED] * 300
        await kind.close()

    run(story)


def test_odd_configurations_are_refused_in_a_sentence() -> None:
    kind = Kafka(KafkaBrokers(servers="127.0.0.1:1"), "pulpit")
    for good in ({}, {"topic": "a.b-c_1"}):
        kind.check_config(good)
    wrongs: list[dict[str, Any]] = [{"topic": "a b"}, {"topic": "x" * 250}, {"topic": ".x"}, {"topic": 7}, {"x": "y"}]
    for wrong in wrongs:
        with pytest.raises(InvalidValue) as caught:
            kind.check_config(wrong)
        assert caught.value.property_names == ["notifier_config"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"servers": "http://h:1"}, "host:port"),
        ({"servers": "h:0"}, "host:port"),
        ({"servers": "h:99999"}, "host:port"),
        ({"servers": "h", "topic": "a b"}, "topic"),
        ({"servers": "h", "username": "joe"}, "belong together"),
        ({"servers": "h", "mechanism": "GSSAPI"}, "must be one of PLAIN"),
        ({"servers": "h", "tls": True, "cacert": "/nowhere"}, "cacert"),
        ({"servers": "h", "tls": True, "clientcert": "/nowhere"}, "clientcert"),
    ],
)
def test_odd_settings_are_refused_in_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        kafka_brokers(KafkaSettings(**given))


def test_logins_are_read_from_a_private_file_and_stay_on_this_machine_or_within_tls(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hush-hush\n")
    path.chmod(0o644)
    login: dict[str, Any] = {"username": "joe", "password_file": str(path)}
    with pytest.raises(ConfigurationError, match="open to others"):
        kafka_brokers(KafkaSettings(servers="localhost", **login))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="unencrypted"):
        kafka_brokers(KafkaSettings(servers="localhost,far.example.com:9093", **login))
    near = kafka_brokers(KafkaSettings(servers="localhost,[::1]:9093", **login))
    assert (near.servers, near.options["security.protocol"]) == ("localhost:9092,[::1]:9093", "sasl_plaintext")
    assert near.options["sasl.password"] == "hush-hush"
    assert "hush" not in repr(near)
    authority = Authority(tmp_path / "ca")
    mine = authority.issue("client")
    tls = KafkaSettings(servers="far.example.com", tls=True, cacert=str(authority.file), clientcert=str(mine), **login)
    far = kafka_brokers(tls)
    assert far.options["security.protocol"] == "sasl_ssl"

    async def story() -> None:  # librdkafka takes all of these options
        kind = Kafka(replace(far, servers="127.0.0.1:1"), "tls", message_timeout=1)
        (outcome,) = await asyncio.wait_for(kind.open({}).deliver([event(1)]), 20)
        assert isinstance(outcome, Retry)
        assert "Connection refused" in outcome.reason
        await kind.close()

    run(story)


def test_what_was_fired_is_in_the_topic_though_the_server_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    server = Server(tmp_path / "data", f"[kafka]\nservers: {cluster.servers}\n")
    server.start()
    try:
        body = {"notifier_type_id": "kafka", "notifier_config": {"topic": "fired"}, "event_types": ["ci.#"]}
        listener = server.call("POST", f"{API}/events/", body)
        for number in range(40):
            order = {"event_type": "ci.done", "payload": {"repo_id": "zoo"}}
            server.call("POST", "/pulpit/v1/events", order)
            if number == 20:
                server.kill()
                server.start()
        path = f"{API}/events/{listener['id']}/"
        until(lambda: server.call("GET", path)["_delivery"]["lag_events"] == 0, what="everything to be delivered")
        log = server.call("GET", "/pulpit/v1/events?limit=1000")["events"]
        fired = [entry["id"] for entry in log if entry["event_type"] == "ci.done"]
        assert len(fired) == 40
        kept = cluster.messages("fired", 40)
        told = [dict(message.headers())["ce_id"].decode() for message in kept]
        assert list(dict.fromkeys(told)) == fired, "in order; what was under way at the kill may stand there twice"
    finally:
        server.stop()


def test_the_doctor_says_whether_the_cluster_takes_the_login(cluster: Cluster, tmp_path: Path) -> None:
    named = Settings(
        server=ServerSettings(data_dir=str(tmp_path / "data")), kafka=KafkaSettings(servers=cluster.servers)
    )
    [found] = [finding for finding in examine(named, []) if finding.part == "kafka"]
    assert found.state is State.WELL
    assert "of 3 brokers" in found.sentence
