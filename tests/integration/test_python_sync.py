"""Python packages of real indexes: which are mirrored, which are skipped, and which pages are requested again."""

import hashlib
import html
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support import python
from support import upstream as serving
from support.python import PythonMirror, build, pypiserver, simple_repository_server
from support.upstream import Upstream

BEARS = [
    f"bear-{version}{end}" for version in ("1.0", "1.1", "2.0", "2.1rc1") for end in ("-py3-none-any.whl", ".tar.gz")
]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    for version in ("1.0", "1.1", "2.0", "2.1rc1"):
        build(folder, "bear", version, requires_python=">=3.11" if version == "2.0" else ">=3.8")
    build(folder, "Polar.Bear", "4", dependencies=["bear>=1; python_version>='3'"])
    return folder / "dist"


@pytest.fixture(scope="module")
def index(dist: Path) -> Iterator[str]:
    with pypiserver(dist) as url:
        yield url


@pytest.fixture
def here(tmp_path: Path) -> Iterator[PythonMirror]:
    with python.python_mirror(tmp_path / "here") as one:
        yield one


def page(*lines: str) -> bytes:
    return f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>".encode()


def link(name: str, content: bytes | None, **attributes: str) -> str:
    """A link to a file beside the folder of pages, with its checksum if content is given."""
    digest = f"#sha256={hashlib.sha256(content).hexdigest()}" if content is not None else ""
    further = "".join(
        f' data-{attribute.replace("_", "-")}="{html.escape(value)}"' for attribute, value in attributes.items()
    )
    return f'<a href="../../files/{name}{digest}"{further}>{name}</a>'


def serve(upstream: Upstream, project: str, files: Mapping[str, Mapping[str, str]], *more: str) -> None:
    """Serve files that are their own names, and the page of them."""
    for name in files:
        upstream.put(f"files/{name}", name.encode())
    lines = [link(name, name.encode(), **attributes) for name, attributes in files.items()]
    serve_page(upstream, f"simple/{project}/", page(*lines, *more))


def serve_page(upstream: Upstream, path: str, content: bytes, kind: str = "text/html; charset=utf-8") -> None:
    upstream.put(path, content)
    upstream.kinds[path] = kind


def test_chosen_projects_come_with_what_their_files_say(index: str, here: PythonMirror) -> None:
    here.create("zoo", index, {"package_names": "polar_bear,bear>=1.1,<2"})

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.files("zoo") == [
        "bear-1.1-py3-none-any.whl",
        "bear-1.1.tar.gz",
        "polar_bear-4-py3-none-any.whl",
        "polar_bear-4.tar.gz",
    ]
    for filename in ("polar_bear-4-py3-none-any.whl", "polar_bear-4.tar.gz"):
        known = here.units("zoo")[filename].metadata
        assert (known["name"], known["version"]) == ("polar-bear", "4")
        assert known["summary"] == "The Polar.Bear & nothing but the Polar.Bear"
        assert known["author_email"] == "Keeper <keeper@example.org>"
        assert known["requires_dist"] == ["bear>=1; python_version >= '3'"]
        assert known["requires_python"] == ">=3.8"
    assert len(here.stored()) == 4
    assert here.leftovers() == []


