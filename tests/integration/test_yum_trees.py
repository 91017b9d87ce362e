"""Installation trees: what `.treeinfo` names is mirrored, verified and published beside the packages."""

import configparser
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.content.limits import Limits
from pulpit.content.port import BadFeed
from pulpit.content.rpm import treeinfo
from support import yum
from support.upstream import Upstream, body, running, status
from support.yum import REPOMD, YumMirror, build, listed, packages, serve, yum_mirror

IMAGES = {
    "images/boot.iso": b"a whole installer " * 10_000,
    "images/pxeboot/vmlinuz": b"a kernel",
    "images/pxeboot/initrd.img": b"its first file system",
}


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    missing = yum.tools("rpmbuild")
    if missing:
        pytest.skip(missing)
    return [build(tmp_path_factory.mktemp("rpms"), "bear", "4.1")]


@pytest.fixture
def upstream(rpms: list[Path]) -> Iterator[Upstream]:
    with running() as upstream:
        serve(upstream, listed(packages(rpms)), rpms)
        for path, content in IMAGES.items():
            upstream.put(path, content)
        upstream.put(".treeinfo", tree(IMAGES, f"{REPOMD} = sha256:{'0' * 64}\n"))
        yield upstream


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum_mirror(tmp_path / "data") as here:
        yield here


def tree(files: Mapping[str, bytes], further: str = "") -> bytes:
    """A list in the form that the installers of Fedora and its kin have."""
    checksums = "".join(f"{path} = sha256:{hashlib.sha256(content).hexdigest()}\n" for path, content in files.items())
    return (
        "[header]\ntype = productmd.treeinfo\nversion = 1.2\n\n"
        f"[checksums]\n{checksums}{further}\n"
        "[general]\nfamily = Zoo\nversion = 9\narch = x86_64\nvariant = Server\n"
        "timestamp = 1700000000\npackagedir = \n\n"
        "[images-x86_64]\nboot.iso = images/boot.iso\n"
    ).encode()


def test_the_files_of_a_tree_are_mirrored_and_published(upstream: Upstream, here: YumMirror) -> None:
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert here.publish("zoo").result == "success"

    published = here.published("zoo")
    assert {path: published[path] for path in IMAGES} == IMAGES
    names = configparser.RawConfigParser()
    names.read_string(published[".treeinfo"].decode())
    assert set(names["checksums"]) == set(IMAGES)
    (unit,) = (one.unit for one in here.held("zoo", "distribution"))
    assert unit.key["distribution_id"] == "ks-Zoo-Server-9-x86_64"
    assert (unit.key["family"], unit.key["version"], unit.key["arch"]) == ("Zoo", "9", "x86_64")
    assert {one["relativepath"] for one in unit.metadata["files"]} == set(IMAGES)


def test_the_step_counts_files_as_the_original_importer_did(upstream: Upstream, here: YumMirror) -> None:
    here.create("zoo", upstream.url)

    here.sync("zoo")

    steps = [report["yum_importer"]["distribution"] for report in here.reports]
    assert steps[-1] == {"state": "FINISHED", "items_total": 3, "items_left": 0, "error_details": []}
    order = ["NOT_STARTED", "IN_PROGRESS", "FINISHED"]
    positions = [order.index(step["state"]) for step in steps]
    assert positions == sorted(positions)


def test_a_new_tree_takes_the_place_of_the_old_one(upstream: Upstream, here: YumMirror, rpms: list[Path]) -> None:
    here.create("zoo", upstream.url)
    here.sync("zoo")
    changed = {**IMAGES, "images/boot.iso": b"a newer installer"}
    upstream.put("images/boot.iso", changed["images/boot.iso"])
    upstream.put(".treeinfo", tree(changed))
    serve(upstream, listed(packages(rpms), packing=".xz"))

    outcome = here.sync("zoo")
    here.publish("zoo")

    assert (outcome.result, outcome.updated_count) == ("success", 1)
    assert here.published("zoo")["images/boot.iso"] == b"a newer installer"


@pytest.mark.parametrize("answer", [404, 403, "html"])
def test_a_repository_without_a_tree_is_the_usual_case(upstream: Upstream, here: YumMirror, answer: int | str) -> None:
    for name in treeinfo.NAMES:
        page = body(b"<!DOCTYPE html><title>Nothing here</title>")
        upstream.misbehave(name, status(answer) if isinstance(answer, int) else page)
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert here.held("zoo", "distribution") == []
    assert here.reports[-1]["yum_importer"]["distribution"]["state"] == "SKIPPED"


def test_the_name_without_a_dot_is_taken_too(upstream: Upstream, here: YumMirror) -> None:
    upstream.put("treeinfo", upstream.files.pop(".treeinfo"))
    here.create("zoo", upstream.url)

    here.sync("zoo")
    here.publish("zoo")

    assert "treeinfo" in here.published("zoo")
    assert ".treeinfo" not in here.published("zoo")


OLD_TREE = b"""[general]
family = Zoo Server
timestamp = 1209596791.91
version = 5.2
packagedir = Server
arch = x86_64

[images-x86_64]
kernel = images/pxeboot/vmlinuz
initrd = ./images/pxeboot/initrd.img

[images-xen]
kernel = images/xen/vmlinuz
initrd = http://127.0.0.1:9/initrd.img

[stage2]
instimage = images/boot.iso
mainimage =
"""


