"""Published yum repositories: dnf installs from them, lists them and mirrors them."""

import bz2
import contextlib
import gzip
import hashlib
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import createrepo_c as cr
import pytest

from pulpit.errors import InvalidValue
from pulpit.repositories.publish import PublishOutcome
from pulpit.repositories.uploads import import_file
from support import upstream as serving
from support import yum
from support.dnf import groups_missing
from support.yum import COMPS, MODULES, UPDATEINFO, YumMirror, listed, packages, serve

REASON = yum.tools("rpmbuild")
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
needs_dnf = pytest.mark.skipif(yum.tools("dnf") is not None, reason=str(yum.tools("dnf")))


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return [
        yum.build(folder, "bear", "4.1"),
        yum.build(folder, "bear", "4.2"),
        yum.build(folder, "camel", "1.0", further="Requires: bear >= 4.1\n"),
    ]


@pytest.fixture
def here(tmp_path: Path, rpms: list[Path]) -> Iterator[YumMirror]:
    """A mirror that is synced and not yet published."""
    with serving.running() as upstream, yum.yum_mirror(tmp_path / "data") as one:
        lists = listed(packages(rpms), updateinfo=UPDATEINFO, group=COMPS, modules=MODULES, productid="the product\n")
        serve(upstream, lists, rpms)
        one.create("zoo", upstream.url)
        assert one.sync("zoo").result == "success"
        yield one


@pytest.fixture
def url(here: YumMirror) -> Iterator[str]:
    """The published tree on a web server."""
    assert here.publish("zoo").result == "success"
    with yum.web_server(here.root("zoo")) as address:
        yield address


def dnf(folder: Path, url: str, *arguments: str) -> str:
    """Ask dnf, which sees nothing of this machine but the program itself."""
    command = [
        "dnf",
        "-q",
        "-y",
        f"--installroot={folder}/root",
        f"--setopt=cachedir={folder}/cache",
        f"--setopt=logdir={folder}/log",
        f"--setopt=persistdir={folder}/persist",
        "--setopt=reposdir=/nonexistent",
        "--setopt=gpgcheck=0",
        "--setopt=skip_if_unavailable=0",
        f"--repofrompath=zoo,{url}",
        "--repo=zoo",
        "--releasever=1",
        "--noplugins",
    ]
    (folder / "log").mkdir(exist_ok=True)
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@needs_dnf
def test_dnf_installs_a_package_with_what_it_requires(url: str, tmp_path: Path) -> None:
    dnf(tmp_path, url, "--forcearch=x86_64", "install", "camel")

    assert (tmp_path / "root/usr/share/zoo/camel").read_text() == "camel 1.0\n"
    assert (tmp_path / "root/usr/share/zoo/bear").read_text() == "bear 4.2\n"


@needs_dnf
def test_dnf_lists_updates_errata_and_modules(url: str, tmp_path: Path) -> None:
    dnf(tmp_path, url, "--forcearch=x86_64", "install", "bear-4.1")

    assert "4.2-1" in dnf(tmp_path, url, "list", "--available", "bear", "--showduplicates")
    assert "bear" in dnf(tmp_path, url, "list", "--upgrades")
    assert "ZOO-2024:1" in dnf(tmp_path, url, "updateinfo", "list")
    assert "1.10" in dnf(tmp_path, url, "module", "list")
    assert "it grew" in dnf(tmp_path, url, "repoquery", "--changelog", "bear-4.2")
    assert "/usr/share/zoo/bear" in dnf(tmp_path, url, "repoquery", "--list", "bear-4.2")


@needs_dnf
@pytest.mark.skipif(groups_missing() is not None, reason=str(groups_missing()))
def test_dnf_lists_groups(url: str, tmp_path: Path) -> None:
    listed = dnf(tmp_path, url, "group", "list", "--hidden")

    assert "Animals" in listed
    assert "A whole zoo" in listed


@needs_dnf
@pytest.mark.skipif(not yum.DNF_PLUGINS.exists(), reason="dnf has no reposync (tests/install-packages unpacks it)")
def test_dnf_reposync_mirrors_it(url: str, rpms: list[Path], tmp_path: Path) -> None:
    command, environment = yum.reposync(tmp_path, url)

    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    copied = {path.name: path.read_bytes() for path in (tmp_path / "copy").rglob("*.rpm")}
    assert copied == {rpm.name: rpm.read_bytes() for rpm in rpms}


