"""`pulp-admin rpm repo`: requests and output."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.rest_wire import Reply, RestWire

RunAdmin = Callable[..., int]
Screen = pytest.CaptureFixture[str]

CREATE = ["rpm", "repo", "create", "--repo-id", "zoo"]
UPDATE = ["rpm", "repo", "update", "--repo-id", "zoo"]


def test_create_sends_importer_and_distributor(admin: RunAdmin, wire: RestWire, tmp_path: Path) -> None:
    wire.on("POST repositories/", Reply(status=201, body={"id": "zoo"}))
    key = tmp_path / "key"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    options = ["--feed", "http://f/zoo/", "--only-newest", "--skip", "srpm,drpm", "--skip", "erratum"]
    options += ["--require-signature", "true", "--allowed-keys", "0123abcd, 4567abcd", "--checksum-type", "sha512"]
    options += ["--repo-gpgcheck", "true", "--feed-gpg-key", str(key), "--serve-http", "false", "--max-downloads", "3"]

    assert admin(*CREATE, *options) == 0

    assert wire.asked[0].body == {
        "id": "zoo",
        "notes": {"_repo-type": "rpm-repo"},
        "importer_type_id": "yum_importer",
        "importer_config": {
            "feed": "http://f/zoo/",
            "max_downloads": 3,
            "retain_old_count": 0,
            "type_skip_list": ["srpm", "drpm", "erratum"],
            "require_signature": True,
            "allowed_keys": ["0123abcd", "4567abcd"],
            "repo_gpgcheck": True,
            "gpgkey": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        },
        "distributors": [
            {
                "distributor_id": "yum_distributor",
                "distributor_type_id": "yum_distributor",
                "auto_publish": True,
                "distributor_config": {"http": False, "checksum_type": "sha512"},
            }
        ],
    }


def test_update_takes_away_what_is_given_as_nothing(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("PUT repositories/zoo/", Reply(body={"result": {}, "error": None, "spawned_tasks": []}))

    assert admin(*UPDATE, "--skip", "", "--retain-old-count", "", "--allowed-keys", "") == 0

    assert wire.asked[0].body == {
        "delta": {},
        "importer_config": {"type_skip_list": None, "retain_old_count": None, "allowed_keys": None},
        "distributor_configs": {},
    }


def test_update_without_a_change_asks_nothing(admin: RunAdmin, wire: RestWire) -> None:
    assert admin(*UPDATE) == 0
    assert wire.asked == []


def test_search_asks_for_repositories_of_packages(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    wire.on("POST repositories/search/", Reply(body=[{"id": "zoo", "display_name": "Zoo", "notes": {}}]))

    assert admin("rpm", "repo", "search", "--limit", "2") == 0
    assert admin("rpm", "repo", "search", "--filters", '{"id": "zoo"}') == 0

    assert [asked.body for asked in wire.asked] == [
        {"criteria": {"filters": {"notes._repo-type": "rpm-repo"}, "limit": 2}},
        {"criteria": {"filters": {"id": "zoo"}}},
    ]
    assert "Zoo" in capsys.readouterr().out


def test_filters_that_are_no_json_are_wrong_data(admin: RunAdmin, wire: RestWire) -> None:
    assert admin("rpm", "repo", "search", "--filters", "{") == 65
    assert admin("rpm", "repo", "search", "--str-eq", "id") == 65
    assert wire.asked == []


def test_repositories_are_searched_by_the_options_that_units_have(admin: RunAdmin, wire: RestWire) -> None:
    wire.on("POST repositories/search/", Reply(body=[]))
    assert admin("rpm", "repo", "search", "--str-eq", "repo_id=zoo") == 0
    ours = {"notes._repo-type": "rpm-repo"}
    assert wire.asked[-1].body["criteria"]["filters"] == {"$and": [ours, {"repo_id": "zoo"}]}


@pytest.mark.parametrize(
    ("command", "type_id", "key"),
    [("rpm", "rpm", "name"), ("errata", "erratum", "errata_id"), ("modulemd", "modulemd", "name")],
)
def test_content_is_searched_by_type(  # noqa: PLR0917 - fixtures
    command: str, type_id: str, key: str, admin: RunAdmin, wire: RestWire, capsys: Screen
) -> None:
    wire.on("POST repositories/zoo/search/units/", Reply(body=[{"metadata": {key: "bear", "unseen": 1}}]))

    assert admin("rpm", "repo", "content", command, "--repo-id", "zoo", "--name", "bear") == 0

    assert wire.asked[0].body == {"criteria": {"type_ids": [type_id], "filters": {"unit": {key: "bear"}}}}
    out = capsys.readouterr().out
    assert "bear" in out
    assert "unseen" not in out


def test_sync_and_publish_name_what_is_asked_for(admin: RunAdmin, wire: RestWire, capsys: Screen) -> None:
    report = {"result": None, "error": None, "spawned_tasks": [{"_href": "x", "task_id": "t1"}]}
    wire.on("POST tasks/search/", Reply(body=[]))
    wire.on("POST repositories/zoo/actions/sync/", Reply(status=202, body=report))
    wire.on("POST repositories/zoo/actions/publish/", Reply(status=202, body=report))

    assert admin("rpm", "repo", "sync", "run", "--repo-id", "zoo", "--bg") == 0
    assert admin("rpm", "repo", "publish", "run", "--repo-id", "zoo", "--bg", "--force-full", "--json") == 0

    bodies = [asked.body for asked in wire.asked if asked.body and "criteria" not in asked.body]
    assert bodies == [{"override_config": None}, {"id": "yum_distributor", "override_config": {"force_full": True}}]
    assert "t1" in capsys.readouterr().out


@pytest.mark.parametrize("type_id", ["rpm", "srpm"])
def test_packages_are_uploaded_and_their_headers_tell_the_rest(
    type_id: str, admin: RunAdmin, wire: RestWire, tmp_path: Path
) -> None:
    (tmp_path / "bear.rpm").write_bytes(b"bear")
    wire.takes_uploads("zoo")
    upload = ["rpm", "repo", "uploads", type_id, "--repo-id", "zoo", "--bg"]

    assert admin(*upload, "--file", str(tmp_path / "bear.rpm")) == 0

    imported = wire.asked[wire.lines().index("POST repositories/zoo/actions/import_upload/")].body
    assert (imported["unit_type_id"], imported["unit_key"]) == (type_id, {})


UPLOADS = ["rpm", "repo", "uploads"]
DESCRIBED = ["--name", "A whole zoo", "--description", "All of it"]
FORMS = [
    (
        ["group", "--group-id", "zoo", *DESCRIBED, "--mand-name", "bear", "--opt-name", "ant", "--opt-name", "gnu"],
        ("package_group", {"repo_id": "park", "id": "zoo"}),
        {"mandatory_package_names": ["bear"], "optional_package_names": ["ant", "gnu"], "user_visible": False},
    ),
    (
        ["category", "--category-id", "zoo", *DESCRIBED, "--group", "a", "--group", "b", "--display-order", "7"],
        ("package_category", {"repo_id": "park", "id": "zoo"}),
        {"packagegroupids": ["a", "b"], "display_order": 7, "name": "A whole zoo", "description": "All of it"},
    ),
    (
        ["environment", "--environment-id", "zoo", *DESCRIBED, "--group", "a"],
        ("package_environment", {"repo_id": "park", "id": "zoo"}),
        {"group_ids": ["a"], "name": "A whole zoo"},
    ),
    (
        ["langpacks", "--name", "bear", "--install", "bear-%s", "--name", "ant", "--install", "ant-%s"],
        ("package_langpacks", {"repo_id": "park"}),
        {"matches": [{"name": "bear", "install": "bear-%s"}, {"name": "ant", "install": "ant-%s"}]},
    ),
]


@pytest.mark.parametrize(("words", "unit", "described"), FORMS, ids=[words[0] for words, _, _ in FORMS])
def test_what_has_no_file_is_described_by_options(
    words: list[str], unit: tuple[str, Any], described: dict[str, Any], admin: RunAdmin, wire: RestWire
) -> None:
    wire.takes_uploads("park")

    assert admin(*UPLOADS, *words, "--repo-id", "park", "--bg") == 0

    imported = wire.asked[1].body
    assert (imported["unit_type_id"], imported["unit_key"]) == unit
    for name, value in described.items():
        assert imported["unit_metadata"][name] == value
    assert wire.lines()[-1] == "DELETE content/uploads/u/"


def test_every_language_pack_says_what_is_installed(admin: RunAdmin, wire: RestWire) -> None:
    assert admin(*UPLOADS, "langpacks", "--repo-id", "park", "--name", "a", "--name", "b", "--install", "a-%s") == 64
    assert wire.asked == []
