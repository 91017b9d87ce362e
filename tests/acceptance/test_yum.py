"""A yum repository through the whole server: created as by the original client, synced, and served to dnf."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from support import upstream as serving
from support import yum
from support.server import Server, pulpit
from support.yum import COMPS, UPDATEINFO, listed, packages, serve

REASON = yum.tools("rpmbuild", "dnf")
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yum")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server with a repository that was created as the original client does and synced once."""
    rpms = [yum.build(folder, "bear", "4.1"), yum.build(folder, "camel", "1.0", further="Requires: bear\n")]
    (folder / "exports").mkdir(mode=0o755)
    conf = f"[publish]\nexport_dir = {folder}/exports\n"
    with serving.running() as upstream, pulpit(folder / "data", conf) as one:
        serve(upstream, listed(packages(rpms), updateinfo=UPDATEINFO, group=COMPS), rpms)
        one.call("POST", "/pulp/api/v2/repositories/", original_body("zoo", upstream.url))
        task = one.ended(one.sync("zoo"))
        assert task["state"] == "finished", task
        for spawned in task["spawned_tasks"]:
            assert one.ended(spawned["task_id"])["state"] == "finished"
        yield one


def original_body(repo_id: str, feed: str) -> dict[str, Any]:
    config = {"http": False, "https": True, "relative_url": f"/{repo_id}"}
    return {
        "id": repo_id,
        "display_name": None,
        "description": None,
        "notes": {"_repo-type": "rpm-repo"},
        "importer_type_id": "yum_importer",
        "importer_config": {"feed": feed, "type_skip_list": ["drpm"], "retain_old_count": 1},
        "distributors": [
            {
                "distributor_id": kind,
                "distributor_type_id": kind,
                "auto_publish": kind == "yum_distributor",
                "distributor_config": config,
            }
            for kind in ("yum_distributor", "export_distributor")
        ],
    }


def test_the_task_reports_seven_parts_and_then_steps(server: Server) -> None:
    synced = server.task(server.sync("zoo"))["task_id"]
    report = server.ended(synced)["progress_report"]["yum_importer"]

    assert sorted(report) == [
        "comps",
        "content",
        "distribution",
        "errata",
        "metadata",
        "modules",
        "purge_duplicates",
    ]


def test_units_are_counted_and_found_by_version(server: Server) -> None:
    repository = server.call("GET", "/pulp/api/v2/repositories/zoo/")
    assert repository["content_unit_counts"] == {
        "rpm": 2,
        "erratum": 1,
        "package_group": 1,
        "package_category": 1,
        "package_environment": 1,
        "package_langpacks": 1,
    }
    criteria = {"type_ids": ["rpm"], "filters": {"unit": {"version_sort_index": {"$gt": "01-4.01-0"}}}}
    (found,) = server.call("POST", "/pulp/api/v2/repositories/zoo/search/units/", {"criteria": criteria})
    assert (found["metadata"]["name"], found["metadata"]["epoch"]) == ("bear", "0")
    assert "detail" not in found["metadata"]


def test_dnf_installs_from_the_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    folders = {"installroot": "root", "setopt=cachedir": "cache", "setopt=logdir": "log", "setopt=persistdir": "lib"}
    command = ["-y", *(f"--{option}={tmp_path}/{name}" for option, name in folders.items())]

    dnf(f"{server.url}/pulp/repos/zoo/", *command, "install", "camel")

    assert (tmp_path / "root/usr/share/zoo/bear").read_text() == "bear 4.1\n"


