"""A Python index through the whole server: created as by Pulp 2's client, synced, and served to pip."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import python
from support.python import build, pypiserver, run
from support.server import API, Server, pulpit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server with a repository that was created as Pulp 2's client did, and synced once."""
    build(folder / "up", "bear", "1.0")
    build(folder / "up", "camel", "2.0", dependencies=["bear"])
    with pypiserver(folder / "up/dist") as index, pulpit(folder / "data") as one:
        one.call("POST", f"{API}/repositories/", original_body("zoo", index))
        task = one.ended(one.sync("zoo"))
        assert task["state"] == "finished", task
        yield one


def original_body(repo_id: str, feed: str) -> dict[str, Any]:
    return {
        "id": repo_id,
        "display_name": None,
        "description": None,
        "notes": {"_repo-type": "PYTHON"},
        "importer_type_id": "python_importer",
        "importer_config": {"feed": feed, "package_names": "bear,camel"},
        "distributors": [
            {
                "distributor_id": "cli_python_distributor",
                "distributor_type_id": "python_distributor",
                "auto_publish": True,
                "distributor_config": {},
            }
        ],
    }


def admin(server: Server, *arguments: str, code: int = 0) -> str:
    program = str(Path(sys.executable).with_name("pulp-admin"))
    command = [program, "--url", server.url, "--username", "admin", "--password", server.password, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_the_task_reports_steps_as_pulp_2_did(server: Server) -> None:
    task = server.ended(server.sync("zoo"))

    steps = task["progress_report"]["python_importer"]
    assert [(step["step_type"], step["state"]) for step in steps] == [
        ("sync_step_metadata", "FINISHED"),
        ("sync_step_download_packages", "SKIPPED"),
    ]


def test_units_are_counted_and_found(server: Server) -> None:
    assert server.call("GET", f"{API}/repositories/zoo/")["content_unit_counts"] == {"python_package": 4}
    criteria = {"type_ids": ["python_package"], "filters": {"unit": {"name": "camel", "packagetype": "sdist"}}}
    (found,) = server.call("POST", f"{API}/repositories/zoo/search/units/", {"criteria": criteria})
    assert found["metadata"]["filename"] == "camel-2.0.tar.gz"
    assert found["metadata"]["requires_dist"] == ["bear"]


def test_pip_downloads_from_where_pulp_2_served(server: Server, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "download"]

    run(*pip, "--index-url", f"{server.url}/pulp/python/web/zoo/simple/", "camel", cwd=tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bear-1.0-py3-none-any.whl",
        "camel-2.0-py3-none-any.whl",
    ]


def test_our_own_command_manages_it_from_beginning_to_end(server: Server, folder: Path) -> None:
    files = build(folder / "own", "Own-Bear", "3.0")
    repo = ["--repo-id", "own"]

    admin(server, "python", "repo", "create", *repo, "--relative-url", "mine/own")
    for file in files:
        admin(server, "python", "repo", "uploads", "upload", *repo, "--file", str(file))
    assert "Making files available via web" in admin(server, "python", "repo", "publish", "run", *repo)
    assert "own_bear-3.0-py3-none-any.whl" in admin(server, "python", "repo", "packages", *repo, "--name", "own-bear")
    request = urllib.request.Request(f"{server.url}/pulp/python/web/mine/own/simple/own-bear/")
    request.add_header("Accept", python.JSON)
    with urllib.request.urlopen(request, timeout=60) as answer:
        page = json.load(answer)
    assert page["versions"] == ["3.0"]
    assert all("upload-time" in file for file in page["files"])
    assert "has no feed to sync from" in admin(server, "python", "repo", "sync", "run", *repo, code=1)
    admin(server, "python", "repo", "delete", *repo)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=60)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("bear-9.tar.gz", b"no archive", "is broken"),
        ("bear.txt", b"text", "no name of a wheel or sdist"),
        ("wrong-9-py3-none-any.whl", None, "has no files of metadata"),
    ],
)
def test_what_is_no_package_is_refused_in_a_sentence(  # noqa: PLR0917 - fixtures
    name: str, content: bytes | None, reason: str, server: Server, folder: Path, tmp_path: Path
) -> None:
    wheel = folder / "up/dist/bear-1.0-py3-none-any.whl"
    (tmp_path / name).write_bytes(wheel.read_bytes() if content is None else content)

    upload = ["python", "repo", "uploads", "upload", "--repo-id", "zoo", "--file", str(tmp_path / name)]
    assert reason in admin(server, *upload, code=1)


def test_packages_are_copied_and_removed(server: Server) -> None:
    server.call("POST", f"{API}/repositories/", original_body("copy", "http://127.0.0.1:9/"))
    criteria = {"type_ids": ["python_package"], "filters": {"unit": {"name": "bear"}}}

    copied = server.call(
        "POST",
        f"{API}/repositories/copy/actions/associate/",
        {"source_repo_id": "zoo", "criteria": criteria},
    )
    assert server.ended(copied["spawned_tasks"][0]["task_id"])["state"] == "finished"
    assert server.call("GET", f"{API}/repositories/copy/")["content_unit_counts"] == {"python_package": 2}

    removed = server.call("POST", f"{API}/repositories/copy/actions/unassociate/", {"criteria": criteria})
    assert server.ended(removed["spawned_tasks"][0]["task_id"])["state"] == "finished"
    assert server.call("GET", f"{API}/repositories/copy/")["content_unit_counts"] == {}


def test_an_exported_index_is_imported_elsewhere_and_installed_from(server: Server, tmp_path: Path) -> None:
    home = ["--data-dir", str(server.data_dir)]
    for target, further in ((tmp_path / "tree", []), (tmp_path / "all.tar", ["--tar"])):
        run(sys.executable, "-m", "pulpit.cli", "export", "python/web/zoo", str(target), *further, *home, cwd=tmp_path)
    with pulpit(tmp_path / "far", "[messaging]\nurl =\n") as far:
        there = ["--url", far.url, "-u", "admin", "--password-file", str(far.data_dir / "admin-password")]
        for source, repo_id in (("tree", "zoo"), ("all.tar", "other"), ("all.tar", "other")):
            to = ["--repo-id", repo_id]
            run(sys.executable, "-m", "pulpit.cli", "import", source, *to, *there, cwd=tmp_path)
        for repo_id in ("zoo", "other"):
            assert far.call("GET", f"{API}/repositories/{repo_id}/")["content_unit_counts"] == {"python_package": 4}
        assert "2.0" in admin(far, "python", "repo", "packages", "--repo-id", "zoo", "--name", "camel")
        venv = tmp_path / "venv"
        run(sys.executable, "-m", "venv", str(venv), cwd=tmp_path)
        pip = [str(venv / "bin/python"), "-m", "pip", "--isolated", "--disable-pip-version-check", "install"]
        run(*pip, "--index-url", f"{far.url}/pulp/python/web/zoo/simple/", "camel", cwd=tmp_path)
        listed = subprocess.run([*pip[:-1], "list"], capture_output=True, text=True, timeout=60, check=True).stdout
        assert "camel" in listed
        assert "bear" in listed