@pytest.mark.parametrize(
    ("config", "left"),
    [
        ({}, [name for name in BEARS if "rc" not in name]),
        ({"prereleases": True}, BEARS),
        ({"package_names": "bear>=2.1rc0"}, [name for name in BEARS if "rc" in name]),
        ({"package_names": ["bear>2"]}, [name for name in BEARS if "rc" in name]),
        ({"package_names": ["bear>2"], "prereleases": False}, []),
        ({"retain_old_count": 0}, BEARS[4:6]),
        ({"retain_old_count": 1}, BEARS[2:6]),
        ({"retain_old_count": 0, "package_names": "bear~=1.0"}, BEARS[2:4]),
        ({"package_types": "sdist"}, BEARS[1:6:2]),
        ({"package_types": ["wheel"], "python_tags": "cp3*,py3", "platform_tags": ["any"]}, BEARS[0:6:2]),
        ({"python_tags": "cp311", "abi_tags": ["*"]}, BEARS[1:6:2]),
        ({"package_names": "*", "package_types": "sdist"}, [*BEARS[1:6:2], "polar_bear-4.tar.gz"]),
        ({"package_names": "*,bear<1.1", "package_types": "sdist"}, [BEARS[1], "polar_bear-4.tar.gz"]),
    ],
)
def test_files_are_chosen(config: dict[str, Any], left: list[str], index: str, here: PythonMirror) -> None:
    here.create("zoo", index, {"package_names": "bear", **config})

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.files("zoo") == sorted(left)


def test_projects_must_be_named(index: str, here: PythonMirror) -> None:
    here.create("zoo", index)

    assert here.sync("zoo").error_message == (
        "There is nothing to sync: package_names names no project; * stands for all of them."
    )


def test_what_is_too_old_is_let_go(index: str, here: PythonMirror) -> None:
    here.create("zoo", index, {"package_names": "bear"})
    here.sync("zoo")
    here.configure("zoo", retain_old_count=0)

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.removed_count) == ("success", 4)
    assert here.files("zoo") == BEARS[4:6]


def test_only_files_for_the_named_pythons_are_taken(upstream: Upstream, here: PythonMirror) -> None:
    serve(
        upstream,
        "bear",
        {
            "bear-1.0.tar.gz": {},
            "bear-2.0.tar.gz": {"requires_python": ">=3.9, <4"},
            "bear-3.0.tar.gz": {"requires_python": ">=3.12"},
            "bear-4.0.tar.gz": {"requires_python": "whatever"},
        },
    )
    here.create("zoo", upstream.url, {"package_names": "bear", "python_versions": "3.9,3.11"})

    assert here.sync("zoo").result == "success"
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz", "bear-4.0.tar.gz"]


def test_a_yanked_file_is_left_out_unless_wanted_or_named(upstream: Upstream, here: PythonMirror) -> None:
    serve(upstream, "bear", {"bear-1.0.tar.gz": {}, "bear-1.1.tar.gz": {"yanked": "it <bites>"}})
    here.create("plain", upstream.url, {"package_names": "bear", "retain_old_count": 0})
    here.create("all", upstream.url, {"package_names": "bear", "include_yanked": True})
    here.create("pinned", upstream.url, {"package_names": "bear==1.1"})

    for repo_id in ("plain", "all", "pinned"):
        assert here.sync(repo_id).result == "success"

    assert here.files("plain") == ["bear-1.0.tar.gz"]
    assert here.files("all") == ["bear-1.0.tar.gz", "bear-1.1.tar.gz"]
    assert here.files("pinned") == ["bear-1.1.tar.gz"]
    assert here.units("pinned")["bear-1.1.tar.gz"].metadata["yanked_reason"] == "it <bites>"
    here.publish("pinned")
    assert [file["yanked"] for file in here.page("pinned", "bear")["files"]] == ["it <bites>"]
    assert b'data-yanked="it &lt;bites&gt;"' in here.published("pinned")["simple/bear/index.html"]


def test_a_file_that_is_yanked_later_stays_and_says_so(upstream: Upstream, here: PythonMirror) -> None:
    serve(upstream, "bear", {"bear-1.0.tar.gz": {}, "bear-1.1.tar.gz": {}})
    here.create("zoo", upstream.url, {"package_names": "bear", "remove_missing": True})
    here.sync("zoo")
    here.publish("zoo")
    serve(upstream, "bear", {"bear-1.0.tar.gz": {}, "bear-1.1.tar.gz": {"yanked": ""}})

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.added_count, outcome.removed_count) == ("success", 0, 0)
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-1.1.tar.gz"]
    assert here.publish("zoo").result == "success"
    assert [file["yanked"] for file in here.page("zoo", "bear")["files"]] == [False, True]


