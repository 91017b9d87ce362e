"""Publications through the real server: listed, compared, promoted, rolled back, pinned."""

import hashlib
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from support import upstream as serving
from support.server import API, Server, pulpit
from support.upstream import Upstream

V1 = "/pulpit/v1"


class Zoo:
    """A server, and repositories whose feed a test changes."""

    def __init__(self, server: Server, upstream: Upstream) -> None:
        self.server = server
        self.upstream = upstream

    def feed(self, repo_id: str, **files: str) -> None:
        """What the upstream has from now on."""
        lines = ""
        for name, text in files.items():
            self.upstream.put(f"{repo_id}/{name}", text.encode())
            lines += f"{name},{hashlib.sha256(text.encode()).hexdigest()},{len(text)}\n"
        self.upstream.put(f"{repo_id}/PULP_MANIFEST", lines.encode())

    def create(self, repo_id: str) -> None:
        self.feed(repo_id, bear="1")
        self.server.create_iso(repo_id, f"{self.upstream.url}{repo_id}/", remove_missing=True)

    def sync(self, repo_id: str, **files: str) -> dict[str, Any]:
        """Sync, and publish as the repository does by itself."""
        self.feed(repo_id, **files)
        report = self.server.ended(self.server.sync(repo_id))
        assert report["state"] == "finished", report
        return report

    def publish(self, repo_id: str) -> dict[str, Any]:
        answer = self.server.call("POST", f"{API}/repositories/{repo_id}/actions/publish/", {"id": "iso_distributor"})
        return self.done(answer)

    def done(self, answer: Any) -> dict[str, Any]:
        return self.server.ended(answer["spawned_tasks"][0]["task_id"])

    def promote(self, repo_id: str, number: int, to: str, **more: Any) -> dict[str, Any]:
        path = f"{V1}/repositories/{repo_id}/publications/{number}/promote"
        return self.done(self.server.call("POST", path, {"to": to, **more}))

    def roll_back(self, repo_id: str, **order: Any) -> dict[str, Any]:
        return self.done(self.server.call("POST", f"{V1}/repositories/{repo_id}/rollback", order))

    def place(self, path: str) -> dict[str, Any]:
        return dict(self.server.call("GET", f"{V1}/places/{path}"))

    def read(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.server.url}/pulp/isos/{path}", timeout=20) as answer:
            return str(answer.read().decode())

    def numbers(self, repo_id: str) -> list[int]:
        found = self.server.call("GET", f"{V1}/repositories/{repo_id}/publications")["publications"]
        return [publication["number"] for publication in found]

    def admin(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "pulpit.admin", "--url", self.server.url]
        command += ["--username", "admin", "--password-file", str(self.server.data_dir / "admin-password"), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        return ended.stdout + ended.stderr

    def events(self, repo_id: str, event_type: str) -> list[dict[str, Any]]:
        query = f"repo_id={repo_id}&event_type={event_type}&limit=1000"
        return [event["payload"] for event in self.server.call("GET", f"{V1}/events?{query}")["events"]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    folder = tmp_path_factory.mktemp("zoo")
    conf = "[messaging]\nurl =\n[publish]\nkeep = 3\ngrace = 0\n"
    with serving.running() as upstream, pulpit(folder / "data", conf) as server:
        yield Zoo(server, upstream)


def refused(function: Any, *arguments: Any) -> tuple[int, str]:
    """The status of a refusal and what it says."""
    with pytest.raises(HTTPError) as failure:
        function(*arguments)
    with failure.value as answer:
        return answer.code, answer.read().decode()


def test_publications_are_listed_compared_and_shown(zoo: Zoo) -> None:
    zoo.create("listed")
    zoo.sync("listed", bear="1")
    zoo.sync("listed", bear="2", camel="1")

    assert zoo.numbers("listed") == [2, 1]
    assert zoo.place("isos/listed")["publication"] == 2
    assert zoo.place("isos/listed")["former"] == [1]
    found = zoo.server.call("GET", f"{V1}/repositories/listed/publications/1/diff?to=2")
    assert found["counts"] == {
        "files_added": 1,
        "files_removed": 0,
        "files_changed": 2,
        "units_added": 2,
        "units_removed": 1,
    }
    assert [file["path"] for file in found["files"]] == ["PULP_MANIFEST", "bear", "camel"]
    assert [unit["unit_key"]["name"] for unit in found["units_removed"]] == ["bear"]

    shown = zoo.admin("repo", "publications", "show", "--repo-id", "listed", "--publication", "1", "--files")
    assert "bear" in shown
    assert "camel" not in shown
    compared = zoo.admin("repo", "publications", "diff", "--repo-id", "listed", "--from", "1", "--to", "2")
    assert "+ camel" in compared
    assert "~ bear" in compared
    assert "units added: 2" in compared
    assert refused(zoo.server.call, "GET", f"{V1}/repositories/listed/publications/9")[0] == 404
    assert "9 (publication)" in zoo.admin("repo", "publications", "show", "--repo-id", "listed", "--publication", "9")


def test_a_promotion_shows_the_same_files_elsewhere_and_tells_of_it(zoo: Zoo) -> None:
    zoo.create("zoo")
    zoo.sync("zoo", bear="1")

    report = zoo.promote("zoo", 1, "prod/zoo")

    assert report["state"] == "finished"
    assert zoo.read("prod/zoo/bear") == "1"
    (start,) = [event for event in zoo.events("zoo", "repo.publish.start") if "promoted_from" in event]
    (finish,) = [event for event in zoo.events("zoo", "repo.publish.finish") if "promoted_from" in event]
    assert start["promoted_from"] == finish["promoted_from"] == {"repo_id": "zoo", "publication": 1}
    assert (finish["result"], finish["place"]) == ("success", "isos/prod/zoo")
    assert finish["changes"]["publications"] == {"from": None, "to": 1}
    assert [(unit["change"], unit["name"]) for unit in finish["changes"]["units"]] == [("added", "bear")]
    history = zoo.server.call("GET", f"{API}/repositories/zoo/history/publish/iso_distributor/")
    assert history[0]["details"]["promoted_from"]["publication"] == 1

    zoo.sync("zoo", bear="2")
    assert (zoo.read("zoo/bear"), zoo.read("prod/zoo/bear")) == ("2", "1")  # a publish leaves it alone
    zoo.admin("repo", "promote", "--repo-id", "zoo", "--publication", "2", "--to", "isos/prod/zoo")
    assert zoo.read("prod/zoo/bear") == "2"
    second = [event for event in zoo.events("zoo", "repo.publish.finish") if "promoted_from" in event][-1]["changes"]
    assert (second["publications"], second["replaced"], second["truncated"]) == ({"from": 1, "to": 2}, 1, False)
    between = f"{V1}/repositories/zoo/changes?from=publication:1&to=publication:2"
    assert [change["change"] for change in zoo.server.call("GET", between)["changes"]] == ["replaced"]
    said = zoo.admin("repo", "diff", "--repo-id", "zoo", "--from", "publication:1", "--to", "publication:2")
    assert said.startswith("~ iso bear")
    for text in ("3", "4", "5", "6"):
        zoo.sync("zoo", bear=text)
    assert zoo.numbers("zoo") == [6, 5, 4, 2, 1]  # three of each place

    zoo.admin("repo", "places", "remove", "--place", "isos/prod/zoo")
    assert refused(zoo.read, "prod/zoo/bear")[0] == 404
    assert zoo.numbers("zoo") == [6, 5, 4]
    assert refused(zoo.server.call, "DELETE", f"{V1}/places/isos/zoo")[0] == 409


def test_places_that_cannot_be_are_refused(zoo: Zoo) -> None:
    for repo_id in ("inner", "other"):
        zoo.create(repo_id)
        zoo.sync(repo_id, bear="1")

    path = f"{V1}/repositories/inner/publications/1/promote"
    for to in ("", "/", "../up", "isos/", "a//b", "x\x00y", "isos/inner/../x"):
        assert refused(zoo.server.call, "POST", path, {"to": to})[0] == 400, to
    said = zoo.admin("repo", "promote", "--repo-id", "inner", "--publication", "1", "--to", "../etc")
    assert said.count("Invalid value") == 1
    assert "cannot be a place" in said
    for to in ("other", "other/inside", "inner/inside", "isos/other"):
        assert refused(zoo.server.call, "POST", path, {"to": to})[0] == 409, to
    assert zoo.read("other/bear") == "1"


def test_a_rollback_goes_back_and_the_next_publish_shows_the_newest_again(zoo: Zoo) -> None:
    zoo.create("back")
    for text in ("1", "2", "3"):
        zoo.sync("back", bear=text)

    assert zoo.roll_back("back")["state"] == "finished"
    assert zoo.read("back/bear") == "2"
    zoo.roll_back("back")
    assert zoo.read("back/bear") == "1"
    assert "no earlier publication" in zoo.admin("repo", "rollback", "--repo-id", "back")
    zoo.roll_back("back", to=3)
    assert zoo.read("back/bear") == "3"
    assert zoo.publish("back")["result"]["result"] == "skipped"  # that is what a publish would show

    zoo.roll_back("back", to=2)
    assert zoo.publish("back")["result"]["result"] == "success"
    assert zoo.read("back/bear") == "3"
    zoo.roll_back("back", to=2)
    zoo.sync("back", bear="4")
    assert zoo.read("back/bear") == "4"


def test_what_is_held_stays_whatever_is_published(zoo: Zoo) -> None:
    zoo.create("held")
    zoo.sync("held", bear="1")
    zoo.sync("held", bear="2")
    zoo.admin("repo", "rollback", "--repo-id", "held", "--hold")
    assert zoo.read("held/bear") == "1"

    synced = zoo.sync("held", bear="3")
    assert synced["spawned_tasks"] == []  # nobody asks for a publish that would be refused
    report = zoo.publish("held")
    assert report["state"] == "error"
    assert "is protected: only a promotion changes what it shows" in report["error"]["description"]
    assert zoo.read("held/bear") == "1"

    zoo.roll_back("held", to=2)
    assert zoo.read("held/bear") == "2"
    zoo.admin("repo", "places", "unprotect", "--place", "isos/held")
    assert zoo.publish("held")["state"] == "finished"
    assert zoo.read("held/bear") == "3"


def test_pinned_ones_stay_and_others_can_be_removed(zoo: Zoo) -> None:
    zoo.create("pinned")
    zoo.sync("pinned", bear="1")
    zoo.admin("repo", "publications", "pin", "--repo-id", "pinned", "--publication", "1")
    for text in ("2", "3", "4", "5"):
        zoo.sync("pinned", bear=text)
    assert zoo.numbers("pinned") == [5, 4, 3, 1]
    for number, word in ((1, "pinned"), (5, "shown at isos/pinned")):
        path = f"{V1}/repositories/pinned/publications/{number}"
        assert word in refused(zoo.server.call, "DELETE", path)[1]
    zoo.done(zoo.server.call("DELETE", f"{API}/content/orphans/"))
    assert zoo.promote("pinned", 1, "archive/pinned")["state"] == "finished"
    assert zoo.read("archive/pinned/bear") == "1"

    assert "remove" in zoo.admin("repo", "publications", "remove", "--repo-id", "pinned", "--publication", "3")
    assert zoo.numbers("pinned") == [5, 4, 1]
    zoo.admin("repo", "places", "remove", "--place", "isos/archive/pinned")
    unpinned = zoo.admin("repo", "publications", "unpin", "--repo-id", "pinned", "--publication", "1")
    assert "not needed any more and was removed" in unpinned
    assert zoo.numbers("pinned") == [5, 4]


def pulpit_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pulpit.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_an_export_is_a_plain_tree_and_becomes_a_repository_elsewhere(zoo: Zoo, tmp_path: Path) -> None:
    zoo.create("carried")
    zoo.sync("carried", bear="1", camel="1")
    at_home = ["--data-dir", str(zoo.server.data_dir)]
    folder, first, second = tmp_path / "tree", tmp_path / "first.tar", tmp_path / "second.tar"
    exported = pulpit_command("export", "isos/carried", str(folder), *at_home)
    assert exported.returncode == 0, exported.stderr
    assert {path.name for path in folder.iterdir()} >= {"PULP_MANIFEST", "bear", "camel"}
    assert (folder / "bear").read_text() == "1"
    assert "already" in pulpit_command("export", "carried:1", str(folder), *at_home).stdout
    assert pulpit_command("export", "carried:1", str(first), "--tar", *at_home).returncode == 0
    zoo.sync("carried", bear="2", camel="1")
    pulpit_command("export", "isos/carried", str(second), "--tar", "--since", "1", *at_home)
    with tarfile.open(second) as tar:
        assert sorted(tar.getnames()) == ["PULP_MANIFEST", "bear", "pulpit-export.files", "pulpit-export.json"]
    assert "there is no carried:9" in pulpit_command("export", "carried:9", str(folder), *at_home).stderr

    with pulpit(tmp_path / "far", "[messaging]\nurl =\n") as far:
        there = ["--url", far.url, "-u", "admin", "--password-file", str(far.data_dir / "admin-password")]
        for source, bear in ((first, "1"), (first, "1"), (second, "2")):
            imported = pulpit_command("import", str(source), *there)
            assert imported.returncode == 0, imported.stdout + imported.stderr
            assert Zoo(far, zoo.upstream).read("carried/bear") == bear
        assert Zoo(far, zoo.upstream).read("carried/camel") == "1"
        assert Zoo(far, zoo.upstream).numbers("carried") == [2, 1]  # doing it again changed nothing
        without_base = pulpit_command("import", str(second), "--repo-id", "other", *there)
        assert without_base.returncode == 0, without_base.stderr  # the rest of it is in the storage already

        second.write_bytes(second.read_bytes()[:-11_000])
        refused = pulpit_command("import", str(second), "--repo-id", "never", *there)
        assert refused.returncode == 1
        assert refused.stderr.startswith("pulpit: ")
        repositories = far.call("GET", f"{API}/repositories/")
        assert sorted(repository["id"] for repository in repositories) == ["carried", "other"]


def test_promotions_that_meet_a_kill_have_one_finish_each(zoo: Zoo) -> None:
    zoo.create("killed")
    zoo.sync("killed", bear="1")
    zoo.sync("killed", bear="2")
    tasks = []
    for number in (1, 2) * 3:
        path = f"{V1}/repositories/killed/publications/{number}/promote"
        answer = zoo.server.call("POST", path, {"to": "prod/killed"})
        tasks.append(answer["spawned_tasks"][0]["task_id"])
    zoo.server.kill()
    zoo.server.start()
    for task in tasks:
        zoo.server.ended(task)

    starts, finishes = (zoo.events("killed", f"repo.publish.{word}") for word in ("start", "finish"))
    assert len(starts) == len(finishes) >= len([task for task in tasks if zoo.server.task(task)["state"] == "finished"])
    for finish in finishes:
        assert finish["result"] in {"success", "error", "failed"}
    assert {finish["promoted_from"]["publication"] for finish in finishes if "promoted_from" in finish} <= {1, 2}
    shown = {place["path"]: place["publication"] for place in zoo.server.call("GET", f"{V1}/places")["places"]}
    for path, number in shown.items():
        if path == "isos/prod/killed":
            assert zoo.read(f"{path.removeprefix('isos/')}/bear") == str(number)