def dnf(url: str, *arguments: str) -> str:
    """What dnf says with this repository alone."""
    command = ["dnf", "-q", "--setopt=reposdir=/nonexistent", "--setopt=gpgcheck=0", "--releasever=1", "--noplugins"]
    command += [f"--repofrompath=zoo,{url}", "--repo=zoo", "--forcearch=x86_64", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_dnf_sees_a_promotion_and_a_rollback_at_once(server: Server, tmp_path: Path) -> None:
    def done(path: str, body: dict[str, Any]) -> None:
        answer = server.call("POST", path, body)
        assert server.ended(answer["spawned_tasks"][0]["task_id"])["state"] == "finished"

    def seen(place: str) -> list[str]:
        # one folder of dnf's own for all questions, so that only what is new is fetched
        arguments = [
            f"--setopt=cachedir={tmp_path}/cache",
            "--refresh",
            "repoquery",
            "--qf",
            "%{name}\n",
        ]
        return dnf(f"{server.url}/pulp/repos/{place}/", *arguments).split()

    v1, v2 = "/pulpit/v1/repositories/back", "/pulp/api/v2/repositories/back"
    server.call("POST", "/pulp/api/v2/repositories/", original_body("back", "http://127.0.0.1:9/"))
    done(f"{v2}/actions/associate/", {"source_repo_id": "zoo"})
    done(f"{v2}/actions/publish/", {"id": "yum_distributor"})
    assert seen("back") == ["bear", "camel"]
    camel = {"type_ids": ["rpm"], "filters": {"unit": {"name": "camel"}}}
    done(f"{v2}/actions/unassociate/", {"criteria": camel})
    done(f"{v2}/actions/publish/", {"id": "yum_distributor"})
    assert seen("back") == ["bear"]
    done(f"{v1}/rollback", {})
    assert seen("back") == ["bear", "camel"]
    done(f"{v1}/publications/2/promote", {"to": "prod/back"})
    assert seen("prod/back") == ["bear"]
    finished = server.call("GET", "/pulpit/v1/events?repo_id=back&event_type=repo.publish.finish")["events"]
    said = [[f"{unit['change']} {unit['name']}" for unit in one["payload"]["changes"]["units"]] for one in finished]
    assert "added camel" in said[0]
    assert said[1:3] == [["removed camel"], ["added camel"]]
    assert "added bear" in said[3]


def test_the_server_writes_exports_where_it_may(server: Server, tmp_path: Path, folder: Path) -> None:
    def admin(*arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "pulpit.admin", "--url", server.url, "--username", "admin"]
        command += ["--password-file", str(server.data_dir / "admin-password"), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    exports = folder / "exports"
    admin("rpm", "repo", "export", "run", "--repo-id", "zoo", "--export-dir", str(exports / "old"))
    query = [f"--setopt=cachedir={tmp_path}/cache", "repoquery", "--qf", "%{name}\n"]
    assert dnf(f"file://{exports}/old/zoo/", *query).split() == ["bear", "camel"]
    finish = server.call("GET", "/pulpit/v1/events?repo_id=zoo&event_type=repo.publish.finish")["events"][-1]["payload"]
    assert (finish["distributor_id"], finish["result"]) == ("export_distributor", "success")
    assert finish["details"]["export"]["path"] == f"{exports}/old/zoo"
    assert finish["changes"]["units"] == []
    outside = admin("rpm", "repo", "export", "run", "--repo-id", "zoo", "--export-dir", str(tmp_path), code=1)
    assert "is not below" in outside

    one = ["repo", "export", "--repo-id", "zoo", "--publication", "1", "--to"]
    admin(*one, "new.tar")
    run = [sys.executable, "-m", "pulpit.cli", "import", str(exports / "new.tar"), "--repo-id", "carried"]
    run += ["--url", server.url, "-u", "admin", "--password-file", str(server.data_dir / "admin-password")]
    subprocess.run(run, capture_output=True, text=True, timeout=100, check=True)
    assert server.call("GET", "/pulp/api/v2/repositories/carried/")["content_unit_counts"]["rpm"] == 2
    assert "Invalid value for to" in admin(*one, "../out", code=65)


def test_our_own_command_manages_it(server: Server) -> None:
    def run(*arguments: str) -> str:
        program = str(Path(sys.executable).with_name("pulp-admin"))
        command = [program, "--url", server.url, "--username", "admin", "--password", server.password, *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return str(ended.stdout)

    assert "zoo" in run("rpm", "repo", "list")
    assert "camel-1.0-1.noarch.rpm" in run("rpm", "repo", "content", "rpm", "--repo-id", "zoo")
    assert "ZOO-2024:1" in run("rpm", "repo", "content", "errata", "--repo-id", "zoo")
    assert "Downloading repository content" in run("rpm", "repo", "sync", "run", "--repo-id", "zoo", "--force-full")
    assert "Publishing RPMs" in run("rpm", "repo", "publish", "run", "--repo-id", "zoo", "--force-full")


def imported(server: Server, type_id: str, key: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Import a unit that has no file, as the original client does."""
    upload_id = server.call("POST", "/pulp/api/v2/content/uploads/")["upload_id"]
    order = {"upload_id": upload_id, "unit_type_id": type_id, "unit_key": key, "unit_metadata": metadata}
    task = server.call("POST", "/pulp/api/v2/repositories/barn/actions/import_upload/", order)
    server.call("DELETE", f"/pulp/api/v2/content/uploads/{upload_id}/")
    return server.ended(task["spawned_tasks"][0]["task_id"])


def test_d3_d5_d7_units_by_hand_are_copied_and_removed_by_the_keys_of_pulp_2(server: Server) -> None:
    server.call("POST", "/pulp/api/v2/repositories/", original_body("barn", "http://127.0.0.1:1/"))
    assert (
        imported(server, "package_group", {"id": "birds", "repo_id": "barn"}, {"name": "Birds"})["state"] == "finished"
    )
    assert imported(server, "package_group", {"id": 1.5}, {})["state"] == "error"
    copied = server.ended(associate(server, "erratum", {})["task_id"])
    assert copied["result"]["units_successful"][0]["unit_key"]["id"] == "ZOO-2024:1"
    associate_all = server.ended(associate(server, "package_langpacks", {})["task_id"])
    assert associate_all["result"]["units_successful"][0]["unit_key"]["repo_id"] == "barn"

    with pytest.raises(HTTPError) as refused:
        associate(server, "package_group", {"additional_repos": {"zoo": "zoo"}})
    assert (refused.value.code, "additional_repos" in refused.value.read().decode()) == (400, True)

    with_packages = server.ended(associate(server, "package_group", {"recursive": True})["task_id"])
    types = [unit["type_id"] for unit in with_packages["result"]["units_successful"]]
    assert sorted(types) == ["package_group", "rpm", "rpm"]

    for type_id, filters in (("package_langpacks", {"repo_id": "barn"}), ("package_group", {"id": "birds"})):
        criteria = {"type_ids": [type_id], "filters": {"unit": filters}}
        removal = server.call("POST", "/pulp/api/v2/repositories/barn/actions/unassociate/", {"criteria": criteria})
        (removed,) = server.ended(removal["spawned_tasks"][0]["task_id"])["result"]["units_successful"]
        assert filters.items() <= removed["unit_key"].items()


def associate(server: Server, type_id: str, options: dict[str, Any]) -> dict[str, Any]:
    body = {"source_repo_id": "zoo", "criteria": {"type_ids": [type_id]}, "override_config": options}
    answer = server.call("POST", "/pulp/api/v2/repositories/barn/actions/associate/", body)
    task: dict[str, Any] = answer["spawned_tasks"][0]
    return task