def test_what_the_index_dropped_is_removed_if_asked_for(upstream: Upstream, here: PythonMirror) -> None:
    serve(upstream, "bear", {"bear-1.0.tar.gz": {}, "bear-1.1.tar.gz": {}})
    here.create("zoo", upstream.url, {"package_names": "bear", "remove_missing": True})
    here.sync("zoo")
    serve(upstream, "bear", {"bear-1.1.tar.gz": {}})

    assert here.sync("zoo").removed_count == 1
    assert here.files("zoo") == ["bear-1.1.tar.gz"]


def test_an_unchanged_index_costs_one_conditional_request_a_project(upstream: Upstream, here: PythonMirror) -> None:
    for project in ("bear", "camel"):
        serve(upstream, project, {f"{project}-1.0.tar.gz": {}})
    here.create("zoo", upstream.url, {"package_names": "bear,camel"})
    here.sync("zoo")
    upstream.forget()

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert sorted(upstream.paths()) == ["simple/bear/", "simple/camel/"]
    assert all("If-None-Match" in headers for _, headers in upstream.asked)
    assert outcome.summary is not None
    assert list(outcome.summary.values()) == ["FINISHED", "SKIPPED"]


def test_an_index_without_etags_is_known_by_what_it_says(index: str, here: PythonMirror) -> None:
    here.create("zoo", index, {"package_names": "*"})
    here.sync("zoo")

    outcome = here.sync("zoo")

    assert outcome.summary is not None
    assert list(outcome.summary.values()) == ["FINISHED", "SKIPPED"]


def test_one_changed_project_does_not_cost_the_others(upstream: Upstream, here: PythonMirror) -> None:
    for project in ("bear", "camel"):
        serve(upstream, project, {f"{project}-1.0.tar.gz": {}})
    here.create("zoo", upstream.url, {"package_names": "bear,camel", "remove_missing": True})
    here.sync("zoo")
    serve(upstream, "camel", {"camel-1.0.tar.gz": {}, "camel-2.0.tar.gz": {}})
    upstream.forget()

    outcome = here.sync("zoo")

    assert (outcome.added_count, outcome.removed_count) == (1, 0)
    assert here.files("zoo") == ["bear-1.0.tar.gz", "camel-1.0.tar.gz", "camel-2.0.tar.gz"]
    assert [path for path in upstream.paths() if path.startswith("files/")] == ["files/camel-2.0.tar.gz"]


@pytest.mark.parametrize("feed", ["", "simple/", "root/+simple/", "whl/cpu/"])
def test_the_root_of_an_index_is_found(feed: str, upstream: Upstream, here: PythonMirror) -> None:
    place = feed or "simple/"
    serve_page(upstream, f"{place}bear/", page(f"<a href='/bear-1.tar.gz#md5={hashlib.md5(b'x').hexdigest()}'>b</a>"))  # noqa: S324 - what old indexes have
    upstream.put("bear-1.tar.gz", b"x")
    here.create("zoo", upstream.url + feed, {"package_names": "bear"})

    assert here.sync("zoo").error_message is None
    assert here.files("zoo") == ["bear-1.tar.gz"]


def test_links_are_relative_to_the_base_and_to_where_redirects_led(upstream: Upstream, here: PythonMirror) -> None:
    upstream.put("mirror/files/bear-1.0.tar.gz", b"bear")
    upstream.put("elsewhere/files/camel-1.0.tar.gz", b"camel")
    upstream.misbehave("simple/bear/", serving.redirect("/mirror/simple/bear/"))
    serve_page(upstream, "mirror/simple/bear/", page(link("bear-1.0.tar.gz", b"bear")))
    base = "<base href='/elsewhere/simple/x/'>"
    serve_page(upstream, "simple/camel/", page(base, link("camel-1.0.tar.gz", b"camel")))
    here.create("zoo", upstream.url, {"package_names": "bear,camel"})

    assert here.sync("zoo").error_message is None
    assert sorted(path for path in upstream.paths() if path.endswith(".gz")) == [
        "elsewhere/files/camel-1.0.tar.gz",
        "mirror/files/bear-1.0.tar.gz",
    ]


