"""The other pages: topics, repositories and tasks, and what all of them have in common."""

from datetime import timedelta
from typing import Any

import pytest

from pulpit.fire import fire
from pulpit.store import history, holdings, repositories, schedules, tasks
from pulpit.store.history import Ending
from pulpit.store.tasks import EndedTask
from pulpit.store.units import NewUnit
from pulpit.tasks import queue
from support.database import NOBODY
from support.page import Page

HOSTILE = "<script>alert(1)</script>\u202e"


@pytest.fixture
def repo_id(admin: Page, request: pytest.FixtureRequest) -> str:
    """A repository with an importer, a distributor and two units."""
    made = f"zoo-{abs(hash(request.node.name)) % 10**6}"
    now = admin.services.clock()
    with admin.services.database.write() as tx:
        repositories.add(tx, made, display_name=HOSTILE, description=None, notes={}, now=now)
        feed = {"feed": "http://jane:hush@mirror.example.org/"}
        repositories.add_importer(tx, made, "iso_importer", feed, now=now)
        repositories.add_distributor(tx, made, "d", "iso_distributor", {}, auto_publish=True, now=now)
        batch = [
            NewUnit(type_id="iso", key={"name": name, "checksum": made, "size": 1}, metadata={}, files=(), slot=name)
            for name in (f"owl{HOSTILE}.iso", "100%.iso")
        ]
        holdings.save(tx, made, batch, now=now, recorder=NOBODY)
    return made


def _queued(page: Page, repo_id: str) -> list[tasks.Task]:
    with page.services.database.read() as connection:
        return tasks.search(connection, tags=[f"pulp:repository:{repo_id}"])


