"""The nats notifier against Debian's nats-server: stored once each in order, through kills, hangs, logins and TLS."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nats", reason="not installed: nats-py, the extra `nats`")

from pulpit.delivery.notifiers.nats_connection import NatsServers
from pulpit.delivery.notifiers.nats_jetstream import Nats, subject_of
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Outcome, Refused, Retry
from pulpit.errors import ConfigurationError, InvalidValue
from pulpit.events import Event
from pulpit.net.tls import configured_context
from pulpit.server.doctor import examine
from pulpit.server.doctor_machine import State
from pulpit.server.stream_servers import nats_servers
from pulpit.settings import NatsSettings, ServerSettings, Settings
from support.authority import Authority
from support.made_events import event
from support.nats import NatsServer, Operator, nats_server, needs_nats, stored, stored_now
from support.ports import free_port
from support.server import API, Server
from support.waiting import until

pytestmark = needs_nats

LIMITED = """
accounts { A { jetstream: enabled, users: [
  { user: joe, password: hush-hush },
  { user: eve, password: eve-hush, permissions: { publish: { deny: ["pulp.>"] } } } ] } }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that a test may kill."""
    with nats_server(tmp_path / "nats") as running:
        yield running


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 120))


@lru_cache
def made(number: int) -> Event:
    """The same event whenever it is asked for, with its id."""
    return event(number)


async def deliver(kind: Nats, *numbers: int, config: dict[str, Any] | None = None) -> list[Outcome]:
    return list(await kind.open(config or {}).deliver([made(number) for number in numbers]))


def test_messages_are_stored_in_order_with_what_receivers_need(server: NatsServer) -> None:
    async def story() -> None:
        kind = Nats(NatsServers(urls=(server.url,)), "ORDER", source="/pulpit/test")
        config = {"stream": "ORDER", "subject": "order.{repo_id}.{event_type}"}
        sent = [event(number, result="success") for number in range(1, 601)]
        notifier = kind.open(config)
        await notifier.prepare()
        assert await stored(server.url, "ORDER") == []
        halves = await asyncio.gather(notifier.deliver(sent[:300]), notifier.deliver(sent[300:]))
        assert [list(half) for half in halves] == [[DELIVERED] * 300] * 2
        kept = await stored(server.url, "ORDER")
        assert [message.headers["Nats-Msg-Id"] for message in kept] == [each.id for each in sent]
        first = kept[0]
        assert first.subject == "order.zoo.repo.sync.finish"
        assert first.data.decode() == sent[0].body
        assert first.headers["ce-type"] == "repo.sync.finish"
        assert first.headers["ce-source"] == "/pulpit/test"
        assert first.headers["content-type"] == "application/json"
        assert list(await notifier.deliver(sent[:20])) == [DELIVERED] * 20
        assert len(await stored(server.url, "ORDER")) == 600, "what comes again is dropped by the server"
        described = notifier.describe(sent[0])
        assert json.dumps(described)
        assert (described["stream"], described["subject"]) == ("ORDER", first.subject)
        await kind.close()

    run(story)


def test_a_server_that_was_killed_gets_the_rest_when_it_is_back(own: NatsServer) -> None:
    async def story() -> None:
        kind = Nats(NatsServers(urls=(own.url,)), "KILL")
        notifier = kind.open({})
        sent = [event(number) for number in range(1, 1_002)]
        first = asyncio.create_task(notifier.deliver(sent[:1000]))
        await asyncio.sleep(0.05)
        own.kill()
        outcomes = list(await first)
        done = outcomes.count(DELIVERED)
        assert outcomes[:done] == [DELIVERED] * done
        assert done == 1000 or isinstance(outcomes[-1], Retry)
        (refused,) = await notifier.deliver(sent[1000:])
        assert isinstance(refused, Retry)
        assert refused.reason.endswith(".")
        own.start()
        while done < len(sent):
            done += list(await notifier.deliver(sent[done:])).count(DELIVERED)
        kept = await stored(own.url, "KILL")
        assert sorted({message.headers["Nats-Msg-Id"] for message in kept}) == sorted(each.id for each in sent)
        await kind.close()

    run(story)


def test_a_server_that_hangs_is_a_retry_and_is_used_again_when_it_goes_on(own: NatsServer) -> None:
    async def story() -> None:
        kind = Nats(NatsServers(urls=(own.url,)), "HANG", ack_timeout=5)
        assert await deliver(kind, 1) == [DELIVERED]
        own.freeze()
        (outcome,) = await deliver(kind, 2)
        assert isinstance(outcome, Retry)
        own.thaw()
        while await deliver(kind, 2, 3) != [DELIVERED] * 2:
            pass
        kept = await stored(own.url, "HANG")
        assert {message.headers["Nats-Msg-Id"] for message in kept} == {made(number).id for number in (1, 2, 3)}
        await kind.close()

    run(story)


def test_a_stream_that_was_deleted_is_made_again(server: NatsServer) -> None:
    async def story() -> None:
        import nats  # noqa: PLC0415 - an extra of the installation

        kind = Nats(NatsServers(urls=(server.url,)), "GONE")
        config = {"subject": "gone.{event_type}"}
        assert await deliver(kind, 1, config=config) == [DELIVERED]
        client = await nats.connect(server.url)
        await client.jetstream().delete_stream("GONE")
        (outcome,) = await deliver(kind, 2, config=config)
        assert isinstance(outcome, Retry)
        assert "No stream" in outcome.reason
        assert await deliver(kind, 2, config=config) == [DELIVERED]
        assert len(await stored(server.url, "GONE")) == 1
        await client.close()
        await kind.close()

    run(story)


def test_a_stream_of_others_is_used_as_it_is_and_told_if_it_does_not_fit(server: NatsServer) -> None:
    async def story() -> None:
        import nats  # noqa: PLC0415 - an extra of the installation

        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="THEIRS", subjects=["theirs.>"], max_msg_size=800)
        kind = Nats(NatsServers(urls=(server.url,)), "THEIRS")
        assert await deliver(kind, 1, config={"subject": "theirs.{event_type}"}) == [DELIVERED]
        (unfit,) = await deliver(kind, 2, config={"subject": "elsewhere.{event_type}"})
        assert isinstance(unfit, Retry)
        (overlapping,) = await deliver(kind, 2, config={"stream": "MINE", "subject": "theirs.{event_type}"})
        assert isinstance(overlapping, Retry)
        assert "overlap" in overlapping.reason
        large = event(3)._replace(body=event(3).body + " " * 900)
        notifier = kind.open({"subject": "theirs.{event_type}"})
        outcomes = await notifier.deliver([large, event(4)])
        assert [type(one) for one in outcomes] == [Refused, Delivered], outcomes
        huge = event(5)._replace(body=event(5).body + " " * 2**21)
        (refused,) = await notifier.deliver([huge])
        assert isinstance(refused, Refused)
        assert "more than the NATS server takes" in refused.reason
        await client.close()
        await kind.close()

    run(story)


def test_the_next_server_is_tried_and_what_is_wrong_is_one_sentence(server: NatsServer) -> None:
    async def story() -> None:
        kind = Nats(NatsServers(urls=("nats://127.0.0.1:1", server.url)), "NEXT")
        assert await deliver(kind, 1, config={"subject": "next.{event_type}"}) == [DELIVERED]
        await kind.close()
        away = Nats(NatsServers(urls=("nats://127.0.0.1:1",)), "NEXT")
        (outcome,) = await deliver(away, 1)
        assert outcome == Retry(reason="No connection to nats://127.0.0.1:1: Connection refused.")
        await away.close()
        plain = Nats(NatsServers(urls=(server.url.replace("nats:", "tls:"),), tls=configured_context(None, "")), "NEXT")
        (outcome,) = await deliver(plain, 1)
        assert isinstance(outcome, Retry)
        assert outcome.reason.endswith(": it does not speak TLS.")
        await plain.close()

    run(story)


def test_logins_and_permissions(tmp_path: Path) -> None:
    async def story(url: str) -> None:
        right = NatsServers(urls=(url,), username="joe", password="hush-hush")
        kind = Nats(right, "LOGIN")
        assert await deliver(kind, 1) == [DELIVERED]
        assert "hush" not in repr(right)
        await kind.close()
        wrong = Nats(replace(right, password="wrong-hush"), "LOGIN")
        (outcome,) = await deliver(wrong, 2)
        assert outcome == Retry(reason=f"No connection to {url}: it refused the login.")
        await wrong.close()
        eve = Nats(NatsServers(urls=(url,), username="eve", password="eve-hush"), "LOGIN", ack_timeout=5)
        (outcome,) = await deliver(eve, 2)
        assert isinstance(outcome, Retry)
        assert "permissions violation" in outcome.reason.lower()
        await eve.close()

    with nats_server(tmp_path / "limited", LIMITED) as server:
        asyncio.run(asyncio.wait_for(story(server.url), 100))


def test_credentials_are_a_login_and_nothing_of_them_is_told(tmp_path: Path) -> None:
    operator = Operator()
    path = operator.credentials(tmp_path / "joe.creds")

    async def story(url: str) -> None:
        kind = Nats(nats_servers(NatsSettings(servers=url, credentials_file=str(path))), "CREDS")
        assert await deliver(kind, 1) == [DELIVERED]
        await kind.close()
        stranger = Operator().credentials(tmp_path / "eve.creds")
        for credentials in ("", str(stranger)):
            refused = Nats(NatsServers(urls=(url,), credentials=credentials), "CREDS")
            (outcome,) = await deliver(refused, 2)
            assert outcome == Retry(reason=f"No connection to {url}: it refused the login.")
            await refused.close()
        path.write_text(path.read_text().replace("NKEY SEED-----\nSU", "NKEY SEED-----\nSX"))
        broken = Nats(nats_servers(NatsSettings(servers=url, credentials_file=str(path))), "CREDS")
        (outcome,) = await deliver(broken, 2)
        assert isinstance(outcome, Retry)
        assert f"the credentials in {path} cannot be used (" in outcome.reason
        await broken.close()

    with nats_server(tmp_path / "operated", operator.conf) as server:
        asyncio.run(asyncio.wait_for(story(server.url), 100))
    path.write_text("hush-hush")
    with pytest.raises(ConfigurationError, match="holds no JWT with its key"):
        nats_servers(NatsSettings(servers="nats://h", credentials_file=str(path)))


def test_tls_by_an_authority_and_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    shown, mine = authority.issue("server"), authority.issue("client")
    conf = f"tls {{ cert_file: '{shown}', key_file: '{shown}', ca_file: '{authority.file}', verify: true }}"

    async def story(url: str, settings: NatsSettings) -> None:
        kind = Nats(nats_servers(settings), "TLS")
        assert await deliver(kind, 1) == [DELIVERED]
        await kind.close()
        stranger = Nats(NatsServers(urls=(url,), tls=configured_context(None, "")), "TLS")
        (outcome,) = await deliver(stranger, 2)
        assert isinstance(outcome, Retry)
        assert "certificate is not trusted" in outcome.reason
        await stranger.close()

    with nats_server(tmp_path / "tls", conf) as server:
        url = server.url.replace("nats:", "tls:")
        settings = NatsSettings(servers=url, cacert=str(authority.file), clientcert=str(mine))
        asyncio.run(asyncio.wait_for(story(url, settings), 100))


def test_odd_configurations_are_refused_in_a_sentence(server: NatsServer) -> None:
    kind = Nats(NatsServers(urls=(server.url,)), "PULPIT")
    for good in ({}, {"stream": "A-b_1"}, {"subject": "x"}, {"subject": "a.{repo_id}-{result}.{event_type}"}):
        kind.check_config(good)
    for wrong in (
        {"stream": "a.b"},
        {"stream": "a b"},
        {"stream": "x" * 65},
        {"subject": "{event_type}"},
        {"subject": "a..b"},
        {"subject": "a.*"},
        {"subject": "a.>"},
        {"subject": "a b"},
        {"subject": "a.{password}"},
        {"subject": "a." * 101 + "b"},
        {"subject": 7},
        {"colour": "red"},
    ):
        with pytest.raises(InvalidValue) as caught:
            kind.check_config(wrong)
        assert caught.value.property_names == ["notifier_config"]
    odd = event(1)._replace(repo_id="a b.*>ü", result=None)
    assert subject_of(odd, "p.{repo_id}.{result}.{event_type}") == "p.a_b____._.repo.sync.finish"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"servers": "http://h"}, "servers"),
        ({"servers": "nats://joe:hush@h"}, "holds a user"),
        ({"servers": "nats://h:99999"}, "servers"),
        ({"servers": "nats://h", "stream": "a b"}, "stream"),
        ({"servers": "nats://h", "username": "joe"}, "belong together"),
        ({"servers": "nats://h", "credentials_file": "/nowhere"}, "credentials_file"),
        ({"servers": "tls://h", "cacert": "/nowhere"}, "cacert"),
        ({"servers": "tls://h", "clientcert": "/nowhere"}, "clientcert"),
    ],
)
def test_odd_settings_are_refused_in_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        nats_servers(NatsSettings(**given))
    assert "hush" not in str(caught.value)


def test_secrets_in_files_are_for_their_owner_and_passwords_stay_on_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hush\n")
    path.chmod(0o644)
    secrets: list[dict[str, Any]] = [
        {"credentials_file": str(path)},
        {"username": "joe", "password_file": str(path)},
    ]
    for given in secrets:
        with pytest.raises(ConfigurationError, match="open to others"):
            nats_servers(NatsSettings(servers="nats://127.0.0.1", **given))
    path.chmod(0o600)
    login = secrets[1]
    assert nats_servers(NatsSettings(servers="nats://127.0.0.1", **login)).password == "hush"
    assert nats_servers(NatsSettings(servers="tls://far.example.com", **login)).password == "hush"
    with pytest.raises(ConfigurationError, match="unencrypted"):
        nats_servers(NatsSettings(servers="nats://far.example.com", **login))
    assert nats_servers(NatsSettings(servers="nats://far.example.com", allow_plain_without_tls=True, **login)).password


def test_what_was_fired_is_stored_once_though_both_sides_are_killed(own: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    server = Server(tmp_path / "data", f"[nats]\nservers: {own.url}\n")
    server.start()
    try:
        body = {"notifier_type_id": "nats", "notifier_config": {}, "event_types": ["ci.#"]}
        listener = server.call("POST", f"{API}/events/", body)

        def fire(count: int) -> None:
            for _ in range(count):
                server.call("POST", "/pulpit/v1/events", {"event_type": "ci.done", "payload": {"repo_id": "zoo"}})

        fire(20)
        own.kill()
        fire(20)
        path = f"{API}/events/{listener['id']}/"
        until(lambda: server.call("GET", path)["_delivery"]["state"] == "retrying", what="the listener to fail")
        server.kill()
        own.start()
        server.start()
        fire(20)
        until(lambda: len(stored_now(own.url, "PULPIT")) >= 60, what="all events in the stream")
        kept = stored_now(own.url, "PULPIT")
        assert len({message.headers["Nats-Msg-Id"] for message in kept}) == len(kept) == 60
        numbers = [int(message.headers["pulpit-number"]) for message in kept]
        assert numbers == sorted(numbers)
    finally:
        server.stop()


def test_the_doctor_says_whether_each_server_takes_the_login(server: NatsServer, tmp_path: Path) -> None:
    gone = f"nats://127.0.0.1:{free_port()}"
    named = Settings(
        server=ServerSettings(data_dir=str(tmp_path / "data")), nats=NatsSettings(servers=f"{gone},{server.url}")
    )
    found = [finding for finding in examine(named, []) if finding.part == "nats"]
    assert [finding.state for finding in found] == [State.PROBLEM, State.WELL]
    assert gone in found[0].sentence
