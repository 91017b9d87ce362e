"""`pulp-admin python repo`: requests and output."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

CREATE = ["python", "repo", "create", "--repo-id", "zoo"]
UPDATE = ["python", "repo", "update", "--repo-id", "zoo"]


def test_create_sends_what_pulp_2_did_and_more(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("POST repositories/", Reply(status=201, body={"id": "zoo"}))
    options = ["--feed", "http://f/", "--package-names", "bear>=1,<2,camel", "--only-newest", "--relative-url", "z"]
    options += ["--package-types", "wheel", "--platform-tags", "any, manylinux*_x86_64", "--prereleases", "true"]
    options += ["--python-versions", "3.11", "--include-yanked", "false"]

    assert admin(*CREATE, *options) == 0

    assert wire.asked[0].body == {
        "id": "zoo",
        "notes": {"_repo-type": "PYTHON"},
        "importer_type_id": "python_importer",
        "importer_config": {
            "feed": "http://f/",
            "package_names": "bear>=1,<2,camel",
            "retain_old_count": 0,
            "package_types": ["wheel"],
            "platform_tags": ["any", "manylinux*_x86_64"],
            "prereleases": True,
            "python_versions": ["3.11"],
            "include_yanked": False,
        },
        "distributors": [
            {
                "distributor_id": "cli_python_distributor",
                "distributor_type_id": "python_distributor",
                "auto_publish": True,
                "distributor_config": {"relative_url": "z"},
            }
        ],
    }


def test_update_takes_away_what_is_given_as_nothing(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("PUT repositories/zoo/", Reply(body={"result": {}, "error": None, "spawned_tasks": []}))

    assert admin(*UPDATE, "--package-types", "", "--prereleases", "", "--relative-url", "zoo") == 0

    assert wire.asked[0].body == {
        "delta": {},
        "importer_config": {"package_types": None, "prereleases": None},
        "distributor_configs": {"cli_python_distributor": {"relative_url": "zoo"}},
    }


def test_search_and_list_know_their_repositories(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("POST repositories/search/", Reply(body=[]))
    wire.on("GET repositories/", Reply(body=[{"id": "a", "notes": {"_repo-type": "PYTHON"}}, {"id": "b", "notes": {}}]))

    assert admin("python", "repo", "search") == 0
    assert admin("python", "repo", "list", "--json") == 0

    assert wire.asked[0].body == {"criteria": {"filters": {"notes._repo-type": "PYTHON"}}}
    assert '"a"' in capsys.readouterr().out


def test_packages_are_searched_by_their_name(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    found = {"name": "bear", "version": "1.0", "filename": "bear-1.0.tar.gz", "classifiers": ["unseen"]}
    wire.on("POST repositories/zoo/search/units/", Reply(body=[{"metadata": found}]))

    assert admin("python", "repo", "packages", "--repo-id", "zoo", "--name", "bear") == 0

    assert wire.asked[0].body == {"criteria": {"type_ids": ["python_package"], "filters": {"unit": {"name": "bear"}}}}
    out = capsys.readouterr().out
    assert "bear-1.0.tar.gz" in out
    assert "unseen" not in out


@pytest.mark.parametrize("words", [["uploads"], []])
def test_uploads_name_their_file(words: list[str], admin: RunAdmin, wire: RestWire, tmp_path: Path) -> None:
    (tmp_path / "bear-1.0.tar.gz").write_bytes(b"bear")
    wire.takes_uploads("zoo")
    upload = ["python", "repo", *words, "upload", "--repo-id", "zoo", "--bg"]

    assert admin(*upload, "--file", str(tmp_path / "bear-1.0.tar.gz")) == 0

    imported = wire.asked[wire.lines().index("POST repositories/zoo/actions/import_upload/")].body
    assert (imported["unit_type_id"], imported["unit_key"]) == ("python_package", {"filename": "bear-1.0.tar.gz"})


@pytest.mark.parametrize(("section", "plugin"), [("sync", "python_importer"), ("publish", "cli_python_distributor")])
def test_syncs_and_publishes_have_schedules(section: str, plugin: str, admin: RunAdmin, wire: RestWire) -> None:
    plugins = "importers" if section == "sync" else "distributors"
    wire.on(f"GET repositories/zoo/{plugins}/{plugin}/schedules/{section}/", Reply(body=[]))

    assert admin("python", "repo", section, "schedules", "list", "--repo-id", "zoo") == 0
