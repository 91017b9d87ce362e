"""API v1 on a real server: tests of listeners, redelivery of dead letters, long polling, streams, and a full disk."""

import base64
import http.client
import json
import resource
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.server import API, Server, pulpit
from support.subscriber import Subscriber
from support.waiting import until
from support.webhooks import Hook, hook

V1 = "/pulpit/v1"
CONF = "[server]\nwebhook_allow = 127.0.0.0/8\n"
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("server") / "data", CONF) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as running:
        yield running


def http_listener(server: Server, url: str, event_type: str, **more: Any) -> str:
    config = {"url": url, "secret": SECRET, "timeout": 2, "headers": {"X-Token": "hush"}}
    body = {"notifier_type_id": "http", "notifier_config": config, "event_types": [event_type], **more}
    return str(server.call("POST", f"{API}/events/", body)["id"])


def fire(server: Server, *types: str) -> list[int]:
    found: list[int] = server.call("POST", f"{V1}/events", [{"event_type": each} for each in types])["numbers"]
    return found


def letters(server: Server, listener_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.call("GET", f"{V1}/listeners/{listener_id}/dead-letters")["dead_letters"]
    return found


def head(server: Server) -> int:
    return int(server.call("GET", f"{V1}/events?after=-1")["head"])


def stream(server: Server, path: str, **headers: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    token = base64.b64encode(f"admin:{server.password}".encode()).decode()
    connection.request(
        "GET", path, headers={"Authorization": f"Basic {token}", "Accept": "text/event-stream", **headers}
    )
    return connection, connection.getresponse()


def message(answer: http.client.HTTPResponse) -> dict[str, str]:
    """The next event of a stream; comments are passed over."""
    lines: dict[str, str] = {}
    while True:
        line = answer.readline().decode()
        assert line, "the stream has ended"
        if line == "\n" and lines:
            return lines
        name, colon, value = line.rstrip("\n").partition(": ")
        if colon and name:
            lines[name] = value


def test_a_test_of_an_amqp_listener_goes_the_real_way_and_not_into_the_log(server: Server) -> None:
    listener_id = server.listen("tested", "ci.#")
    subscriber = Subscriber(server.amqp_url, "tested", "#", "tested")
    subscriber.start()
    try:
        assert subscriber.bound.wait(60)
        before = head(server)
        report = server.call("POST", f"{V1}/listeners/{listener_id}/test")
        [received] = subscriber.wait_for(1)
    finally:
        subscriber.stop()
    assert (report["outcome"], report["reason"], report["refused"]) == ("delivered", None, {})
    request = report["request"]
    assert (request["exchange"], request["routing_key"]) == ("tested", "pulp.server.event.test")
    assert received.subject == request["routing_key"]
    assert received.body == json.loads(request["body"])
    assert received.properties.message_id == request["properties"]["message_id"]
    assert received.properties.headers["pulpit-number"] == 0
    assert head(server) == before


def test_a_test_of_an_http_listener_shows_everything_but_secrets(server: Server, receiver: Hook) -> None:
    listener_id = http_listener(server, receiver.url, "ci.never")
    report = server.call("POST", f"{V1}/listeners/{listener_id}/test")
    assert (report["outcome"], report["answer"]) == ("delivered", "200 OK")
    assert receiver.types == ["event.test"]
    request = report["request"]
    assert (request["method"], request["url"], request["headers"]["X-Token"]) == ("POST", receiver.url, "*****")
    assert request["headers"]["ce-type"] == "event.test"
    assert SECRET not in json.dumps(report)
    assert "hush" not in json.dumps(report)
    for status, outcome in ((400, "refused"), (503, "retry"), (410, "gone")):
        receiver.status = status
        report = server.call("POST", f"{V1}/listeners/{listener_id}/test")
        assert (report["outcome"], report["answer"]) == (outcome, None)
        assert str(status) in report["reason"]
    assert letters(server, listener_id) == []


def test_dead_letters_are_sent_again_until_they_are_taken(server: Server, receiver: Hook) -> None:
    receiver.status = 400
    listener_id = http_listener(server, receiver.url, "ci.letters")
    [number] = fire(server, "ci.letters")
    [letter] = until(lambda: letters(server, listener_id), what="a dead letter")
    assert (letter["event_number"], letter["attempts"]) == (number, 1)
    again = f"{V1}/listeners/{listener_id}/dead-letters/send-again"
    receiver.status = 422
    server.call("POST", again, {"ids": [letter["id"]]})
    refused = until(
        lambda: [one for one in letters(server, listener_id) if "422" in one["reason"]], what="another refusal"
    )
    assert (refused[0]["attempts"], refused[0]["send_again"]) == (2, False)
    receiver.status = 503
    server.call("POST", again, {"all": True})
    until(lambda: len(receiver.came) == 3, what="the third try")
    assert letters(server, listener_id)[0]["send_again"]
    receiver.status = 200
    until(lambda: not letters(server, listener_id), what="the letter to be gone")
    assert receiver.types == ["ci.letters"] * 4
    attempts = server.call("GET", f"{V1}/listeners/{listener_id}/deliveries")["deliveries"]
    assert sorted(each["outcome"] for each in attempts) == ["delivered", "refused", "refused", "retry"]


def test_letters_of_a_paused_listener_wait_until_it_is_resumed(server: Server, receiver: Hook) -> None:
    receiver.status = 400
    listener_id = http_listener(server, receiver.url, "ci.paused")
    fire(server, "ci.paused")
    until(lambda: letters(server, listener_id), what="a dead letter")
    receiver.status = 200
    server.call("POST", f"{V1}/listeners/{listener_id}/pause", {"reason": "Maintenance."})
    server.call("POST", f"{V1}/listeners/{listener_id}/dead-letters/send-again", {"all": True})
    other = http_listener(server, receiver.url, "ci.other")
    fire(server, "ci.other")
    until(lambda: "ci.other" in receiver.types, what="the other listener's event")
    assert receiver.types == ["ci.paused", "ci.other"]
    server.call("POST", f"{V1}/listeners/{listener_id}/resume")
    until(lambda: not letters(server, listener_id), what="the letter to be gone")
    assert receiver.types == ["ci.paused", "ci.other", "ci.paused"]
    server.call("DELETE", f"{API}/events/{other}/")


def test_a_replay_delivers_again(server: Server, receiver: Hook) -> None:
    listener_id = http_listener(server, receiver.url, "ci.replayed.#")
    first, _ = fire(server, "ci.replayed.one", "ci.replayed.two")
    until(lambda: len(receiver.came) == 2, what="two events")
    order = {"number": first, "event_types": ["ci.replayed.two"]}
    server.call("POST", f"{V1}/listeners/{listener_id}/replay", order)
    until(lambda: len(receiver.came) == 3, what="the replay")
    assert receiver.types == ["ci.replayed.one", "ci.replayed.two", "ci.replayed.two"]


def test_a_waiting_request_is_answered_by_the_next_event_that_it_wants(server: Server) -> None:
    path = f"{V1}/events?after={head(server)}&wait=60&event_type=ci.wanted"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(server.call, "GET", path)
        fire(server, "ci.other")
        [number] = fire(server, "ci.wanted")
        page = asking.result(50)
    assert [event["number"] for event in page["events"]] == [number]
    assert page["next"] == number


def test_a_stream_follows_the_log_and_goes_on_where_it_was(server: Server) -> None:
    before = head(server)
    connection, answer = stream(server, f"{V1}/events?after={before}&event_type=ci.streamed")
    with closing(connection), closing(answer):
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        _, *numbers = fire(server, "ci.other", "ci.streamed", "ci.streamed")
        first, second = message(answer), message(answer)
    assert [first["id"], second["id"]] == [str(number) for number in numbers]
    assert first["event"] == "ci.streamed"
    assert json.loads(first["data"]) == server.call("GET", f"{V1}/events/{numbers[0]}")
    again, answer = stream(server, f"{V1}/events?event_type=ci.streamed", **{"Last-Event-ID": first["id"] + " "})
    with closing(again), closing(answer):
        assert message(answer) == second


def test_a_stream_of_a_consumer_begins_behind_what_was_acknowledged(server: Server) -> None:
    server.call("PUT", f"{V1}/consumers/streams", {})
    first, second = fire(server, "ci.consumed", "ci.consumed")
    path = f"{V1}/events?consumer=streams"
    for seen in ({}, {"Last-Event-ID": str(second)}):
        connection, answer = stream(server, path, **seen)
        with closing(connection), closing(answer):
            assert message(answer)["id"] == str(first)
    server.call("POST", f"{V1}/consumers/streams/acknowledge", {"number": first})
    connection, answer = stream(server, path)
    with closing(connection), closing(answer):
        assert message(answer)["id"] == str(second)


def test_a_stream_ends_when_the_server_stops_and_keeps_it_from_nothing(tmp_path: Path) -> None:
    with pulpit(tmp_path / "data", "[messaging]\nurl =\n") as server:
        connection, answer = stream(server, f"{V1}/events")
        waiting = threading.Thread(target=server.call, args=("GET", f"{V1}/events?wait=60"))
        waiting.start()
        with closing(connection), closing(answer):
            answer.readline()
            begun = time.monotonic()
            assert server.stop() == 0
            assert answer.read() == b"\n"
        waiting.join(60)
        assert time.monotonic() - begun < 50, "it waited for the request that waits"


def test_more_who_wait_than_there_are_places_are_told(server: Server) -> None:
    waiting = [stream(server, f"{V1}/events?after=-1") for _ in range(100)]
    try:
        for _, answer in waiting:
            assert answer.status == 200
            answer.readline()
        until(lambda: _status(server, f"{V1}/events?after=-1&wait=1") == 503, what="the places to be taken")
    finally:
        for connection, answer in waiting:
            answer.close()
            connection.close()
    fire(server, "ci.other")
    until(lambda: _status(server, f"{V1}/events?after=-1&wait=0.01") == 200, what="places to be free", seconds=40)


def test_a_full_disk_is_507_and_enters_nothing(server: Server) -> None:
    before = head(server)
    batch = [{"event_type": "ci.big", "payload": {"text": "x" * 20_000}}] * 300
    largest = max(path.stat().st_size for path in server.data_dir.iterdir() if path.is_file())
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (largest + 100_000, hard))
    try:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            server.call("POST", f"{V1}/events", batch)
        with refusal.value:
            assert refusal.value.code == 507
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert head(server) == before
    assert server.call("POST", f"{V1}/events", batch)["count"] == 300


def test_a_running_server_is_live_ready_and_measured(server: Server) -> None:
    for path in ("/health/live", "/health/ready"):
        with urllib.request.urlopen(f"{server.url}{path}", timeout=60) as answer:
            assert answer.status == 200
    token = base64.b64encode(f"admin:{server.password}".encode()).decode()
    request = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Basic {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = answer.read().decode()
    assert f"pulpit_events_total {float(head(server))}" in told
    assert "pulpit_delivering 1.0" in told


def _status(server: Server, path: str) -> int:
    try:
        server.call("GET", path)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


@pytest.mark.parametrize("seen", ["garbage", "-1", "1.5", "0x3", "1e2", "null", "9" * 23, "%D9%A3"])
def test_a_stream_after_what_is_no_number_is_refused_in_a_sentence(server: Server, seen: str) -> None:
    connection, answer = stream(server, f"{V1}/events", **{"Last-Event-ID": seen})
    with closing(connection), closing(answer):
        assert answer.status == 400
        assert "Last-Event-ID" in json.loads(answer.read())["error_message"]