def test_files_without_a_checksum_are_mirrored_too(upstream: Upstream, here: YumMirror, rpms: list[Path]) -> None:
    """As RHEL 5 lists them; dnf and the installer take them as they are."""
    upstream.put(".treeinfo", OLD_TREE)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")
    here.publish("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    left_out = [entry["name"] for entry in (outcome.details or {})["left_out"]]
    assert left_out == ["images/xen/vmlinuz of treeinfo"]
    published = here.published("zoo")
    assert {path: published[path] for path in IMAGES} == IMAGES
    assert published[".treeinfo"] == OLD_TREE

    upstream.put("images/pxeboot/vmlinuz", b"a newer kernel")
    serve(upstream, listed(packages(rpms), packing=".xz"))
    upstream.forget()
    assert here.sync("zoo").result == "success"
    here.publish("zoo")

    assert here.published("zoo")["images/pxeboot/vmlinuz"] == b"a newer kernel"
    asked = [headers for path, headers in upstream.asked if path == "images/boot.iso"]
    assert len(asked) == 1
    assert "If-None-Match" in asked[0]


@pytest.mark.parametrize("where", ["importer", "distributor"])
def test_trees_can_be_left_out(upstream: Upstream, here: YumMirror, where: str) -> None:
    here.create("zoo", upstream.url, {"type_skip_list": ["distribution"]} if where == "importer" else None)

    here.sync("zoo")
    here.publish("zoo", {"skip": ["distribution"]} if where == "distributor" else None)

    assert len(here.held("zoo", "distribution")) == (where == "distributor")
    assert not set(IMAGES) & set(here.published("zoo"))


def test_an_image_that_is_not_what_the_list_says_fails_the_sync(upstream: Upstream, here: YumMirror) -> None:
    upstream.put("images/boot.iso", b"something else")
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "images/boot.iso has another sha256 checksum than announced" in str(outcome.error_message)
    assert here.held("zoo", "distribution") == []
    assert here.nevras("zoo") == ["bear-4.1-1.noarch"]


HOSTILE = {
    "../../etc/passwd = sha256:" + "0" * 64: "leads out of its folder",
    "/etc/passwd = sha256:" + "0" * 64: "is absolute",
    "images//boot.iso = sha256:" + "0" * 64: "has an empty part",
    ".treeinfo = sha256:" + "0" * 64: "is its own",
    "images/boot.iso/more = sha256:" + "0" * 64: "would lie in 'images/boot.iso', which is a file",
    "images/efiboot.img = crc32:12345678": "has a checksum of the unknown type 'crc32'",
    "images/efiboot.img = sha256:0": "has a checksum that is no sha256",
}


@pytest.mark.parametrize("line", HOSTILE)
def test_a_file_of_a_tree_that_cannot_be_used_is_left_out_and_named(
    upstream: Upstream, here: YumMirror, line: str
) -> None:
    upstream.put(".treeinfo", tree(IMAGES, f"{line}\n"))
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    [left_out] = (outcome.details or {})["left_out"]
    name = line.partition(" = ")[0]
    assert (left_out["name"], left_out["reason"]) == (f"{name} of treeinfo", HOSTILE[line])
    assert here.publish("zoo").result == "success"
    published = here.published("zoo")
    assert {path for path in published if path.startswith("images/")} == set(IMAGES)
    names = configparser.RawConfigParser()
    names.read_string(published[".treeinfo"].decode())
    assert set(names["checksums"]) == set(IMAGES)
    assert names["images-x86_64"]["boot.iso"] == "images/boot.iso"


def test_a_tree_without_a_usable_file_is_refused_before_anything_is_downloaded(
    upstream: Upstream, here: YumMirror
) -> None:
    upstream.put(".treeinfo", tree({"../boot.iso": b"x"}).replace(b"boot.iso = images/boot.iso\n", b""))
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert str(outcome.error_message).startswith("treeinfo is refused: none of its files can be used.")
    assert "bear-4.1-1.noarch.rpm" not in upstream.paths()


def test_a_tree_that_would_take_a_place_of_ours_leaves_the_published_one_alone(
    upstream: Upstream, here: YumMirror, rpms: list[Path]
) -> None:
    here.create("zoo", upstream.url)
    here.sync("zoo")
    here.publish("zoo")
    before = here.published("zoo")
    greedy = f"Packages/b/{rpms[0].name}"
    upstream.put(greedy, b"mine")
    upstream.put(".treeinfo", tree({greedy: b"mine"}))
    serve(upstream, listed(packages(rpms), packing=".xz"))
    here.sync("zoo")

    outcome = here.publish("zoo")

    assert outcome.result == "failed"
    assert "another file or folder has its place" in str(outcome.error_message)
    assert here.published("zoo") == before


PIECES = [
    "[checksums]\n",
    "[general]\n",
    "a/b = sha256:" + "0" * 64 + "\n",
    "a = md5:x\n",
    "family",
    "=",
    "\n",
    " ",
    "[",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=20)).map("".join))
def test_whatever_a_tree_says_it_is_a_unit_or_refused(text: str) -> None:
    try:
        unit, _ = treeinfo.unit(text, ".treeinfo", ("http://localhost/",), Limits())
    except BadFeed:
        return
    assert all(not file.relative_path.startswith(("/", "repodata/")) for file in unit.files)
