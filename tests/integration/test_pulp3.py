"""A real Pulp 3 with its workers beside a real Pulpit: whatever happens to a task, its start has exactly one finish."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pulpit import catalogue
from pulpit.listener_options import BUILT_IN
from support import postgresql, pulp3, yum
from support.command_tables import command_of
from support.pulp3 import Pulp3
from support.pulp3_upstreams import serve_files, serve_index, serve_packages, serve_tree
from support.server import Server, pulpit
from support.upstream import Upstream, running, status
from support.waiting import until

REASON = postgresql.why_not()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(1200),
]
FOUR = ("repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish")


class Stage:
    """Pulp, Pulpit, and an upstream between which everything happens."""

    def __init__(self, pulp: Pulp3, server: Server, upstream: Upstream) -> None:
        self.pulp, self.server, self.upstream = pulp, server, upstream
        self._last = 0

    def events(self, repo_id: str, count: int, *, seconds: float = 60) -> list[dict[str, Any]]:
        """The four kinds of events of a repository, once there are enough; no more may follow."""

        def found() -> list[dict[str, Any]]:
            page = self.server.call("GET", f"/pulpit/v1/events?repo_id={repo_id}&limit=1000&after=0")
            return [event for event in page["events"] if event["event_type"] in FOUR]

        until(lambda: len(found()) >= count, what=f"{count} events of {repo_id}", seconds=seconds)
        events = found()
        assert len(events) == count, short(events)
        for event in events:
            body = {key: event[key] for key in ("event_type", "payload", "call_report")}
            jsonschema.validate(body, catalogue.schema(event["event_type"]))
        assert [event["repo_number"] for event in events] == list(range(1, count + 1))
        return events

    def hold(self, under: str) -> threading.Event:
        """A file that the upstream holds back, so that the sync of its folder goes on until it is let go."""
        feed = f"{under}/PULP_MANIFEST"
        arrived = threading.Event()
        content = self.upstream.files[feed]

        def behave(answering: Any) -> None:
            arrived.set()
            self.upstream.released.wait(120)
            answering.answer(200, content)

        self.upstream.misbehave(feed, behave)
        return arrived

    def status(self) -> dict[str, Any]:
        """How it stands with the one Pulp."""
        shown: dict[str, Any] = self.server.call("GET", "/pulpit/v1/pulp3")[0]
        return shown


def short(events: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(event["event_type"].removeprefix("repo."), event["result"]) for event in events]


def prn(kind: str, href: str) -> str:
    """What Pulp calls something that its API has at a path."""
    return f"prn:{kind}:{href.rstrip('/').rpartition('/')[2]}"


def attachment(pulp: Pulp3, verb: str) -> str:
    """Run `pulpit pulp3 …`."""
    command = [sys.executable, "-m", "pulpit.cli", "pulp3", verb, "--config", "/dev/null"]
    command += ["--database-url", pulp.cluster.url()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pulp() -> Iterator[Pulp3]:
    with pulp3.pulp3(workers=2) as running_pulp:
        attachment(running_pulp, "attach")
        yield running_pulp


@pytest.fixture(scope="module")
def stage(pulp: Pulp3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("pulpit")
    conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url()}\napi_url: {pulp.url}/pulp/\nreconcile_seconds: 1\n"
    conf += "tasks: true\n"
    with running() as upstream, pulpit(folder / "data", conf) as server:
        stage = Stage(pulp, server, upstream)
        until(lambda: stage.status()["state"] == "reading", what="the reader")  # which has every task told from now on
        yield stage


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has, nor this one when it is run again."""
    runs = request.node.session.stash.setdefault(RUNS, [0])
    runs[0] += 1
    return f"zoo-{runs[0]}"


RUNS = pytest.StashKey[list[int]]()
BEGUN = [("sync.start", None)]
PUBLISHED = [("publish.start", None), ("publish.finish", "success")]


