"""pubtools-pulplib, a widely used client of Pulp 2, against a real server and its workers."""

import io
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support import dnf, yum
from support.server import Server, pulpit

pulplib: Any = pytest.importorskip("pubtools.pulplib", reason="pubtools-pulplib is not installed")
Criteria, Matcher = pulplib.Criteria, pulplib.Matcher
MODULE = b"""---
document: modulemd
version: 2
data:
  name: zoo
  stream: "1"
  version: 1
  context: abc
  arch: x86_64
  summary: Animals
  description: Animals
  license: {module: [MIT]}
...
"""
COMPS = b"""<?xml version="1.0" encoding="UTF-8"?>
<comps>
  <group>
    <id>animals</id><name>Animals</name><name xml:lang="cs">Zv\xc3\xad\xc5\x99ata</name>
    <description>All of them</description>
    <default>true</default><uservisible>true</uservisible>
    <packagelist><packagereq type="mandatory">bear</packagereq></packagelist>
  </group>
  <category>
    <id>living</id><name>Living</name><description>What lives</description>
    <grouplist><groupid>animals</groupid></grouplist>
  </category>
  <environment>
    <id>zoo</id><name>Zoo</name><description>A zoo</description>
    <grouplist><groupid>animals</groupid></grouplist><optionlist/>
  </environment>
  <langpacks><match name="bear" install="bear-%s"/></langpacks>
</comps>
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("pubtools") / "data", "[messaging]\nurl =\n") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with pulplib.Client(url=server.url, auth=("admin", server.password)) as connected:
        yield connected


def everything(future: Any) -> list[Any]:
    return list(future.result())


def made(client: Any, kind: Any, repo_id: str, type_id: str) -> Any:
    place = {"relative_url": repo_id, "repo_id": repo_id}
    distributor = pulplib.Distributor(id=type_id, type_id=type_id, **place)
    return client.create_repository(kind(id=repo_id, distributors=[distributor], relative_url=repo_id)).result()


@pytest.fixture(scope="module")
def files(client: Any) -> Any:
    repository = made(client, pulplib.FileRepository, "files", "iso_distributor")
    for name in ("a.txt", "deep/b.txt"):
        content = io.BytesIO(name.encode() * 100)
        noted = {"description": f"about {name}", "version": "1.0", "cdn_path": f"/cdn/{name}", "display_order": 2.0}
        [task] = repository.upload_file(content, name, **noted).result()
        assert task.succeeded
    return repository


@pytest.fixture(scope="module")
def packages(client: Any) -> Any:
    return made(client, pulplib.YumRepository, "yum", "yum_distributor")


def test_repositories_and_distributors_are_found(client: Any, files: Any, packages: Any) -> None:
    future = datetime(2040, 1, 1)  # noqa: DTZ001 - the client's form
    assert made(client, pulplib.YumRepository, "yum", "yum_distributor") == packages  # it is there already, as wanted
    assert client.get_repository("files").result().id == files.id
    found = everything(client.search_repository(Criteria.with_id(["files", "yum", "nobody"])))
    assert {repository.id for repository in found} == {"files", "yum"}
    assert [
        found.id for found in everything(client.search_repository(Criteria.with_field("id", Matcher.regex("^y"))))
    ] == ["yum"]
    created = Criteria.with_field("created", Matcher.less_than(future))
    assert everything(client.search_repository(created)) == []
    [distributor] = everything(client.search_distributor(Criteria.with_field("repo_id", "yum")))
    assert (distributor.id, distributor.relative_url) == ("yum_distributor", "yum")
    assert {"iso", "rpm", "erratum", "modulemd"} <= set(client.get_content_type_ids().result())


def test_files_are_found_by_what_is_noted_about_them(client: Any, files: Any) -> None:
    units = everything(files.search_content(Criteria.with_unit_type(pulplib.FileUnit)))
    assert {unit.path for unit in units} == {"a.txt", "deep/b.txt"}
    assert {unit.description for unit in units} == {"about a.txt", "about deep/b.txt"}
    of_a = Criteria.and_(Criteria.with_unit_type(pulplib.FileUnit), Criteria.with_field("cdn_path", "/cdn/a.txt"))
    [unit] = everything(client.search_content(of_a))
    assert unit.repository_memberships == ["files"]
    moved = pulplib.FileUnit(
        path=unit.path, size=unit.size, sha256sum=unit.sha256sum, unit_id=unit.unit_id, cdn_path="/cdn/moved"
    )
    assert client.update_content(moved).result() is None
    assert everything(client.search_content(of_a)) == []
    narrow = Criteria.with_unit_type(pulplib.FileUnit, unit_fields=("path", "sha256sum"))
    assert {unit.cdn_path for unit in everything(client.search_content(narrow))} == {None}


def test_a_repository_is_published_changed_locked_and_deleted(client: Any, server: Server, files: Any) -> None:
    assert all(task.succeeded for task in files.publish(pulplib.PublishOptions(force=True, clean=True)).result())
    changed = client.get_repository("files").result()
    assert [distributor.last_publish for distributor in changed.distributors] != [None]
    notes = server.call("GET", "/pulp/api/v2/repositories/files/")["notes"]
    assert '"filename": "deep/b.txt"' in notes["ud_file_release_mappings_2"]
    with changed.lock("a test"):
        pass
    other = made(client, pulplib.FileRepository, "other", "iso_distributor")
    [copied] = client.copy_content(files, other, Criteria.with_unit_type(pulplib.FileUnit)).result()
    assert {unit.path for unit in copied.units} == {"a.txt", "deep/b.txt"}
    [removed] = other.remove_content(Criteria.with_unit_type(pulplib.FileUnit)).result()
    assert len(removed.units) == 2
    assert all(task.succeeded for task in other.delete().result())
    assert everything(client.search_repository(Criteria.with_id("other"))) == []


def test_maintenance_is_noted_in_a_published_file(client: Any) -> None:
    assert client.get_maintenance_report().result().entries == []
    made(client, pulplib.FileRepository, "redhat-maintenance", "iso_distributor")
    report = client.get_maintenance_report().result().add(["zoo"], owner="me", message="feeding")
    assert all(task.succeeded for task in client.set_maintenance(report).result())
    [entry] = client.get_maintenance_report().result().entries
    assert (entry.repo_id, entry.message) == ("zoo", "feeding")


def test_tasks_are_found(client: Any, files: Any) -> None:
    assert files
    tasks = everything(client.search_task(Criteria.with_field("state", "finished")))
    assert tasks
    assert all(task.succeeded for task in tasks)


@pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=yum.tools("rpmbuild") or "")
def test_a_source_package_is_uploaded_as_any_other_and_copied(client: Any, server: Server, tmp_path: Path) -> None:
    """As pubtools-pulp does when it pushes: with type `rpm`, then by a copy that says that it need not be signed."""
    sources = made(client, pulplib.YumRepository, "sources", "yum_distributor")
    target = made(client, pulplib.YumRepository, "sources-pushed", "yum_distributor")
    assert all(
        task.succeeded for task in sources.upload_rpm(str(yum.build(tmp_path, "bear", "2.0", source=True))).result()
    )

    options = pulplib.CopyOptions(require_signed_rpms=False)
    copied = client.copy_content(sources, target, criteria=Criteria.with_unit_type(pulplib.RpmUnit), options=options)

    assert all(task.succeeded for task in copied.result())
    counts = server.call("GET", "/pulp/api/v2/repositories/sources-pushed/")["content_unit_counts"]
    assert counts == {"srpm": 1}


@pytest.mark.timeout(200)
@pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=yum.tools("rpmbuild") or "")
@pytest.mark.skipif(dnf.missing() is not None, reason=dnf.missing() or "")
def test_d7_what_it_uploads_is_published_and_read_by_dnf(client: Any, server: Server, tmp_path: Path) -> None:
    """A package, modules, comps.xml unit by unit (twice, the second time again), an erratum, a metafile."""
    repository = made(client, pulplib.YumRepository, "uploads", "yum_distributor")
    bear = yum.build(tmp_path, "bear", "1.0")
    erratum = pulplib.ErratumUnit(
        id="ZOO-2026:1",
        version="1",
        status="final",
        updated="2026-11-28 00:00:00 UTC",
        issued="2026-11-27 00:00:00 UTC",
        description="The bear bites.",
        pushcount="1",
        reboot_suggested=False,
        from_="keepers@example.com",
        rights="",
        title="A bear",
        severity="Important",
        release="0",
        type="security",
        solution="Feed it.",
        summary="The bear",
        content_types=["rpm"],
        references=[pulplib.ErratumReference(href="https://example.com/1", id="1", title="One", type="self")],
        pkglist=[
            pulplib.ErratumPackageCollection(
                name="zoo",
                short="",
                packages=[
                    pulplib.ErratumPackage(
                        arch="noarch",
                        filename=bear.name,
                        epoch="0",
                        name="bear",
                        version="1.0",
                        release="1",
                        src="bear-1.0-1.src.rpm",
                    )
                ],
            )
        ],
    )
    uploads = [
        repository.upload_rpm(str(bear), cdn_path="/cdn/bear"),
        repository.upload_modules(io.BytesIO(MODULE)),
        repository.upload_comps_xml(io.BytesIO(COMPS)),
        repository.upload_erratum(erratum),
        repository.upload_metadata(io.BytesIO(b"a certificate"), "productid"),
    ]
    assert all(task.succeeded for upload in uploads for task in upload.result())
    assert all(task.succeeded for task in repository.upload_comps_xml(io.BytesIO(COMPS)).result())

    path = "/pulp/api/v2/repositories/uploads/distributors/yum_distributor/"
    order = {"distributor_config": {"http": True, "https": False, "relative_url": "uploads"}}
    server.ended(server.call("PUT", path, order)["spawned_tasks"][0]["task_id"])
    assert all(task.succeeded for task in client.get_repository("uploads").result().publish().result())
    url = f"{server.url}/pulp/repos/uploads/"
    seen = dnf.read(url, download=True)
    assert seen.error == ""
    assert seen.installable == {"bear-0:1.0-1.noarch"}
    assert seen.groups == [["animals", "Animals", ["bear"]]]
    assert seen.found["environments"] == ["zoo"]
    assert seen.found["modules"] == ["zoo:1:1:abc:x86_64"]
    assert seen.found["advisories"] == ["ZOO-2026:1"]
    with urllib.request.urlopen(f"{url}repodata/repomd.xml", timeout=60) as answer:
        assert b'<data type="productid">' in answer.read()
    [unit] = everything(client.search_content(Criteria.with_unit_type(pulplib.ErratumUnit)))
    assert (unit.id, unit.references, unit.pkglist) == (erratum.id, erratum.references, erratum.pkglist)
