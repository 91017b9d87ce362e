"""Every command that the original client was seen to run, request by request, against a real server and its workers."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from support import upstream as serving
from support import yum
from support.original_client import OriginalClient, pieces
from support.server import Server, pulpit
from support.upstream import Upstream

PEM = trustme.CA().cert_pem.bytes().decode()
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n-----END PGP PUBLIC KEY BLOCK-----\n"
ENDED = ["finished", "error", "canceled", "skipped"]
TASK_FIELDS = ["tags", "task_id", "state", "start_time", "finish_time", "worker_name"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("server") / "data", "[messaging]\nurl =\n") as running:
        yield running


@pytest.fixture(scope="module")
def feed() -> Iterator[Upstream]:
    with serving.running() as running:
        for name in ("a.iso", "b.iso"):
            running.put(name, name.encode() * 1000)
        running.manifest()
        yield running


@pytest.fixture
def client(server: Server) -> OriginalClient:
    return OriginalClient(server.url, "admin", server.password)


@pytest.fixture
def repo_id(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)[:200]


def nothing_runs(client: OriginalClient, repo_id: str, action: str) -> None:
    """The look-up that comes before `run` and `status`."""
    filters = {
        "state": {"$nin": ENDED},
        "tags": {"$all": [f"pulp:repository:{repo_id}", f"pulp:action:{action}"]},
    }
    assert client.ask("POST", "/v2/tasks/search/", {"criteria": {"filters": filters}}) == []


def test_status_needs_nobody_and_tells_of_workers(client: OriginalClient) -> None:
    status = client.ask("GET", "/v2/status/")
    assert status["api_version"] == "2"
    assert status["database_connection"] == {"connected": True}
    assert {"connected"} == set(status["messaging_connection"])
    assert all({"_id", "_ns", "last_heartbeat"} <= set(worker) for worker in status["known_workers"])


def test_login_gives_a_key_and_a_certificate(client: OriginalClient) -> None:
    answer = client.ask("POST", "/v2/actions/login/")
    assert set(answer) == {"key", "certificate"}
    assert all(text.startswith("-----BEGIN") for text in answer.values())


LISTENERS = [
    ("amqp", {"exchange": "x"}, {"exchange": ""}),
    ("http", {"url": "http://h/", "username": "u", "password": "p"}, {"url": "http://h/else"}),
]


@pytest.mark.parametrize(("kind", "config", "change"), LISTENERS)
def test_event_listeners(client: OriginalClient, kind: str, config: dict[str, str], change: dict[str, str]) -> None:
    body = {"notifier_type_id": kind, "notifier_config": config, "event_types": ["repo.sync.start"]}
    made = client.ask("POST", "/v2/events/", body, status=201)
    client.ask("PUT", f"/v2/events/{made['id']}/", {"notifier_config": change, "event_types": ["*"]})
    [listed] = [one for one in client.ask("GET", "/v2/events/") if one["id"] == made["id"]]
    assert (listed["event_types"], listed["notifier_type_id"]) == (["*"], kind)
    assert listed["notifier_config"].items() >= change.items()
    assert client.ask("DELETE", f"/v2/events/{made['id']}/") is None
    missing = client.ask("DELETE", f"/v2/events/{made['id']}/", status=404)
    assert missing["resources"] == {"event_listener": made["id"]}


def test_iso_repositories(client: OriginalClient, feed: Upstream, repo_id: str) -> None:
    client.create_iso(repo_id, feed.url)
    assert client.ask("POST", "/v2/repositories/", {"id": repo_id}, status=409)["resource_id"] == repo_id
    [listed] = [one for one in client.ask("GET", "/v2/repositories/") if one["id"] == repo_id]
    assert listed["notes"] == {"_repo-type": "iso-repo"}
    assert not {"importers", "distributors"} & set(listed)
    details = client.ask("GET", f"/v2/repositories/{repo_id}/?importers=True&distributors=True")
    assert [one["config"]["feed"] for one in details["importers"]] == [feed.url]
    assert [one["config"]["relative_url"] for one in details["distributors"]] == [repo_id]

    named = {
        "delta": {"display_name": "New", "notes": {"_repo-type": "iso-repo"}},
        "importer_config": {},
        "distributor_configs": {"iso_distributor": {"serve_http": False, "serve_https": True}},
    }
    [updated] = client.run("PUT", f"/v2/repositories/{repo_id}/", named)
    assert updated["state"] == "finished"
    tags = {f"pulp:repository:{repo_id}", "pulp:repository_distributor:iso_distributor"}
    assert set(updated["tags"]) == tags | {"pulp:action:update_distributor"}

    [deleted] = client.run("DELETE", f"/v2/repositories/{repo_id}/")
    assert deleted["state"] == "finished"
    assert client.ask("GET", f"/v2/repositories/{repo_id}/", status=404)["resources"] == {"repository": repo_id}
    assert client.ask("DELETE", f"/v2/repositories/{repo_id}/", status=404)["resources"] == {"repository": repo_id}


def test_rpm_repositories_with_every_option(client: OriginalClient, repo_id: str) -> None:
    importer = {
        "feed": "http://127.0.0.1:1/pub/zoo/",
        "validate": True,
        "type_skip_list": ["drpm"],
        "require_signature": False,
        "allowed_keys": ["0123ABCD"],
        "ssl_ca_cert": PEM,
        "ssl_client_cert": PEM,
        "ssl_client_key": PEM,
        "ssl_validation": False,
        "proxy_host": "http://proxy",
        "proxy_port": 3128,
        "proxy_username": "u",
        "proxy_password": "p",
        "basic_auth_username": "u",
        "basic_auth_password": "p",
        "max_downloads": 3,
        "max_speed": 1000,
        "remove_missing": True,
        "retain_old_count": 1,
        "download_policy": "immediate",
    }
    distributor = {
        "relative_url": f"pub/{repo_id}/",
        "http": False,
        "https": True,
        "skip": ["drpm"],
        "checksum_type": "sha256",
        "updateinfo_checksum_type": "sha256",
        "generate_sqlite": False,
        "repoview": False,
        "gpgkey": KEY,
        "https_ca": PEM,
        "auth_ca": PEM,
        "auth_cert": PEM,
        "protected": True,
    }
    client.create_rpm(repo_id, importer, distributor)
    found = client.ask("GET", f"/v2/repositories/{repo_id}/?importers=True&distributors=True")
    assert found["importers"][0]["config"]["proxy_password"] == "*****"
    assert sorted(one["id"] for one in found["distributors"]) == ["export_distributor", "yum_distributor"]

    unset = {"delta": {"description": None}, "importer_config": {"max_speed": None}, "distributor_configs": {}}
    answer = client.ask("PUT", f"/v2/repositories/{repo_id}/", unset)
    assert answer["spawned_tasks"] == []
    assert "max_speed" not in client.ask("GET", f"/v2/repositories/{repo_id}/importers/")[0]["config"]
    both = {name: {"checksum_type": "sha512"} for name in ("yum_distributor", "export_distributor")}
    ended = client.run("PUT", f"/v2/repositories/{repo_id}/", {"delta": {}, "distributor_configs": both})
    assert [task["state"] for task in ended] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("filters", "sort"),
    [
        ({"notes._repo-type": "iso-repo"}, [["id", "descending"]]),
        ({"$and": [{"notes._repo-type": "iso-repo"}, {"id": {"$regex": "test_repo_search"}}]}, None),
        ({"id": {"$in": ["test_repo_search", "nil"]}}, None),
        ({"id": "test_repo_search"}, None),
        ({"display_name": {"$not": "^x"}}, None),
    ],
)
def test_repo_search(client: OriginalClient, filters: dict[str, Any], sort: Any) -> None:
    if not [one for one in client.ask("GET", "/v2/repositories/") if one["id"] == "test_repo_search"]:
        client.create_iso("test_repo_search", "http://127.0.0.1:1/")
    criteria = {"filters": filters, "sort": sort, "limit": None, "skip": None, "fields": None}
    found = client.ask("POST", "/v2/repositories/search/", {"criteria": criteria})
    assert "test_repo_search" in [one["id"] for one in found]
    criteria |= {"fields": ["display_name"], "limit": 1}
    [trimmed] = client.ask("POST", "/v2/repositories/search/", {"criteria": criteria})
    assert set(trimmed) == {"display_name", "id", "_id", "_href"}


def test_iso_sync_publish_history_and_units(client: OriginalClient, feed: Upstream, repo_id: str) -> None:
    client.create_iso(repo_id, feed.url)
    base = f"/v2/repositories/{repo_id}"
    nothing_runs(client, repo_id, "sync")
    sync, publish = client.run("POST", f"{base}/actions/sync/", {"override_config": None})
    assert (sync["state"], publish["state"]) == ("finished", "finished")
    assert set(sync["tags"]) == {f"pulp:repository:{repo_id}", "pulp:action:sync"}
    assert "pulp:action:publish" in publish["tags"]
    assert sync["progress_report"]["iso_importer"]["state"] == "complete"
    assert publish["progress_report"]["iso_distributor"]["state"] == "complete"
    forced = client.run("POST", f"{base}/actions/sync/", {"override_config": {"force_full": True}})
    assert [task["state"] for task in forced] == ["finished", "finished"]
    nothing_runs(client, repo_id, "publish")
    order = {"id": "iso_distributor", "override_config": None}
    [alone] = client.run("POST", f"{base}/actions/publish/", order)
    assert alone["state"] == "finished"

    [newest, *_] = client.ask("GET", f"{base}/history//sync/?limit=5")
    wanted = {"repo_id", "result", "started", "completed", "added_count", "removed_count", "updated_count"}
    wanted |= {
        "summary",
        "details",
        "importer_id",
        "importer_type_id",
        "error_message",
        "exception",
        "traceback",
        "_id",
    }
    assert wanted <= set(newest)
    assert newest["added_count"] == 0
    oldest = client.ask("GET", f"{base}/history//sync/?limit=1&sort=ascending&start_date=2020-01-01T00:00:00Z")
    assert oldest[0]["added_count"] == 2
    [entry, *_] = client.ask("GET", f"{base}/history//publish/iso_distributor/?limit=5")
    assert {"repo_id", "distributor_id", "result", "started", "completed", "summary", "details"} <= set(entry)
    assert client.ask("GET", f"{base}/history//sync/?limit=no", status=400)["property_names"] == ["limit"]

    criteria = {"type_ids": ["iso"], "filters": {"unit": {}}, "sort": {"unit": [["name", "descending"]]}, "limit": 1}
    [unit] = client.ask("POST", f"{base}/search/units/", {"criteria": criteria})
    assert {"name", "size", "checksum"} <= set(unit["metadata"])
    assert unit["metadata"]["name"] == "b.iso"
    listed = client.ask("GET", f"/v2/tasks/?tag=pulp%3Arepository%3A{repo_id}")
    assert len(listed) == 5
    assert client.ask("POST", "/v2/repositories/nil/search/units/", {"criteria": {}}, status=404)["resources"]


def test_a_failed_iso_sync_says_why(client: OriginalClient, repo_id: str) -> None:
    client.create_iso(repo_id, "http://127.0.0.1:1/")
    [task] = client.run("POST", f"/v2/repositories/{repo_id}/actions/sync/", {"override_config": None})
    assert task["state"] == "error"
    assert task["error"]["description"]
    assert task["error"]["sub_errors"] == []  # the reason is said once
    assert task["result"] is None
    assert (task["exception"], task["traceback"]) == (None, None)


@pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=str(yum.tools("rpmbuild")))
def test_rpm_sync_publish_and_content(client: OriginalClient, repo_id: str, tmp_path: Path) -> None:
    rpms = [yum.build(tmp_path, "bear", "4.1"), yum.build(tmp_path, "camel", "1.0", further="Requires: bear >= 4.1\n")]
    base = f"/v2/repositories/{repo_id}"
    with serving.running() as upstream:
        further = {"updateinfo": yum.UPDATEINFO, "group": yum.COMPS, "modules": yum.MODULES}
        yum.serve(upstream, yum.listed(yum.packages(rpms), **further), rpms)
        client.create_rpm(repo_id, {"feed": upstream.url}, {"http": True, "https": True, "relative_url": repo_id})
        sync, publish = client.run("POST", f"{base}/actions/sync/", {"override_config": None})
    assert (sync["state"], publish["state"]) == ("finished", "finished"), (sync["error"], publish["error"])
    assert sync["progress_report"]["yum_importer"]["content"]["details"]["rpm_done"] == 2
    assert {step["state"] for step in publish["progress_report"]["yum_distributor"]} <= {"FINISHED", "SKIPPED"}
    order = {"id": "yum_distributor", "override_config": {"force_full": True}}
    [again] = client.run("POST", f"{base}/actions/publish/", order)
    assert again["state"] == "finished"

    newer = {"created": {"$gte": "2020-01-01T00:00:00"}}
    criteria = {"type_ids": ["rpm"], "filters": {"unit": {"name": "camel"}, "association": newer}}
    [found] = client.ask("POST", f"{base}/search/units/", {"criteria": criteria})
    shown = "arch buildhost checksum checksumtype description epoch filename license name release vendor version"
    assert set(shown.split()) <= set(found["metadata"])
    for kind in ("requires", "provides", "recommends"):
        for entry in found["metadata"].get(kind, []):
            assert set(entry) == {"name", "version", "release", "epoch", "flags"}
            assert all(value is None or isinstance(value, str) for value in entry.values())
    by_version = {"type_ids": ["rpm"], "filters": {"unit": {"version_sort_index": {"$gt": "01-4.01-0"}}}}
    [bear] = client.ask("POST", f"{base}/search/units/", {"criteria": by_version})
    assert bear["metadata"]["name"] == "bear"
    counts = client.ask("GET", f"{base}/")["content_unit_counts"]
    assert counts["rpm"] == 2


@pytest.mark.parametrize("content", [b"", b"abc", b"x" * (2**20 + 5)], ids=["empty", "small", "two pieces"])
def test_uploads(client: OriginalClient, content: bytes) -> None:
    repo_id = f"uploads-{len(content)}"
    client.create_iso(repo_id, "http://127.0.0.1:1/")
    client.ask("GET", f"/v2/repositories/{repo_id}/")
    begun = client.ask("POST", "/v2/content/uploads/", status=201)
    assert begun["_href"] == f"/pulp/api/v2/content/uploads/{begun['upload_id']}/"
    for offset, piece in pieces(content):
        assert client.ask("PUT", f"/v2/content/uploads/{begun['upload_id']}/{offset}/", piece) is None
    assert begun["upload_id"] in client.ask("GET", "/v2/content/uploads/")["upload_ids"]
    key = {"name": "a.iso", "size": len(content), "checksum": hashlib.sha256(content).hexdigest()}
    order = {"upload_id": begun["upload_id"], "unit_type_id": "iso", "unit_key": key, "unit_metadata": {}}
    report = client.ask(
        "POST", f"/v2/repositories/{repo_id}/actions/import_upload/", {**order, "override_config": {}}, status=202
    )
    assert client.ask("DELETE", f"/v2/content/uploads/{begun['upload_id']}/") is None  # at once, as with --bg
    [task] = client.follow([spawned["task_id"] for spawned in report["spawned_tasks"]])
    assert task["state"] == "finished", task["error"]
    assert task["result"] == {"success_flag": True, "summary": "", "details": {}}
    criteria = {"type_ids": ["iso"], "filters": {"unit": {"name": "a.iso"}}}
    [unit] = client.ask("POST", f"/v2/repositories/{repo_id}/search/units/", {"criteria": criteria})
    assert unit["metadata"]["size"] == len(content)


def test_copies_removals_and_orphans(client: OriginalClient, feed: Upstream, repo_id: str) -> None:
    source, target = f"{repo_id}-1", f"{repo_id}-2"
    for each in (source, target):
        client.create_iso(each, feed.url)
    client.run("POST", f"/v2/repositories/{source}/actions/sync/", {"override_config": None})
    criteria = {"type_ids": ["iso"], "filters": {"unit": {"name": "a.iso"}}}
    order = {"source_repo_id": source, "criteria": criteria, "override_config": {}}
    [copied] = client.run("POST", f"/v2/repositories/{target}/actions/associate/", order)
    [named] = copied["result"]["units_successful"]
    assert (named["type_id"], named["unit_key"]["name"]) == ("iso", "a.iso")
    [removed] = client.run("POST", f"/v2/repositories/{target}/actions/unassociate/", {"criteria": criteria})
    assert len(removed["result"]["units_successful"]) == 1

    upload = client.ask("POST", "/v2/content/uploads/", status=201)["upload_id"]
    client.ask("PUT", f"/v2/content/uploads/{upload}/0/", b"orphan")
    key = {"name": "o.iso", "size": 6, "checksum": hashlib.sha256(b"orphan").hexdigest()}
    body = {"upload_id": upload, "unit_type_id": "iso", "unit_key": key, "unit_metadata": {}, "override_config": {}}
    client.run("POST", f"/v2/repositories/{target}/actions/import_upload/", body)
    client.run("DELETE", f"/v2/repositories/{target}/")
    counts = client.ask("GET", "/v2/content/orphans/")
    assert counts["iso"]["count"] >= 1
    assert counts["rpm"]["_href"].endswith("/content/orphans/rpm/")
    [orphan] = [one for one in client.ask("GET", "/v2/content/orphans/iso/") if one["name"] == "o.iso"]
    assert {"_id", "_content_type_id", "_href"} <= set(orphan)
    client.run("DELETE", f"/v2/content/orphans/iso/{orphan['_id']}/")
    [task] = client.run("DELETE", "/v2/content/orphans/iso/")
    assert task["tags"] == ["pulp:content_unit:orphans"]
    [every] = client.run("DELETE", "/v2/content/orphans/")
    assert every["state"] == "finished"
    assert client.ask("GET", "/v2/content/orphans/nil/", status=404)["resources"] == {"content_type_id": "nil"}


@pytest.mark.parametrize("plugin", ["iso", "yum"])
def test_sync_schedules(client: OriginalClient, plugin: str) -> None:
    repo_id = f"schedules-{plugin}"
    if plugin == "iso":
        client.create_iso(repo_id, "http://127.0.0.1:1/")
    else:
        client.create_rpm(repo_id, {"feed": "http://127.0.0.1:1/"}, {"relative_url": repo_id})
    base = f"/v2/repositories/{repo_id}/importers/{plugin}_importer/schedules/sync/"
    body: dict[str, Any] = {
        "schedule": "2032-01-01T00:00:00Z/P1D",
        "override_config": {},
        "failure_threshold": None,
        "enabled": True,
    }
    client.ask("POST", base, body, status=201)
    [listed] = client.ask("GET", base)
    assert isinstance(listed["_id"], str)
    assert listed["remaining_runs"] is None
    assert (listed["next_run"], listed["schedule"]) == ("2032-01-01T00:00:00Z", "2032-01-01T00:00:00Z/P1D")
    client.ask("PUT", f"{base}{listed['_id']}/", {"enabled": False, "failure_threshold": 2})
    assert client.ask("GET", base)[0]["failure_threshold"] == 2
    assert client.ask("DELETE", f"{base}{listed['_id']}/") is None
    missing = client.ask("DELETE", f"{base}{listed['_id']}/", status=404)
    assert missing["resources"] == {"schedule_id": listed["_id"]}


def test_tasks(client: OriginalClient, feed: Upstream, repo_id: str) -> None:
    client.create_iso(repo_id, feed.url)
    sync, _ = client.run("POST", f"/v2/repositories/{repo_id}/actions/sync/", {"override_config": None})
    active = {"state": {"$in": ["running", "waiting"]}, "group_id": None}
    assert client.ask("POST", "/v2/tasks/search/", {"criteria": {"fields": TASK_FIELDS, "filters": active}}) == []
    everything = client.ask("POST", "/v2/tasks/search/", {"criteria": {"fields": TASK_FIELDS}})
    assert all({"id", *TASK_FIELDS} <= set(one) for one in everything)
    assert [one["id"] for one in everything] == sorted(one["id"] for one in everything)
    assert client.ask("GET", f"/v2/tasks/{sync['task_id']}/")["queue"].endswith(".dq")
    assert client.ask("DELETE", f"/v2/tasks/{sync['task_id']}/") is None
    assert client.ask("GET", f"/v2/tasks/{sync['task_id']}/")["state"] == "finished"
    assert client.ask("DELETE", "/v2/tasks/?state=finished&state=skipped&state=error", status=204) is None
    missing = client.ask("GET", f"/v2/tasks/{sync['task_id']}/", status=404)
    assert missing["resources"] == {"resource_id": sync["task_id"]}


def test_importers_and_distributors_on_their_own(client: OriginalClient, repo_id: str) -> None:
    client.ask("POST", "/v2/repositories/", {"id": repo_id}, status=201)
    base = f"/v2/repositories/{repo_id}"
    importer = {"importer_type_id": "iso_importer", "importer_config": {"feed": "http://f/"}}
    client.ask("POST", f"{base}/importers/", importer, status=202)
    client.ask("PUT", f"{base}/importers/iso_importer/", {"importer_config": {"max_speed": 5}}, status=202)
    assert client.ask("GET", f"{base}/importers/iso_importer/")["config"] == {"feed": "http://f/", "max_speed": 5}
    distributor = {"distributor_id": "d", "distributor_type_id": "iso_distributor", "distributor_config": {}}
    client.ask("POST", f"{base}/distributors/", {**distributor, "auto_publish": False}, status=201)
    change = {"distributor_config": {"serve_http": True}, "delta": {"auto_publish": True}}
    [task] = client.run("PUT", f"{base}/distributors/d/", change)
    assert "pulp:action:update_distributor" in task["tags"]
    [shown] = client.ask("GET", f"{base}/distributors/")
    assert (shown["auto_publish"], shown["config"]) == (True, {"serve_http": True})
    criteria = {"criteria": {"filters": {"repo_id": {"$in": [repo_id]}}}}
    assert client.ask("POST", "/v2/distributors/search/", criteria) == [shown]
    [removed] = client.run("DELETE", f"{base}/distributors/d/")
    assert removed["state"] == "finished"
    client.ask("DELETE", f"{base}/importers/iso_importer/", status=202)
    assert (client.ask("GET", f"{base}/importers/"), client.ask("GET", f"{base}/distributors/")) == ([], [])


def test_what_is_installed(client: OriginalClient) -> None:
    types = {one["id"] for one in client.ask("GET", "/v2/plugins/types/")}
    assert {"iso", "rpm", "erratum"} <= types
    assert client.ask("GET", "/v2/plugins/importers/yum_importer/")["id"] == "yum_importer"
    distributors = {one["id"] for one in client.ask("GET", "/v2/plugins/distributors/")}
    assert {"iso_distributor", "yum_distributor", "export_distributor"} <= distributors