def test_a_sync_and_a_publish_fire_the_four_events_that_pulp_2_had(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso", "b.iso"))
    task = pulp.ended(pulp.sync(repository))
    publish = pulp.ended(pulp.publish("file/file", repository))
    events = stage.events(name, 4)
    assert short(events) == [*BEGUN, ("sync.finish", "success"), *PUBLISHED]
    _, finish, _, published = (event["payload"] for event in events)
    assert (finish["repo_id"], finish["importer_id"], finish["importer_type_id"]) == (
        name,
        f"{name}-remote",
        "file.file",
    )
    assert (finish["added_count"], finish["updated_count"], finish["removed_count"]) == (2, 0, 0)
    assert finish["pulp3"]["version"]["pulp_href"] == task["created_resources"][0]
    assert finish["pulp3"]["version"]["changed"] == {"added": ["a.iso", "b.iso"], "removed": [], "complete": True}
    assert finish["pulp3"]["task"]["prn"] == prn("core.task", task["pulp_href"])
    assert finish["pulp3"]["repository"] == {
        "pulp_href": repository,
        "prn": prn("file.filerepository", repository),
        "name": name,
        "type": "file.file",
    }
    assert published["pulp3"]["publication"]["pulp_href"] == publish["created_resources"][0]
    assert published["pulp3"]["publication"]["prn"] == prn("file.filepublication", publish["created_resources"][0])
    if pulp.version == pulp3.NEWEST:  # older ones have no such names in their API
        for told, href in ((finish["pulp3"]["repository"], repository), (finish["pulp3"]["task"], task["pulp_href"])):
            assert told["prn"] == pulp.call("GET", href)["prn"]
    assert events[1]["call_report"]["state"] == "finished"
    assert events[1]["traceparent"][3:35] == task["logging_cid"].replace("-", "")
    every = stage.server.call("GET", f"/pulpit/v1/events?repo_id={name}&after=0")["events"]
    assert [event["event_type"] for event in every] == [
        *("tasks.waiting", "tasks.running", "repo.sync.start"),
        *("repo.version.create", "repo.sync.finish", "tasks.finished"),
        *("tasks.waiting", "tasks.running", "repo.publish.start", "repo.publish.finish", "tasks.finished"),
    ]
    assert (every[3]["payload"]["version"], every[3]["payload"]["present_count"]) == (1, 2)


def test_a_sync_without_change_has_no_version_and_a_later_one_says_what_went(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso", "b.iso"))
    pulp.ended(pulp.sync(repository))
    pulp.ended(pulp.sync(repository))
    serve_files(stage.upstream, name, "b.iso", "c.iso")
    pulp.ended(pulp.sync(repository, mirror=True))
    events = stage.events(name, 8)
    assert short(events)[4:] == [*BEGUN, *PUBLISHED, ("sync.finish", "success")]
    finishes = [event["payload"] for event in events if event["event_type"] == "repo.sync.finish"]
    assert [finish["result"] for finish in finishes] == ["success"] * 3
    assert [(finish["added_count"], finish["removed_count"]) for finish in finishes] == [(2, 0), (0, 0), (1, 1)]
    assert finishes[1]["pulp3"]["version"] is None
    assert finishes[2]["pulp3"]["version"]["changed"] == {"added": ["c.iso"], "removed": ["a.iso"], "complete": True}


def test_a_sync_that_publishes_by_itself_fires_both_pairs(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    feed = serve_files(stage.upstream, name, "a.iso")
    repository = pulp.create("file/file", name, feed, autopublish=True)
    task = pulp.ended(pulp.sync(repository))
    events = stage.events(name, 4)
    assert short(events) == [*BEGUN, *PUBLISHED, ("sync.finish", "success")]
    publication = events[2]["payload"]["pulp3"]["publication"]
    assert publication["pulp_href"] in task["created_resources"]
    assert events[2]["payload"]["pulp3"]["version"]["number"] == 1


@pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=yum.tools("rpmbuild") or "")
def test_packages_are_named_as_people_name_them(stage: Stage, name: str, tmp_path: Path) -> None:
    pulp = stage.pulp
    feed = serve_packages(
        stage.upstream, name, [yum.build(tmp_path, "camel", "1.0"), yum.build(tmp_path, "lion", "2.0")]
    )
    repository = pulp.create("rpm/rpm", name, feed)
    task = pulp.ended(pulp.sync(repository, sync_policy="mirror_complete"))
    assert task["state"] == "completed", task["error"]
    events = stage.events(name, 4)
    assert short(events) == [*BEGUN, *PUBLISHED, ("sync.finish", "success")]
    version = events[-1]["payload"]["pulp3"]["version"]
    assert version["changed"] == {"added": ["camel-1.0-1.noarch", "lion-2.0-1.noarch"], "removed": [], "complete": True}
    assert version["pulp_href"] in task["created_resources"]


@pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=yum.tools("rpmbuild") or "")
def test_a_distribution_tree_is_told_by_the_repository_that_was_synced(stage: Stage, name: str, tmp_path: Path) -> None:
    """pulp_rpm makes hidden repositories inside during the sync, which the task has reserved at its end."""
    pulp = stage.pulp
    camel, lion = (yum.build(tmp_path, kind, "1.0") for kind in ("camel", "lion"))
    repository = pulp.create("rpm/rpm", name, serve_tree(stage.upstream, name, [camel], [lion]))
    task = pulp.ended(pulp.sync(repository))
    assert task["state"] == "completed", task["error"]
    events = stage.events(name, 2)
    assert short(events) == [*BEGUN, ("sync.finish", "success")]
    told = events[1]["payload"]["pulp3"]
    assert (told["repository"]["pulp_href"], told["version"]["pulp_href"]) == (repository, task["created_resources"][0])


@pytest.mark.skipif(pulp3.VERSION != pulp3.NEWEST, reason="older pulp_python mirrors over https alone")
def test_python_packages_are_named_by_their_files(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    feed = serve_index(stage.upstream, "camel", "1.0")
    repository = pulp.create("python/python", name, feed, remote={"includes": ["camel"], "policy": "on_demand"})
    task = pulp.ended(pulp.sync(repository))
    assert task["state"] == "completed", task["error"]
    published = pulp.ended(
        pulp.call("POST", f"{pulp3.API}/publications/python/pypi/", {"repository": repository})["task"]
    )
    events = stage.events(name, 4)
    assert short(events) == [*BEGUN, ("sync.finish", "success"), *PUBLISHED]
    assert events[1]["payload"]["pulp3"]["version"]["changed"]["added"] == ["camel-1.0.tar.gz"]
    assert events[3]["payload"]["pulp3"]["publication"]["pulp_href"] == published["created_resources"][0]


@pytest.mark.skipif(pulp3.VERSION != pulp3.NEWEST, reason="older pulp_python mirrors over https alone")
def test_pulp_3_mirrors_a_published_index(stage: Stage, name: str) -> None:
    pulp, server = stage.pulp, stage.server
    feed = serve_index(stage.upstream, "dromedary", "1.0")
    distributor = {"distributor_id": "web", "distributor_type_id": "python_distributor", "auto_publish": True}
    importer = {"feed": feed, "package_names": "dromedary"}
    body: dict[str, Any] = {"id": name, "importer_type_id": "python_importer", "importer_config": importer}
    body["distributors"] = [distributor | {"distributor_config": {}}]
    server.call("POST", "/pulp/api/v2/repositories/", body)
    server.ended(server.sync(name))
    index = f"{server.url}/pulp/python/web/{name}/"
    until(lambda: answers(f"{index}pypi/dromedary/json"), what="the publication")

    repository = pulp.create("python/python", name, index, remote={"policy": "immediate"})
    task = pulp.ended(pulp.sync(repository))

    assert task["state"] == "completed", task["error"]
    version = task["created_resources"][0]
    held = pulp.call("GET", f"{pulp3.API}/content/python/packages/?repository_version={version}")["results"]
    assert [(one["filename"], one["packagetype"]) for one in held] == [("dromedary-1.0.tar.gz", "sdist")]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60):
            return True
    except urllib.error.HTTPError:
        return False


def test_what_fails_ends_in_error_and_its_secrets_stay_at_home(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    serve_files(stage.upstream, name, "a.iso", "b.iso")
    feed = f"{stage.upstream.url}{name}/PULP_MANIFEST?sas_token=verysecret"
    stage.upstream.misbehave(f"{name}/PULP_MANIFEST?sas_token=verysecret", status(404))
    repository = pulp.create("file/file", name, feed)
    assert "verysecret" in pulp.ended(pulp.sync(repository))["error"]["description"]
    events = stage.events(name, 2)
    assert short(events) == [*BEGUN, ("sync.finish", "error")]
    assert "404" in events[1]["payload"]["error_message"]
    assert events[1]["payload"]["traceback"]
    assert "verysecret" not in json.dumps(events)


def test_a_publish_that_fails_ends_in_error(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    feed = serve_files(stage.upstream, name, "a.iso")
    repository = pulp.create("file/file", name, feed)
    pulp.ended(pulp.sync(repository))
    with pulp.cluster.connect() as connection:
        connection.execute("ALTER TABLE core_publishedmetadata RENAME TO hidden")
        try:
            alone = pulp.ended(pulp.publish("file/file", repository))
            pulp.ended(pulp.call("PATCH", repository, {"autopublish": True})["task"])
            serve_files(stage.upstream, name, "b.iso")
            inside = pulp.ended(pulp.sync(repository))
        finally:
            connection.execute("ALTER TABLE hidden RENAME TO core_publishedmetadata")
    assert (alone["state"], inside["state"]) == ("failed", "failed")
    failed = [("publish.start", None), ("publish.finish", "error")]
    events = stage.events(name, 8)
    assert short(events) == [*BEGUN, ("sync.finish", "success"), *failed, *BEGUN, *failed, ("sync.finish", "error")]
    assert all(event["payload"]["error_message"] for event in events if event["result"] == "error")


def test_a_cancel_is_told_whether_the_task_runs_or_waits(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso"))
    arrived = stage.hold(name)
    runs = pulp.sync(repository)
    until(arrived.is_set, what="the sync at the upstream", seconds=60)
    waits = pulp.sync(repository)
    pulp.cancel(waits)
    assert pulp.ended(waits)["state"] == "canceled"
    assert short(stage.events(name, 3)) == [*BEGUN, *BEGUN, ("sync.finish", "canceled")]
    pulp.cancel(runs)
    state = pulp.ended(runs)["state"]
    assert state == "canceled" or pulp.version != pulp3.NEWEST  # an old one may say that the sync failed
    events = stage.events(name, 4)
    assert short(events)[-1] == ("sync.finish", {"canceled": "canceled", "failed": "error"}[state])
    assert [event["payload"]["pulp3"]["task"]["pulp_href"] for event in events] == [runs, waits, waits, runs]


def test_a_killed_task_and_a_killed_worker_have_a_finish(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso"))
    arrived = stage.hold(name)
    killed = pulp.sync(repository)
    until(arrived.is_set, what="the sync at the upstream", seconds=60)
    (child,) = until(pulp.task_processes, what="the process of the task")
    os.kill(child, signal.SIGKILL)
    pulp.ended(killed)
    events = stage.events(name, 2)
    assert short(events) == [*BEGUN, ("sync.finish", "error")]
    assert "signal 9" in events[1]["payload"]["error_message"]
    arrived.clear()
    pulp.sync(repository)
    until(arrived.is_set, what="the sync at the upstream", seconds=60)
    pulp.kill_worker(pulp.worker_of_a_task())
    pulp.start_worker()
    events = stage.events(name, 4, seconds=120)
    assert short(events)[2:] == [*BEGUN, ("sync.finish", "error")]
    assert "missing" in events[3]["payload"]["error_message"]


def test_a_sync_that_waits_while_its_repository_is_deleted_has_the_name_of_that(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso"))
    arrived = stage.hold(name)
    runs = pulp.sync(repository)
    until(arrived.is_set, what="the sync at the upstream", seconds=60)
    deletes = pulp.call("DELETE", repository)["task"]
    waits = pulp.sync(repository)
    pulp.cancel(runs)
    assert [pulp.ended(task)["state"] for task in (runs, deletes, waits)] == ["canceled", "completed", "failed"]
    events = stage.events(name, 4)
    assert short(events) == [*BEGUN, ("sync.finish", "canceled"), *BEGUN, ("sync.finish", "error")]
    assert [event["payload"]["pulp3"]["task"]["pulp_href"] for event in events] == [runs, runs, waits, waits]


def test_a_renamed_repository_is_told_by_its_new_name_and_the_same_prn(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso"))
    pulp.ended(pulp.sync(repository))
    pulp.ended(pulp.call("PATCH", repository, {"name": f"{name}-renamed"})["task"])
    pulp.ended(pulp.sync(repository, optimize=False))
    before, after = stage.events(name, 2), stage.events(f"{name}-renamed", 2)
    assert short(before) == short(after) == [*BEGUN, ("sync.finish", "success")]
    prns = {event["payload"]["pulp3"]["repository"]["prn"] for event in (*before, *after)}
    assert prns == {prn("file.filerepository", repository)}


def test_what_pulp_has_deleted_and_purged_meanwhile_is_told_whole(stage: Stage, name: str) -> None:
    pulp, server = stage.pulp, stage.server
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso", "b.iso"))
    server.kill()
    pulp.ended(pulp.sync(repository))
    pulp.ended(pulp.call("DELETE", repository)["task"])
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    pulp.ended(pulp.call("POST", f"{pulp3.API}/tasks/purge/", {"finished_before": tomorrow})["task"])
    server.start()
    finish = stage.events(name, 2)[1]["payload"]
    assert (finish["result"], finish["added_count"]) == ("success", 2)
    assert finish["pulp3"]["version"]["changed"] == {"added": [], "removed": [], "complete": False}


def test_what_is_renamed_trimmed_or_deleted_while_pulpit_is_away_is_told_as_it_was(stage: Stage, name: str) -> None:
    pulp, server = stage.pulp, stage.server
    feed = serve_files(stage.upstream, name, "a.iso")
    repository = pulp.create("file/file", name, feed, autopublish=True, retain_repo_versions=1)
    server.kill()
    pulp.ended(pulp.sync(repository))
    serve_files(stage.upstream, name, "b.iso")
    pulp.ended(pulp.sync(repository))  # which drops the first version
    remote = pulp.call("GET", repository)["remote"]
    pulp.ended(pulp.call("PATCH", repository, {"name": f"{name}-new"})["task"])
    pulp.ended(pulp.call("DELETE", remote)["task"])
    version = pulp.call("GET", repository)["latest_version_href"]
    files = pulp.call("GET", f"{pulp3.API}/content/file/files/?repository_version={version}")["results"]
    gone = {"remove_content_units": [file["pulp_href"] for file in files if file["relative_path"] == "b.iso"]}
    pulp.ended(pulp.call("POST", f"{repository}modify/", gone)["task"])
    server.start()
    events = stage.events(name, 8)
    assert short(events) == [*BEGUN, *PUBLISHED, ("sync.finish", "success")] * 2
    finishes = [event["payload"] for event in events if event["event_type"] == "repo.sync.finish"]
    assert [(finish["importer_id"], finish["added_count"]) for finish in finishes] == [(f"{name}-remote", 1)] * 2
    assert finishes[1]["pulp3"]["version"]["changed"] == {"added": [], "removed": [], "complete": False}
    assert short(stage.events(f"{name}-new", 2)) == PUBLISHED
    every = server.call("GET", f"/pulpit/v1/events?repo_id={name}-new&after=0&limit=1000")["events"]
    [made] = [event["payload"] for event in every if event["event_type"] == "repo.version.create"]
    assert (made["version"], made["removed_count"], made["present_count"]) == (3, 1, 1)


def test_who_may_administrate_pulp_may_administrate_listeners(stage: Stage, name: str) -> None:
    pulp, server = stage.pulp, stage.server
    pulp.call("POST", f"{pulp3.API}/users/", {"username": name, "password": "Camels-and-lions"})
    body = {"notifier_type_id": "amqp", "notifier_config": {"exchange": "pulp"}, "event_types": ["*"]}
    for login in (("admin", server.password), ("admin", pulp3.PASSWORD), ("admin", pulp3.PASSWORD)):
        assert server.reply("POST", "/pulp/api/v2/events/", body, login=login)[0] == 201
    for login in ((name, "Camels-and-lions"), (name, "wrong"), ("admin", "wrong"), ("admin", "wrong too")):
        status, reply = server.reply("GET", "/pulp/api/v2/events/", login=login)
        assert status == 401
        assert ("may not administrate Pulp" in reply["error_message"]) == (login[1] == "Camels-and-lions")


@pytest.mark.skipif(pulp3.VERSION != pulp3.NEWEST, reason="pulp-cli of that time is older than the plug-in takes")
def test_pulp_event_is_a_command_of_pulp_cli(stage: Stage, tmp_path: Path) -> None:
    pulp, server = stage.pulp, stage.server
    plugin = Path(__file__).parents[2] / "plugins/pulp-cli-events"
    install = [
        str(pulp.home / "bin/python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--force-reinstall",
        str(plugin),
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=300)

    def event(*words: str, password: str = pulp3.PASSWORD, url: str = server.url) -> "subprocess.CompletedProcess[str]":
        login = ["--base-url", pulp.url, "--username", "admin", "--password", password]
        environment = {**os.environ, "PULPIT_URL": url, "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
        command = [str(pulp.home / "bin/pulp"), *login, *(["--dry-run"] if words[-1] == "dry" else []), "event"]
        command += [word for word in words if word != "dry"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def said(*words: str) -> Any:
        done = event("listener", *words)
        assert not done.returncode, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    server.call("POST", "/pulpit/v1/events", {"event_type": "ci.build.finish"})
    made = said("amqp", "create", "--event-type", "*", "--exchange", "pulp", "--give-up-after", "12h")
    mine = ("--listener-id", made["id"])
    assert made["notifier_config"] == {"exchange": "pulp"}
    assert said("test", *mine)["outcome"] == "delivered"
    changed = said("amqp", "update", *mine, "--event-type", "repo.*.finish", "--repo-id", "zoo*", "--result", "error")
    assert changed["event_types"] == ["repo.*.finish"]
    assert said("pause", *mine, "--reason", "a test")["delivery"]["state"] == "paused"
    said("resume", *mine)
    said("replay", *mine, "--from-number", "1")
    secrets, body = tmp_path / "headers", tmp_path / "body.j2"
    secrets.write_text("X-Token=hush-hush\n")
    secrets.chmod(0o600)
    body.write_text('{"text": {{ headline|tojson }}}')
    hook = said(
        *("http", "create", "--event-type", "#", "--url", "https://example.com/hook", "--header", "X-A=b"),
        *("--header-file", str(secrets), "--template", str(body), "--lanes", "4", "--package", "camel*"),
    )
    assert hook["notifier_config"]["headers"] == "*****"
    assert hook["_filters"]["packages"] == ["camel*"]
    changed = said("http", "update", "--listener-id", hook["id"], "--template", "", "--format", "thin", "--package", "")
    assert (changed["notifier_config"].get("template"), changed["notifier_config"]["format"]) == (None, "thin")
    assert not changed["_filters"]["packages"]
    assert said("preview", "--listener-id", hook["id"], "--last", "1", "dry")["looked_at"] == 1
    assert {kind["id"] for kind in said("kinds")} == {"amqp", "email", "http", "kafka", "nats"}
    assert json.loads(event("deadletters", "list", "--listener-id", hook["id"]).stdout) == []
    mail = said("email", "create", "--event-type", "*", "--subject", "Pulp", "--addresses", "a@example.com")
    assert {item["id"] for item in said("list")} >= {made["id"], hook["id"], mail["id"]}
    assert event("listener", "delete", *mine, "dry").returncode == 1
    for listener in (made, hook, mail):
        assert said("show", "--listener-id", listener["id"])["id"] == listener["id"]
        said("delete", "--listener-id", listener["id"])
    assert json.loads(event("log", "list", "--limit", "2").stdout)[0]["number"] == 1
    assert json.loads(event("log", "show", "--number", "1").stdout)["number"] == 1
    for words in (
        *(("listener", kind, "create") for kind in BUILT_IN),
        *(("listener", "http", "update"), ("listener", "preview"), ("listener", "replay"), ("deadletters", "drop")),
    ):
        shown = event(*words, "--help").stdout
        ours = set(re.findall(r"^  (--[a-z][a-z-]+)", shown, re.MULTILINE))
        assert ours == {*options_of_admin(*words), "--help"}, words
    refusals = {
        "Missing resource": event("listener", "show", *mine),
        "login or the password is wrong": event("listener", "list", password="wrong"),
        "cannot be reached": event("listener", "list", url="http://127.0.0.1:1"),
        "does not go over http": event("listener", "list", url="http://pulpit.example.com"),
        "is perhaps no Pulpit": event("listener", "list", url=pulp.url),
        "[nats] servers names none": event("listener", "nats", "create", "--event-type", "*"),
        "chmod 600": event(
            *("listener", "http", "create", "--event-type", "*", "--url", "https://example.com/"),
            *("--secret-file", str(body)),
        ),
    }
    (tmp_path / "pulp").mkdir()
    for line, url, sentence in (
        ('url = "pulpit.example.com"', "", "must look like https://"),
        ("password_file = 3", server.url, "must be text in quotes"),
        ('verify_ssl = "/nowhere.pem"', "https://127.0.0.1:1", "/nowhere.pem cannot be read"),
        ("[", server.url, "is no TOML"),
    ):
        (tmp_path / "pulp/events.toml").write_text(f"[cli]\n{line}\n")
        refusals[sentence] = event("listener", "list", url=url)
    for sentence, done in refusals.items():
        assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_rows_wait_for_a_pulpit_that_is_away_and_are_told_once(stage: Stage, name: str) -> None:
    pulp, server = stage.pulp, stage.server
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso"))
    pulp.ended(pulp.sync(repository))
    for _ in range(2):
        server.kill()
        pulp.ended(pulp.sync(repository, optimize=False))
        server.start()
    events = stage.events(name, 6)
    assert short(events) == [*BEGUN, ("sync.finish", "success")] * 3
    with pulp.cluster.connect() as connection:
        connection.execute("UPDATE pulpit.outbox SET taken_at = NULL")
        until(lambda: not one(connection, "SELECT count(*) FROM pulpit.outbox WHERE taken_at IS NULL"), what="all rows")
    assert stage.events(name, 6) == events


def test_what_failing_open_has_cost_is_made_up_for(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    feed = serve_files(stage.upstream, name, "a.iso")
    repository = pulp.create("file/file", name, feed, autopublish=True)
    with pulp.cluster.connect() as connection:
        for table, trigger in (("core_task", "task"), ("core_createdresource", "created")):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER pulpit_{trigger}".encode())
        pulp.ended(pulp.sync(repository))
        assert not one(
            connection, "SELECT count(*) FROM pulpit.outbox WHERE phase = 'start' AND at > now() - '2s'::interval"
        )
        for table, trigger in (("core_task", "task"), ("core_createdresource", "created")):
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER pulpit_{trigger}".encode())
    events = stage.events(name, 4)
    assert sorted(short(events), key=str) == sorted([*BEGUN, *PUBLISHED, ("sync.finish", "success")], key=str)
    assert events[-1]["payload"]["pulp3"]["made_up"]
    assert stage.status()["reconciled"] >= 1


def test_a_sync_that_is_detached_from_in_its_middle_still_has_its_finish(stage: Stage, name: str) -> None:
    pulp = stage.pulp
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso"))
    arrived = stage.hold(name)
    task = pulp.sync(repository)
    until(arrived.is_set, what="the sync at the upstream", seconds=60)
    stage.events(name, 1)
    assert attachment(pulp, "detach") == "Detached; nothing of Pulpit is left there.\n"
    pulp.cancel(task)
    pulp.ended(task)
    until(lambda: stage.status()["state"] == "not attached", what="the reader to notice", seconds=60)
    assert "pulpit pulp3 attach" in stage.status()["reason"]
    attachment(pulp, "attach")
    assert short(stage.events(name, 2, seconds=120)) == [*BEGUN, ("sync.finish", "canceled")]


def test_attaching_and_detaching_under_load_harms_no_task_and_tells_nothing_twice(stage: Stage, name: str) -> None:
    pulp, tasks = stage.pulp, []
    for number in range(2):
        feed = serve_files(stage.upstream, f"{name}-{number}", "a.iso")
        repository = pulp.create("file/file", f"{name}-{number}", feed, autopublish=True)
        tasks += [pulp.sync(repository, optimize=False) for _ in range(4)]
    for _ in range(2):
        assert attachment(pulp, "detach") == "Detached; nothing of Pulpit is left there.\n"
        assert attachment(pulp, "attach") == "Attached.\n"
    assert {pulp.ended(task)["state"] for task in tasks} == {"completed"}
    last = pulp.ended(pulp.sync(repository, optimize=False))["pulp_href"]

    def told() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for number in range(2):
            page = stage.server.call("GET", f"/pulpit/v1/events?repo_id={name}-{number}&limit=1000&after=0")
            for event in page["events"]:
                if event["event_type"].startswith("repo.sync"):
                    href = event["payload"]["pulp3"]["task"]["pulp_href"]
                    found.setdefault(href, []).append(event["event_type"])
        return found

    def is_whole() -> bool:
        return last in told() and all(types[-1:] == ["repo.sync.finish"] for types in told().values())

    until(is_whole, what="the finish of what has begun", seconds=120)
    assert all(types == ["repo.sync.start", "repo.sync.finish"] for types in told().values())


def test_a_database_that_breaks_down_is_told_and_come_back_to(stage: Stage, name: str) -> None:
    pulp, server = stage.pulp, stage.server
    repository = pulp.create("file/file", name, serve_files(stage.upstream, name, "a.iso"))
    pulp.ended(pulp.sync(repository))
    stage.events(name, 2)
    pulp.stop()
    pulp.cluster.stop(signal.SIGQUIT)
    until(lambda: stage.status()["state"] == "down", what="the reader to notice", seconds=60)
    assert 'pulpit_pulp3_reading{pulp=""} 0.0' in metrics(server)
    pulp.cluster.start()
    pulp.start(workers=2)
    pulp.ended(pulp.sync(repository))
    assert short(stage.events(name, 4, seconds=120)) == [*BEGUN, ("sync.finish", "success")] * 2
    until(lambda: stage.status()["state"] == "reading", what="the reader", seconds=60)
    assert 'pulpit_pulp3_reading{pulp=""} 1.0' in metrics(server)
    assert not [line for line in server.said if pulp.cluster.password in line]


def options_of_admin(*words: str) -> set[str]:
    """The options of a command of `pulp-admin event`, without those for which pulp-cli has its own `--format`."""
    return {option.opts[0] for option in command_of(["event", *words]).params} - {"--json", "--table"}


def one(connection: Any, query: str) -> Any:
    return connection.execute(query.encode()).fetchone()[0]


def metrics(server: Server) -> str:
    return str(server.reply("GET", "/metrics")[1])