def test_everything_of_the_upstream_is_in_the_published_lists(here: YumMirror) -> None:
    assert here.publish("zoo").result == "success"

    lists = read_lists(here.root("zoo"))

    assert sorted(lists) == ["filelists", "group", "modules", "other", "primary", "productid", "updateinfo"]
    assert lists["productid"] == b"the product\n"
    assert b"The bear escaped." in lists["updateinfo"]
    assert b'install="bear-%s"' in lists["group"]
    assert b'stream: "1.10"' in lists["modules"]
    assert lists["group"].count(b"<id>animals</id>") == 1
    assert b"it grew" in lists["other"]


@needs_dnf
def test_a_repository_without_errata_groups_and_modules_has_their_lists(here: YumMirror, tmp_path: Path) -> None:
    here.create("empty", None)
    here.publish("empty")

    lists = read_lists(here.root("empty"))

    assert sorted(lists) == ["filelists", "group", "modules", "other", "primary", "updateinfo"]
    with yum.web_server(here.root("empty")) as url:
        assert dnf(tmp_path, url, "module", "list") == ""


@pytest.mark.parametrize("kind", ["sha1", "sha256", "sha512"])
def test_the_checksum_type_can_be_chosen(kind: str, here: YumMirror, rpms: list[Path]) -> None:
    assert here.publish("zoo", {"checksum_type": kind}).result == "success"

    found = packages_of(here.root("zoo"))

    expected = {hashlib.new(kind, rpm.read_bytes()).hexdigest() for rpm in rpms}
    assert {package.pkgId for package in found} == expected
    assert {package.checksum_type for package in found} == {kind}
    assert all((here.root("zoo") / package.location_href).is_file() for package in found)


@pytest.mark.parametrize("kind", ["sha256", "sha1"])
def test_errata_name_checksums_of_the_type_that_is_asked_for(kind: str, here: YumMirror, rpms: list[Path]) -> None:
    assert here.publish("zoo", {"updateinfo_checksum_type": kind}).result == "success"

    (path,) = here.root("zoo").glob("repodata/*-updateinfo.xml.gz")
    (erratum,) = cr.UpdateInfo(str(path)).updates
    (package,) = erratum.collections[0].packages
    digest = hashlib.new(kind, rpms[1].read_bytes()).hexdigest()
    assert (package.filename, package.sum) == ("bear-4.2-1.noarch.rpm", digest)
    assert erratum.title == "Bears & more"


@pytest.mark.parametrize("type_id", ["rpm", "erratum"])
def test_types_can_be_left_out_of_what_is_published(type_id: str, here: YumMirror) -> None:
    here.publish("zoo", {"skip": [type_id]})

    names = {path.rpartition("-")[2] for path in here.published("zoo")}
    assert any(name.endswith(".rpm") for name in here.published("zoo")) == (type_id != "rpm")
    assert ("updateinfo.xml.gz" in names) == (type_id != "erratum")
    assert len(here.nevras("zoo")) == 3


def test_a_disk_that_fills_while_publishing_leaves_the_old_tree(here: YumMirror) -> None:
    here.publish("zoo")
    before = here.published("zoo")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limit[1]))
    try:
        outcome = here.publish("zoo", {"force_full": True})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert outcome.result == "failed"
    assert outcome.error_message == ("The disk is full: The publication could not be written. Make room and try again.")
    assert here.published("zoo") == before
    assert here.publish("zoo", {"force_full": True}).result == "success"


def test_databases_for_yum_of_old_say_the_same(here: YumMirror, tmp_path: Path) -> None:
    assert here.publish("zoo", {"generate_sqlite": True}).result == "success"

    root = here.root("zoo")
    repomd = cr.Repomd(str(root / "repodata/repomd.xml"))
    for kind in ("primary", "filelists", "other"):
        path = tmp_path / f"{kind}.sqlite"
        path.write_bytes(bz2.decompress((root / repomd[f"{kind}_db"].location_href).read_bytes()))
        with contextlib.closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT count(*) FROM packages").fetchall() == [(3,)]
            assert database.execute("SELECT checksum FROM db_info").fetchall() == [(repomd[kind].checksum,)]
    with contextlib.closing(sqlite3.connect(tmp_path / "primary.sqlite")) as database:
        (href,) = database.execute("SELECT location_href FROM packages WHERE name = 'camel'").fetchone()
        assert (root / href).is_file()


def packages_of(root: Path) -> list[Any]:
    """What createrepo_c reads of a published tree: it fails if the three lists do not agree."""
    repomd = cr.Repomd(str(root / "repodata/repomd.xml"))
    files = [str(root / repomd[kind].location_href) for kind in ("primary", "filelists", "other")]
    return list(cr.PackageIterator(*files))


