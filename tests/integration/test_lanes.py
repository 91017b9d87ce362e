"""A listener with lanes on a real server that is killed: only failing repositories are delayed, and nothing is lost."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.server import API, Server, pulpit
from support.waiting import until
from support.webhooks import Hook, hook

pytestmark = pytest.mark.timeout(300)
V1 = "/pulpit/v1"
LOCAL = "[server]\nwebhook_allow: 127.0.0.0/8\n"


def fire(server: Server, *repo_ids: str) -> list[int]:
    events = [
        {"event_type": "ci.done", "repo_id": repo_id, "payload": {"repo_id": repo_id, "mark": f"{repo_id} {count}"}}
        for count, repo_id in enumerate(repo_ids)
    ]
    numbers: list[int] = server.call("POST", f"{V1}/events", events)["numbers"]
    return numbers


def marks(receiver: Hook) -> list[str]:
    return [body["payload"]["mark"] for body in receiver.came]


def state(server: Server, listener_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", f"{API}/events/{listener_id}/")
    return found


def test_after_a_kill_only_the_repository_that_was_refused_is_told_again(tmp_path: Path) -> None:
    with hook() as receiver, pulpit(tmp_path / "data", LOCAL) as server:
        receiver.statuses["broken"] = 503
        config = {"url": receiver.url, "lanes": 4}
        body = {"notifier_type_id": "http", "notifier_config": config, "event_types": ["ci.#"]}
        made = server.call("POST", f"{API}/events/", body)["id"]
        numbers = fire(server, "zoo", "broken", "bear", "broken", "zoo", "bear", "zoo")
        until(lambda: len(set(marks(receiver))) == 6, what="all but the second of the one that fails")
        until(
            lambda: (
                state(server, made)["_delivery"]["state"] == "retrying"
                and state(server, made)["_delivery"]["position"] == numbers[0]
            ),
            what="what is settled to be written",
        )
        until(lambda: state(server, made)["_delivery"]["failing_repositories"], what="what fails to be written")
        [failing] = state(server, made)["_delivery"]["failing_repositories"]
        assert (failing["repo_id"], failing["next_event"]) == ("broken", numbers[1])
        assert failing["attempts"] >= 1
        before = Counter(marks(receiver))
        server.kill()
        receiver.statuses.clear()
        receiver.came.clear()
        server.start()
        until(lambda: state(server, made)["_delivery"]["position"] >= numbers[-1], what="the end of the log")
        assert marks(receiver) == ["broken 1", "broken 3"]
        assert max(count for mark, count in before.items() if not mark.startswith("broken")) == 1
        now = state(server, made)["_delivery"]
        assert (now["state"], now["failing_repositories"]) == ("active", [])


@pytest.mark.parametrize(
    ("kind", "config", "said"),
    [
        ("http", {"url": "http://127.0.0.1:1/", "lanes": 65}, "lanes must be a whole number from 1 to 64"),
        ("http", {"url": "http://127.0.0.1:1/", "lanes": 2, "concurrency": 2}, "leave one of them out"),
        ("email", {"addresses": ["joe@example.com"], "lanes": 9}, "lanes must be a whole number from 1 to 8"),
        ("email", {"addresses": ["joe@example.com"], "lanes": 2, "digest": "5m"}, "leave one of them out"),
    ],
)
def test_lanes_that_cannot_be_are_refused_with_a_sentence(
    served: Server, kind: str, config: dict[str, Any], said: str
) -> None:
    body = {"notifier_type_id": kind, "notifier_config": config, "event_types": ["*"]}
    status, answer = served.reply("POST", f"{API}/events/", body)
    assert status == 400
    assert said in str(answer)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pulpit(tmp_path_factory.mktemp("lanes") / "data", LOCAL) as server:
        yield server
