"""Syncs of real packages from yum upstreams in every compression, and the metadata of their units."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support import yum
from support.ports import free_port
from support.upstream import Upstream
from support.yum import COMPS, MODULES, PACKINGS, REPOMD, UPDATEINFO, YumMirror, listed, packages, serve

pytestmark = pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=str(yum.tools("rpmbuild")))


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return [
        yum.build(folder, "bear", "4.1"),
        yum.build(folder, "bear", "4.2"),
        yum.build(folder, "bear", "4.10"),
        yum.build(folder, "camel", "1.0", further="Requires: bear >= 4.1\nRecommends: honey\n"),
        yum.build(folder, "bear", "4.1", source=True),
    ]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path) as one:
        yield one


def everything(rpms: list[Path], packing: str = ".gz") -> dict[str, bytes]:
    return listed(packages(rpms), packing, updateinfo=UPDATEINFO, group=COMPS, modules=MODULES, productid="a\nb\n")


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_kind_of_unit_comes_in_every_packing(
    packing: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    serve(upstream, everything(rpms, packing), rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.nevras("zoo") == [
        "bear-4.1-1.noarch",
        "bear-4.1-1.src",
        "bear-4.10-1.noarch",
        "bear-4.2-1.noarch",
        "camel-1.0-1.noarch",
    ]
    assert {one.unit.type_id for one in here.held("zoo")} == {
        "rpm",
        "srpm",
        "erratum",
        "modulemd",
        "modulemd_defaults",
        "package_group",
        "package_category",
        "package_environment",
        "package_langpacks",
        "yum_repo_metadata_file",
    }
    assert len(here.stored()) == 6
    assert here.leftovers() == []


def test_a_package_says_what_the_original_client_shows(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url)
    here.sync("zoo")

    (camel,) = (one.unit for one in here.held("zoo", "rpm") if one.unit.key["name"] == "camel")

    assert {key: camel.key[key] for key in ("name", "epoch", "version", "release", "arch", "checksumtype")} == {
        "name": "camel",
        "epoch": "0",
        "version": "1.0",
        "release": "1",
        "arch": "noarch",
        "checksumtype": "sha256",
    }
    assert camel.metadata["filename"] == "camel-1.0-1.noarch.rpm"
    assert camel.metadata["size"] == camel.files[0].size
    assert camel.metadata["license"] == "GPL-3.0-or-later"
    assert camel.metadata["version_sort_index"] == "01-1.01-0"
    assert {"name": "bear", "flags": "GE", "epoch": "0", "version": "4.1", "release": None} in camel.metadata[
        "requires"
    ]
    assert camel.metadata["recommends"] == [
        {"name": "honey", "flags": None, "epoch": None, "version": None, "release": None}
    ]


def test_errata_groups_and_modules_can_be_searched(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url)
    here.sync("zoo")

    def metadata(type_id: str) -> dict[str, Any]:
        (held,) = here.held("zoo", type_id)
        return {**held.unit.metadata, **held.unit.key}

    erratum = metadata("erratum")
    assert (erratum["errata_id"], erratum["title"], erratum["type"]) == ("ZOO-2024:1", "Bears & more", "security")
    assert erratum["pkglist"][0]["packages"][0]["filename"] == "bear-4.2-1.noarch.rpm"
    assert erratum["references"][0]["title"] == "the fence"
    group = metadata("package_group")
    assert (group["package_group_id"], group["name"], group["translated_name"]) == (
        "animals",
        "Animals",
        {"de": "Tiere"},
    )
    assert (group["mandatory_package_names"], group["optional_package_names"]) == (["bear"], ["camel"])
    assert metadata("package_environment")["group_ids"] == ["animals"]
    module = metadata("modulemd")
    assert (module["name"], module["stream"], module["version"]) == ("zoo", "1.10", "20240101")
    assert module["artifacts"] == ["camel-0:1.0-1.noarch"]


def test_an_unchanged_upstream_costs_one_conditional_request(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url)
    here.sync("zoo")
    upstream.forget()

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert upstream.paths() == [REPOMD]
    assert "If-None-Match" in upstream.asked[0][1]
    assert outcome.summary is not None
    assert outcome.summary["content"]["state"] == "SKIPPED"


def test_only_the_newest_are_kept_if_nothing_old_is_wanted(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url)
    here.sync("zoo")
    here.configure("zoo", retain_old_count=0)

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.removed_count) == ("success", 2)
    assert here.nevras("zoo") == ["bear-4.1-1.src", "bear-4.10-1.noarch", "camel-1.0-1.noarch"]


def test_old_packages_are_not_even_downloaded(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url, {"retain_old_count": 1, "type_skip_list": ["srpm", "erratum"]})

    assert here.sync("zoo").result == "success"

    assert here.nevras("zoo") == ["bear-4.10-1.noarch", "bear-4.2-1.noarch", "camel-1.0-1.noarch"]
    assert here.held("zoo", "erratum") == []
    assert "bear-4.1-1.noarch.rpm" not in upstream.paths()


@pytest.mark.parametrize("type_id", ["rpm", "srpm", "erratum"])
def test_types_can_be_left_out(type_id: str, rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url, {"type_skip_list": [type_id]})

    assert here.sync("zoo").result == "success"
    held = {kind: len(here.held("zoo", kind)) for kind in ("rpm", "srpm", "erratum", "package_group")}
    assert held == {"rpm": 4, "srpm": 1, "erratum": 1, "package_group": 1, type_id: 0}


def test_what_the_upstream_dropped_is_removed_if_asked_for(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url, {"remove_missing": True})
    here.sync("zoo")
    serve(upstream, listed(packages(rpms[:1])))

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert here.nevras("zoo") == ["bear-4.1-1.noarch"]
    assert len(here.held("zoo")) == 1


def test_a_changed_group_takes_the_place_of_the_old_one(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url)
    here.sync("zoo")
    serve(upstream, listed(packages(rpms), group=COMPS.replace(">Animals<", ">Beasts<")))

    outcome = here.sync("zoo")

    assert (outcome.added_count, outcome.updated_count, outcome.removed_count) == (0, 1, 0)
    assert [one.unit.metadata["name"] for one in here.held("zoo", "package_group")] == ["Beasts"]


def test_reports_have_the_seven_parts_and_go_forward(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, everything(rpms), rpms)
    here.create("zoo", upstream.url)
    here.sync("zoo")

    parts = ["metadata", "content", "distribution", "modules", "errata", "comps", "purge_duplicates"]
    order = ["NOT_STARTED", "IN_PROGRESS", "SKIPPED", "FINISHED"]
    for part in parts:
        states = [order.index(report["yum_importer"][part]["state"]) for report in here.reports]
        assert states == sorted(states)
    last = here.reports[-1]["yum_importer"]
    assert sorted(last) == sorted(parts)
    assert last["content"]["details"] == {"rpm_total": 5, "rpm_done": 5, "drpm_total": 0, "drpm_done": 0}
    assert (last["content"]["size_left"], last["content"]["items_left"]) == (0, 0)


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha512"])
def test_packages_are_verified_by_whatever_checksum_the_upstream_has(
    kind: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    for one, rpm in zip(found, rpms, strict=True):
        one.pkgId, one.checksum_type = hashlib.new(kind, rpm.read_bytes()).hexdigest(), kind
    serve(upstream, listed(found), rpms)
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert {one.unit.key["checksumtype"] for one in here.held("zoo", "rpm")} == {kind}

    upstream.forget()
    assert here.sync("zoo", {"force_full": True}).result == "success"
    assert not [path for path in upstream.paths() if path.endswith(".rpm")]
    assert here.publish("zoo", {"checksum_type": "sha256"}).result == "success"

    upstream.put("camel-1.0-1.noarch.rpm", b"x" * rpms[3].stat().st_size)
    here.create("other", upstream.url, {"force_full": True})
    assert here.sync("other").result == "success"  # it is kept already


@pytest.mark.parametrize("kind", ["mirrorlist", "metalink"])
def test_mirrors_are_tried_one_after_the_other(
    kind: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    files = everything(rpms)
    serve(upstream, files, rpms, under="good/")
    dead, good = f"{upstream.url}dead/", f"{upstream.url}good/"
    upstream.put("mirrorlist", f"# mirrors\n{dead}\n{good}\nftp://elsewhere/\n".encode())
    upstream.put("metalink", metalink(files[REPOMD], dead, good))
    here.create("zoo", f"{upstream.url}{kind}")

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert len(here.nevras("zoo")) == 5
    upstream.forget()
    assert here.sync("zoo").result == "success"
    assert upstream.paths() == [kind, f"good/{REPOMD}"]


def test_a_mirror_that_is_not_what_the_metalink_says_is_refused(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    serve(upstream, everything(rpms), rpms, under="stale/")
    upstream.put("metalink", metalink(b"the repomd of today", f"{upstream.url}stale/"))
    here.create("zoo", f"{upstream.url}metalink")

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "checksum" in str(outcome.error_message)


def test_a_mirror_that_is_down_says_nothing_of_what_no_mirror_has(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    serve(upstream, everything(rpms), rpms, under="good/")
    upstream.put("mirrorlist", f"\ufeffhttp://127.0.0.1:{free_port()}/\n{upstream.url}good/\n".encode())
    here.create("zoo", f"{upstream.url}mirrorlist")

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.held("zoo", "distribution") == []


def test_mirrors_that_lag_behind_are_taken_as_the_metalink_says_but_never_backwards(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    old, older = everything(rpms[:2]), everything(rpms[:1])
    upstream.put("metalink", metalink(b"of today", f"{upstream.url}zoo/", alternates=[older[REPOMD], old[REPOMD]]))
    here.create("zoo", f"{upstream.url}metalink")

    for files, result, held in ((older, "success", 1), (old, "success", 2), (older, "failed", 2)):
        serve(upstream, files, rpms, under="zoo/")
        assert here.sync("zoo").result == result
        assert len(here.nevras("zoo")) == held


def test_a_metalink_of_version_4_is_verified_and_followed_by_priority(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    files = everything(rpms)
    serve(upstream, files, rpms, under="good/")
    serve(upstream, everything(rpms[:1]), rpms, under="bad/")
    bad, good = (f"{upstream.url}{name}/{REPOMD}" for name in ("bad", "good"))
    text = (
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="repomd.xml">'
        f'<hash type="sha-256">{hashlib.sha256(files[REPOMD]).hexdigest()}</hash>'
        f'<url priority="9">{bad}</url><url priority="1">{good}</url></file></metalink>'
    )
    upstream.put("repomd.meta4", text.encode())
    here.create("zoo", f"{upstream.url}repomd.meta4")

    assert here.sync("zoo").result == "success"
    assert f"bad/{REPOMD}" not in upstream.paths()
    assert len(here.nevras("zoo")) == 5
    upstream.put(f"good/{REPOMD}", upstream.files[f"bad/{REPOMD}"])
    assert "checksum" in str(here.sync("zoo").error_message)
    assert len(here.nevras("zoo")) == 5


def metalink(repomd: bytes, *mirrors: str, alternates: Sequence[bytes] = ()) -> bytes:
    urls = "".join(
        f'<url protocol="http" preference="{100 - number}">{mirror}{REPOMD}</url>'
        for number, mirror in enumerate(mirrors)
    )
    older = "".join(
        f"<alternates><alternate><timestamp>{number}</timestamp><verification>"
        f'<hash type="sha256">{hashlib.sha256(alternate).hexdigest()}</hash></verification></alternate></alternates>'
        for number, alternate in enumerate(alternates)
    )
    return (
        '<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/"><files>'
        f'<file name="repomd.xml"><size>{len(repomd)}</size><verification>'
        f'<hash type="md5">{hashlib.md5(repomd, usedforsecurity=False).hexdigest()}</hash>'
        f'<hash type="sha256">{hashlib.sha256(repomd).hexdigest()}</hash></verification>{older}'
        f"<resources>{urls}</resources></file></files></metalink>"
    ).encode()
