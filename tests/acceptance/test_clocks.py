"""Two servers on one PostgreSQL, the clock of one of which is months ahead, jumps, and is right again."""

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import postgresql as pg
from support.server import API, Server, pulpit
from support.shared import Shared, beside, check, shared_by
from support.waiting import until
from support.webhooks import Hook, hook

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
AHEAD, BEHIND, RIGHT = "+100d", "-9d", "+0"

pytestmark = [
    pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed (Debian: faketime)"),
    pytest.mark.skipif(bool(pg.why_not()), reason=str(pg.why_not())),
]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    with shared_by("shared folder", tmp_path) as shared:
        yield shared


class Clock:
    """The clock of a server's machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(AHEAD)

    def set(self, offset: str) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.replace(self._path)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


def fire(server: Server, number: int, key: str) -> list[int]:
    """Fire an event, unless one with that key has been fired."""
    request = urllib.request.Request(f"{server.url}/pulpit/v1/events", method="POST")
    for name, text in (("Authorization", server.basic), ("Idempotency-Key", key), ("Content-Type", "application/json")):
        request.add_header(name, text)
    body = json.dumps({"event_type": "build.done", "payload": {"n": number}}).encode()
    with urllib.request.urlopen(request, body, timeout=60) as answer:
        return [int(number) for number in json.loads(answer.read())["numbers"]]


def said(server: Server, action: str) -> int:
    return len([line for line in server.said if f"action={action}" in line])


def numbers(received: Hook) -> list[int]:
    return [body["payload"]["n"] for body in received.came]


def arrived(received: Hook, wanted: range) -> None:
    until(lambda: len(numbers(received)) >= len(wanted), what="the events")
    assert numbers(received) == list(wanted)


def test_a_wrong_clock_deletes_nothing_doubles_nothing_and_is_named(shared: Shared) -> None:
    conf = "[server]\nwebhook_allow: 127.0.0.0/8\n"
    clock = Clock(shared.folder / "clock")
    with (
        hook() as a,
        hook() as b,
        pulpit(shared.folder / "one", shared.conf + conf + "[tasks]\nworkers: 0\n") as one,
    ):
        fired = [fire(one, number, f"key {number}") for number in range(10)]  # no listener keeps these in the log
        upload = one.call("POST", f"{API}/content/uploads/")["upload_id"]
        two = beside(shared, one, further=conf, variables=clock.variables)
        two.start()
        try:
            until(lambda: said(two, "clock_wrong"), what="the server to name its clock")
            two.call("POST", f"{API}/content/uploads/")
            assert fire(two, 10, "key 10") == [fired[-1][0] + 1]
            assert [fire(one, number, f"key {number}") for number in range(10)] == fired
            assert upload in one.call("GET", f"{API}/content/uploads/")["upload_ids"]

            content = b"a file that is stored and will be recorded in a moment"
            sha256 = hashlib.sha256(content).hexdigest()
            stored, incoming = shared.folder / "shared" / sha256[:2] / sha256, shared.folder / "shared/incoming/now"
            stored.parent.mkdir(exist_ok=True)
            for path in (stored, incoming):
                path.write_bytes(content)
            removal = one.call("DELETE", f"{API}/content/orphans/")  # by a worker whose clock is ahead
            assert one.ended(removal["spawned_tasks"][0]["task_id"])["state"] == "finished"
            assert stored.exists()
            assert incoming.exists()

            for receiver in (a, b):
                config = {"url": receiver.url}
                body = {"notifier_type_id": "http", "notifier_config": config, "event_types": ["build.done"]}
                one.call("POST", f"{API}/events/", body)
            sent = 11
            for offset in (BEHIND, AHEAD, RIGHT):
                clock.set(offset)
                for server in (one, two) * 5:
                    fire(server, sent, f"key {sent}")
                    sent += 1
                for receiver in (a, b):
                    arrived(receiver, range(11, sent))
            until(lambda: said(two, "clock_right"), what="the clock to be right")
            log = one.call("GET", "/pulpit/v1/events?limit=200")["events"]
            kept = [event["payload"]["n"] for event in log if event["event_type"] == "build.done"]
            assert kept == list(range(sent))
            assert said(two, "events_forgotten") == said(two, "server_dead") == said(one, "server_dead") == 0
        finally:
            assert two.stop() == 0, two.said
        check(one)
