"""The main scenario: a sync fires four events and every subscriber gets those it asked for, on either broker."""

import json
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pulpit.amqp.amqp10 import proton
from support.listen_script import Listening, listening
from support.made_events import check_body
from support.server import Server
from support.subscriber import subscribed
from support.upstream import running

FOUR = [
    "pulp.server.repo.sync.start",
    "pulp.server.repo.sync.finish",
    "pulp.server.repo.publish.start",
    "pulp.server.repo.publish.finish",
]


def test_a_sync_fires_four_events_and_subscribers_pick_theirs(system: tuple[Server, str]) -> None:
    server, broker = system
    with (
        running() as upstream,
        subscribed(broker, "pulp", queue="all") as everything,
        subscribed(broker, "details", queue="details") as detailed,
        subscribed(broker, "pulp", "pulp.server.repo.publish.*", queue="publish") as publishes,
        subscribed(broker, "pulp", "pulp.server.repo.*.finish", queue="finish") as finishes,
    ):
        upstream.put("a.iso", b"a" * 4096)
        upstream.put("b.iso", b"b" * 10)
        upstream.manifest()
        server.listen("pulp")
        server.listen("details", "#")
        server.create_iso("files", upstream.url)
        task = server.ended(server.sync("files"))
        everything.wait_for(4)
        whole = detailed.wait_for(1 + 2 * 3 + 4)
        assert everything.subjects == FOUR
        assert publishes.subjects == FOUR[2:]
        assert finishes.subjects == [FOUR[1], FOUR[3]]
    for message in whole:
        check_body(message.body)
    assert Counter(message.body["event_type"] for message in whole)["tasks.finished"] == 2
    finish = everything.arrived[1]
    changes = finish.body["payload"].pop("changes")
    assert finish.body["payload"] == task["result"]
    assert [unit["change"] for unit in changes["units"]] == ["added", "added"]
    assert (finish.body["payload"]["result"], finish.body["payload"]["added_count"]) == ("success", 2)
    assert finish.body["call_report"]["state"] == "finished"
    assert finish.properties.content_type == "application/json"
    assert finish.properties.delivery_mode == 2
    assert finish.properties.type == "repo.sync.finish"
    assert finish.properties.app_id == "pulpit"
    assert finish.properties.timestamp
    headers = finish.properties.headers
    assert headers["pulpit-repo-number"] == 2
    assert headers["qpid.subject"] == FOUR[1]
    with urllib.request.urlopen(f"{server.url}/pulp/isos/files/a.iso", timeout=60) as answer:
        assert answer.read() == b"a" * 4096


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("#", FOUR),
        ("pulp.server.#", FOUR),
        ("*.*.*.#", FOUR),
        ("#.finish", [FOUR[1], FOUR[3]]),
        ("*.server.#.start", [FOUR[0], FOUR[2]]),
        ("pulp.server.repo.sync.start", FOUR[:1]),
        ("pulp.server.repo.*", []),
        ("pulp.serverx.#", []),
    ],
)
def test_patterns_select_as_the_table_says_end_to_end(
    shared: tuple[Server, str], pattern: str, expected: list[str]
) -> None:
    server, broker = shared
    exchange = f"table-{abs(hash(pattern))}"
    with (
        subscribed(broker, exchange, pattern, queue=exchange) as some,
        subscribed(broker, exchange, queue=f"{exchange}-all") as everything,
    ):
        server.listen(exchange)
        server.call("POST", "/pulp/api/v2/repositories/files/actions/sync/", {"override_config": {"force_full": True}})
        everything.wait_for(len(FOUR))
        some.wait_for(len(expected))
        assert some.subjects == expected


SCHEMES = ["amqp", *(["amqp+10"] if proton.available() else [])]
LISTINGS = (
    (["-q", "--count", "4"], FOUR),
    (["-q", "--count", "2", "-s", "pulp.server.repo.publish.*"], FOUR[2:]),
    (["-q", "--count", "2", "-s", "pulp.server.repo.*.finish"], [FOUR[1], FOUR[3]]),
)


def test_the_listing_of_the_announcement_over_every_protocol(system: tuple[Server, str], tmp_path: Path) -> None:
    server, broker = system
    show_the_listing(server, broker, tmp_path)


def test_the_listing_when_the_events_are_sent_over_the_new_protocol(
    system10: tuple[Server, str], tmp_path: Path
) -> None:
    server, broker = system10
    for message in show_the_listing(server, broker, tmp_path)[1:]:
        assert message["headers"]["pulpit-repo-number"] == 2


def show_the_listing(server: Server, broker: str, folder: Path) -> list[Any]:
    """Sync while listen.py runs in every way and over every protocol of the broker; returns what was shown as JSON."""
    schemes = ["amqp"] if broker == server.amqp_url else SCHEMES  # the embedded broker speaks AMQP 0-9-1 alone
    with running() as upstream, ExitStack() as stack:
        upstream.put("a.iso", b"a")
        upstream.manifest()
        server.listen("pulp")
        server.create_iso("files", upstream.url)

        def start(scheme: str, *options: str) -> Listening:
            url = broker.replace("amqp:", f"{scheme}:", 1).removesuffix("/%2F")
            return stack.enter_context(listening(folder, "--url", url, "-e", "pulp", *options))

        listings = [(start(scheme, *options), lines) for scheme in schemes for options, lines in LISTINGS]
        detailed = [start(scheme, "--json", "--count", "1", "-s", "#.sync.finish") for scheme in schemes]
        for listener in (*(listener for listener, _ in listings), *detailed):
            listener.until_ready()
        server.ended(server.sync("files"))
        for listener, lines in listings:
            assert listener.code() == 0
            assert listener.lines == lines
        assert [listener.code() for listener in detailed] == [0] * len(schemes)
        messages = [json.loads(listener.lines[0]) for listener in detailed]
    for message in messages:
        assert message["body"]["payload"]["added_count"] == 1
        assert message["properties"]["content_type"] == "application/json"
        assert (message["subject"], message["exchange"]) == (FOUR[1], "pulp")
    return messages