def test_an_upload_is_judged_as_a_download_is(here: YumMirror, rpms: list[Path]) -> None:
    here.configure("zoo", require_signature=True)

    with pytest.raises(InvalidValue, match="not signed"):
        import_file(here.context, "zoo", "rpm", {}, {}, rpms[0])


@pytest.mark.parametrize("content", [b"", b"no package", b"\xed\xab\xee\xdb" + b"\0" * 200])
def test_an_upload_that_is_no_package_is_refused(content: bytes, here: YumMirror, tmp_path: Path) -> None:
    path = tmp_path / "bear.rpm"
    path.write_bytes(content)

    with pytest.raises(InvalidValue, match="no RPM package"):
        import_file(here.context, "zoo", "rpm", {}, {}, path)


def read_lists(root: Path) -> dict[str, bytes]:
    """The opened lists, each proven to be what `repomd.xml` says of it."""
    lists = {}
    for record in cr.Repomd(str(root / "repodata/repomd.xml")):
        content = (root / record.location_href).read_bytes()
        assert hashlib.new(record.checksum_type, content).hexdigest() == record.checksum
        assert len(content) == record.size
        if record.location_href.endswith(".gz"):
            content = gzip.decompress(content)
            if record.checksum_open:
                assert hashlib.new(record.checksum_open_type, content).hexdigest() == record.checksum_open
                assert len(content) == record.size_open
        lists[record.type] = content
    return lists


def test_steps_are_reported_as_the_original_client_draws_them(here: YumMirror) -> None:
    here.reports.clear()
    here.publish("zoo")

    (steps,) = (report["yum_distributor"] for report in here.reports[-1:])
    assert [step["step_type"] for step in steps] == [
        "distribution",
        "rpms",
        "errata",
        "modules",
        "comps",
        "metadata",
        "close_repo_metadata",
    ]
    assert {step["state"] for step in steps} == {"FINISHED"}
    assert (steps[1]["items_total"], steps[1]["num_processed"]) == (3, 3)
    ids = {tuple(step["step_id"] for step in report["yum_distributor"]) for report in here.reports}
    assert len(ids) == 1


def test_the_export_distributor_says_what_it_needs_and_changes_nothing_for_readers(here: YumMirror) -> None:
    for override, reason in (
        (None, "Name a folder as export_dir"),
        ({"export_dir": "/exports", "iso_prefix": "zoo"}, "iso_prefix: neither ISO images"),
        ({"export_dir": "/exports"}, "is not published"),
    ):
        outcome = here.publish("zoo", override, distributor_id="export_distributor")
        assert outcome.result == "failed"
        assert reason in str(outcome.error_message)
    assert not here.root("zoo").exists()


def test_nothing_changed_is_not_published_again(here: YumMirror) -> None:
    def packages_of(outcome: PublishOutcome) -> int:
        assert isinstance(outcome.details, list)
        return sum(step["num_processed"] for step in outcome.details if step["step_type"] == "rpms")

    first = here.publish("zoo")
    assert isinstance(first.summary, dict)
    assert first.summary["rpms"] == "FINISHED"
    assert packages_of(first) > 0

    again = here.publish("zoo", {"force_full": False})
    assert (again.result, packages_of(again)) == ("skipped", 0)
    forced = here.publish("zoo", {"force_full": True})
    assert (forced.result, packages_of(forced)) == ("success", packages_of(first))


def test_packages_of_one_file_name_both_find_a_place(here: YumMirror, tmp_path: Path, rpms: list[Path]) -> None:
    (tmp_path / "other").mkdir()
    epoch = yum.build(tmp_path / "other", "bear", "4.1", further="Epoch: 1\n")
    with serving.running() as upstream:
        serve(upstream, listed(packages([epoch])), [epoch])
        here.configure("zoo", feed=upstream.url)
        assert here.sync("zoo").result == "success"

    assert here.publish("zoo").result == "success"

    assert sum(name.endswith("/bear-4.1-1.noarch.rpm") for name in here.published("zoo")) == 2
    assert len(packages_of(here.root("zoo"))) == len(rpms) + 1


def test_an_uploaded_package_is_published(here: YumMirror, tmp_path: Path, rpms: list[Path]) -> None:
    (tmp_path / "other").mkdir()
    honey = yum.build(tmp_path / "other", "honey", "1.0")
    import_file(here.context, "zoo", "rpm", {}, {}, honey)

    assert here.publish("zoo").result == "success"

    assert "Packages/h/honey-1.0-1.noarch.rpm" in here.published("zoo")
    assert len(packages_of(here.root("zoo"))) == len(rpms) + 1