def test_json_is_asked_for_and_preferred(upstream: Upstream, here: PythonMirror) -> None:
    content = b"bear"
    digests = {"md5": "0" * 32, "sha256": hashlib.sha256(content).hexdigest(), "mine": "x"}
    files = [
        {
            "filename": "bear-1.0.tar.gz",
            "url": "../../f/1",
            "hashes": digests,
            "requires-python": ">=3.7",
            "size": len(content),
            "upload-time": "2024-05-06T07:08:09+02:00",
        }
    ]
    upstream.put("f/1", content)
    body = json.dumps({"meta": {"api-version": "1.9"}, "name": "bear", "files": files}).encode()
    serve_page(upstream, "simple/bear/", body, python.JSON)
    here.create("zoo", upstream.url, {"package_names": "bear"})

    assert here.sync("zoo").error_message is None
    (known,) = here.units("zoo").values()
    assert (known.metadata["requires_python"], known.metadata["upload_time"]) == (
        ">=3.7",
        "2024-05-06T05:08:09.000000Z",
    )
    assert upstream.asked[0][1]["Accept"].startswith(python.JSON)
    here.publish("zoo")
    (file,) = here.page("zoo", "bear")["files"]
    assert (file["size"], file["upload-time"]) == (len(content), "2024-05-06T05:08:09.000000Z")


def test_a_file_without_a_checksum_is_refused_unless_that_is_allowed(upstream: Upstream, here: PythonMirror) -> None:
    serve_page(upstream, "simple/bear/", page(link("bear-1.0.tar.gz", None)))
    upstream.put("files/bear-1.0.tar.gz", b"bear")
    here.create("zoo", upstream.url, {"package_names": "bear"})

    refused = here.sync("zoo")

    assert refused.error_message == (
        "bear-1.0.tar.gz of bear is refused: it has no checksum that is known here; with allow_unhashed such files are "
        "taken as they come."
    )
    assert here.sync("zoo", {"allow_unhashed": True}).error_message is None
    assert [one.key["checksum"] for one in here.units("zoo").values()] == [hashlib.sha256(b"bear").hexdigest()]


def test_a_checksum_is_learnt_once(upstream: Upstream, here: PythonMirror) -> None:
    serve_page(upstream, "simple/bear/", page(link("bear-1.0.tar.gz", None)))
    upstream.put("files/bear-1.0.tar.gz", b"bear")
    here.create("zoo", upstream.url, {"package_names": "bear", "allow_unhashed": True})
    here.sync("zoo")
    upstream.forget()

    here.sync("zoo")
    assert upstream.paths() == ["simple/bear/"]

    serve_page(upstream, "simple/bear/", page(link("bear-1.0.tar.gz", None), link("bear-2.0.tar.gz", None)))
    upstream.put("files/bear-2.0.tar.gz", b"bear 2")
    upstream.forget()
    assert here.sync("zoo").added_count == 1
    again = [headers for path, headers in upstream.asked if path == "files/bear-1.0.tar.gz"]
    assert [bool(headers.get("If-None-Match")) for headers in again] == [True]


def test_an_index_of_json_without_checksums_is_mirrored(dist: Path, here: PythonMirror, tmp_path: Path) -> None:
    for path in dist.iterdir():
        folder = tmp_path / "index" / path.name.partition("-")[0].replace("_", "-")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    with simple_repository_server(tmp_path / "index") as url:
        here.create("zoo", f"{url}simple/", {"package_names": "*", "allow_unhashed": True})
        outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.files("zoo") == sorted([*BEARS[:6], "polar_bear-4-py3-none-any.whl", "polar_bear-4.tar.gz"])