@pytest.mark.parametrize(
    ("query", "ticks"),
    [
        ({}, {"repo.sync.start": "✓ · ·", "repo.publish.finish": "✓ ✓ ✓", "tasks.error": "✓ · ·"}),
        ({"kind": "listener"}, {"repo.sync.finish": "✓ · ✓", "tasks.error": "· · ·", "zoo.fed": "✓ · ·"}),
        ({"kind": "queue", "patterns": "#.fed\n*"}, {"zoo.fed": "✓ ·", "repo.sync.start": "· ·"}),
    ],
)
def test_patterns_are_tried_on_types_and_on_the_latest_events(
    admin: Page, query: dict[str, str], ticks: dict[str, str]
) -> None:
    with admin.services.database.write() as tx:
        fire(tx, "zoo.fed", {}, clock=admin.services.clock)
    text = admin.get("/topics", **query).text
    for event_type, expected in ticks.items():
        assert f"{event_type} {expected} " in text, text


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        ("repo.sink", "is unknown"),
        ("repo.*.sink", "matches none of"),
        (HOSTILE, "is not words of letters"),
        ("x" * 300, "at most 255"),
        ("a " * 20, "12 more"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_told(admin: Page, patterns: str, said: str) -> None:
    seen = admin.get("/topics", kind="listener", patterns=patterns)
    assert said in seen.text
    assert "<script>alert" not in seen.response.text


def test_a_repository_is_shown_and_searched_without_its_secrets(admin: Page, repo_id: str) -> None:
    assert repo_id in admin.get("/repositories", q=repo_id[:6].upper()).text
    assert "There is no such repository." in admin.get("/repositories", q="nothing").text
    here = f"/repositories/{repo_id}"
    seen = admin.get(here)
    assert "owl<script>alert(1)</script>\\u202e.iso" in seen.text
    assert "hush" not in seen.response.text
    assert "<script>alert" not in seen.response.text
    assert "owl" not in admin.get(here, q="100%").text
    assert "owl" in admin.get(here, q="OWL").text
    assert "Nothing matches." in admin.get(here, q="100_").text
    assert admin.get("/repositories/none").status == 404


def test_a_sync_and_a_publish_are_queued_in_the_name_of_the_user(admin: Page, repo_id: str) -> None:
    here = f"/repositories/{repo_id}"
    assert "The sync is queued." in admin.post(f"{here}/sync", of=here).text
    assert "The publish is queued." in admin.post(f"{here}/publish", {"distributor": "d"}, of=here).text
    assert admin.post(f"{here}/publish", {"distributor": "none"}, of=here).status == 404
    queued = _queued(admin, repo_id)
    assert [(task.task_type, task.principal_login) for task in queued] == [
        (queue.SYNC, "admin"),
        (queue.PUBLISH, "admin"),
    ]


def test_schedules_are_made_switched_and_deleted(admin: Page, repo_id: str) -> None:
    here = f"/repositories/{repo_id}"

    def planned() -> list[tuple[str, str, bool]]:
        with admin.services.database.read() as connection:
            found = schedules.of_repository(connection, repo_id)
        return [(schedule.action, schedule.schedule, schedule.enabled) for schedule in found]

    for what in ("sync iso_importer", "publish d"):
        fields = {"what": what, "schedule": "PT6H", "failure_threshold": "3"}
        assert "The schedule is created." in admin.post(f"{here}/schedules", fields, of=here).text
    for wrong in (
        {"what": "sync iso_importer", "schedule": "daily"},
        {"what": "dance"},
        {"what": "sync none", "schedule": "P1D"},
    ):
        assert admin.post(f"{here}/schedules", wrong, of=here).status in (400, 404)
    with admin.services.database.read() as connection:
        first, second = schedules.of_repository(connection, repo_id)
    admin.post(f"{here}/schedules/{first.id}", {"do": "disable"}, of=here)
    assert planned() == [("sync", "PT6H", False), ("publish", "PT6H", True)]
    admin.post(f"{here}/schedules/{first.id}", {"do": "enable"}, of=here)
    admin.post(f"{here}/schedules/{second.id}", {"do": "delete"}, of=here)
    assert planned() == [("sync", "PT6H", True)]


def test_the_history_is_drawn_and_listed(admin: Page, repo_id: str) -> None:
    now = admin.services.clock()
    with admin.services.database.write() as tx:
        for number, result in enumerate(("success", "failed", "canceled")):
            record = history.begin(
                tx,
                history.SYNC,
                repo_id=repo_id,
                plugin_id="iso_importer",
                plugin_type_id="iso_importer",
                task_id="t",
                now=now,
            )
            ending = Ending(result=result, added_count=number, updated_count=0, removed_count=0, error_message=HOSTILE)
            history.close(tx, record, ending, now=now + timedelta(seconds=10 * (number + 1)))
    seen = admin.get(f"/repositories/{repo_id}")
    bars = [attributes for tag, attributes in seen.tags if tag == "rect"]
    assert [(bar["class"], bar["height"]) for bar in bars] == [("good", "21.3"), ("bad", "42.7"), ("odd", "64.0")]
    assert "+2 ~0 -0" in seen.text
    assert "longest 30 s" in seen.text


def test_a_task_is_shown_whole_and_stopped(admin: Page, repo_id: str) -> None:
    with admin.services.database.write() as tx:
        waiting = queue.sync(tx, repo_id, None, login="jane", clock=admin.services.clock)
    here = f"/tasks/{waiting.id}"
    assert "jane" in admin.get(here).text
    assert "sync" in admin.get("/tasks", state="waiting", repo=repo_id).text
    assert "The task is being canceled." in admin.post(f"{here}/cancel", of=here).text
    assert [task.state for task in _queued(admin, repo_id)] == ["canceled"]
    with admin.services.database.write() as tx:
        queue.sync(tx, repo_id, None, login="jane", clock=admin.services.clock)
        running = tasks.claim(tx, "w@here", now=admin.services.clock())
        assert running
        error: dict[str, Any] = {
            "code": "PLP0000",
            "description": HOSTILE,
            "data": {"deep": ["x" * 100]},
            "sub_errors": [],
        }
        tasks.end(tx, running.id, "w@here", EndedTask(state="error", error=error), now=admin.services.clock())
    seen = admin.get(f"/tasks/{running.id}")
    assert "x" * 100 in seen.text
    assert "<script>alert" not in seen.response.text
    assert admin.get("/tasks", state="nonsense", page="7").status == 200
    assert admin.get("/tasks/none").status == 404


def test_every_page_is_small_and_has_no_script_or_style_of_its_own(admin: Page, repo_id: str) -> None:
    files = sum(len(admin.client.get(f"/ui/static/{name}").content) for name in ("page.css", "page.js", "icon.svg"))
    for path in (
        "/",
        "/listeners",
        "/listeners/new?kind=http",
        "/topics",
        "/repositories",
        f"/repositories/{repo_id}",
        "/tasks",
    ):
        seen = admin.get(path)
        assert seen.status == 200
        assert len(seen.response.content) + files < 150_000, path
        for tag, attributes in seen.tags:
            assert tag != "style"
            assert not {name for name in attributes if name == "style" or name.startswith("on")}, (path, attributes)
            assert tag != "script" or attributes.get("src")
