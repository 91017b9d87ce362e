"""Hooks of a whole server: signed by openssl and sent by curl, and a loop of listener and hook, which is stopped."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import API, Server, pulpit
from support.upstream import running
from support.waiting import until

V1 = "/pulpit/v1"
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("openssl") is None or shutil.which("curl") is None, reason="needs openssl and curl"
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("hooks") / "data", "[server]\nwebhook_allow: 127.0.0.0/8\n") as server:
        yield server


def hook(server: Server, name: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = server.call("POST", f"{V1}/hooks", {"name": name, **more})
    return made


def sent(server: Server, made: dict[str, Any], body: Path, *headers: str) -> tuple[int, dict[str, Any]]:
    """Post a file as it is."""
    command = ["curl", "-sS", "-w", "\n%{http_code}", "--data-binary", f"@{body}", f"{server.url}{made['path']}"]
    for header in ("Content-Type: application/json", *headers):
        command += ["-H", header]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    text, _, status = said.rpartition("\n")
    return int(status), json.loads(text)


def test_what_github_sends_becomes_an_event_and_starts_a_sync(served: Server, tmp_path: Path) -> None:
    with running() as feed:
        feed.put("bear.iso", b"content")
        feed.manifest()
        served.create_iso("bear", feed.url)
        made = hook(served, "bear", provider="github", starts_sync="bear", only=["push"])
        body = tmp_path / "push.json"
        body.write_text(json.dumps({"ref": "refs/heads/main", "repository": {"full_name": "zoo/bear"}}))
        signing = ["openssl", "dgst", "-sha256", "-hmac", made["secret"], "-r", str(body)]
        digest = subprocess.run(signing, capture_output=True, text=True, timeout=60, check=True).stdout.split()[0]
        proof = [f"X-Hub-Signature-256: sha256={digest}", "X-GitHub-Event: push", "X-GitHub-Delivery: 72d3162e"]
        status, answer = sent(served, made, body, *proof)
        assert (status, answer["reason"]) == (202, None)
        assert served.ended(answer["task_id"])["state"] == "finished"
        event = served.call("GET", f"{V1}/events/{answer['event']}")
        assert (event["event_type"], event["payload"]["repository"]) == ("github.push", "zoo/bear")
        assert sent(served, made, body, *proof)[1]["reason"] == "it was delivered before"
        body.write_text(body.read_text() + " ")
        assert sent(served, made, body, *proof)[0] == 401


def test_a_listener_shows_what_it_would_send(served: Server) -> None:
    config = {"url": "https://chat.example.com/hook", "format": "slack"}
    body = {"notifier_type_id": "http", "notifier_config": config, "event_types": ["ci.#"], "repo_ids": ["zoo"]}
    listener = served.call("POST", f"{API}/events/", body)["id"]
    events = [{"event_type": "ci.done", "repo_id": repo_id} for repo_id in ("zoo", "bear")]
    first, second = served.call("POST", f"{V1}/events", events)["numbers"]
    preview = f"{V1}/listeners/{listener}/preview"
    shown = served.call("POST", preview, {"number": first})
    assert (shown["wanted"], json.loads(shown["request"]["body"])) == (True, {"text": "ci.done of zoo"})
    assert served.call("POST", preview, {"number": second})["wanted"] is False
    assert served.reply("POST", preview, {"number": 10**9})[0] == 404
    assert served.call("GET", f"{V1}/listeners/{listener}/deliveries")["deliveries"] == []


def test_a_loop_of_listener_and_hook_comes_to_an_end(served: Server) -> None:
    made = hook(served, "round", provider="generic", fires="loop.round")
    url = f"{served.url}{made['path']}?token={made['secret']}"
    config = {"notifier_type_id": "http", "notifier_config": {"url": url}, "event_types": ["loop.#"]}
    listener = served.call("POST", f"{API}/events/", config)["id"]
    served.call("POST", f"{V1}/events", {"event_type": "loop.begin"})

    def problem() -> Any:
        [found] = [document for document in served.call("GET", f"{V1}/hooks")["hooks"] if document["name"] == "round"]
        return found["last_problem"]

    until(problem, what="the loop to be told")
    state = f"{V1}/listeners/{listener}"
    until(lambda: served.call("GET", state)["delivery"]["lag_events"] == 0, what="the listener to be through")
    page = served.call("GET", f"{V1}/events?event_type=loop.round&limit=1000")
    assert [event["payload"]["hops"] for event in page["events"]] == list(range(1, 9))
    assert "come round" in problem()
    assert made["secret"] not in json.dumps(served.call("GET", state))


def test_a_loop_of_syncs_that_start_each_other_comes_to_an_end(served: Server) -> None:
    """W20: the finish of a sync posts to a hook, which starts that sync again."""
    with running() as feed:
        feed.put("carp.iso", b"content")
        feed.manifest()
        served.create_iso("carp", feed.url)
        made = hook(served, "carp", provider="generic", fires="carp.told", starts_sync="carp")
        url = f"{served.url}{made['path']}?token={made['secret']}"
        config = {"notifier_type_id": "http", "notifier_config": {"url": url}, "event_types": ["repo.sync.finish"]}
        served.call("POST", f"{API}/events/", config | {"repo_ids": ["carp"]})
        served.ended(served.sync("carp"))

        def problem() -> Any:
            hooks = served.call("GET", f"{V1}/hooks")["hooks"]
            return next(document["last_problem"] for document in hooks if document["name"] == "carp")

        def told() -> list[tuple[str, int | None]]:
            page = served.call("GET", f"{V1}/events?event_type=repo.*.finish&repo_id=carp&limit=1000")
            return [(event["event_type"], event["payload"].get("hops")) for event in page["events"]]

        until(problem, what="the loop to be told")
        until(lambda: ("repo.publish.finish", 8) in told(), what="the last publish")
    assert [hops for event_type, hops in told() if event_type == "repo.sync.finish"] == [None, *range(1, 9)]
