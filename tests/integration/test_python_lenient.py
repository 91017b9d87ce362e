"""Odd indexes that pip can use: what is usable is taken, what is not is skipped and reported."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from support import python
from support import upstream as serving
from support.mirror import IMPATIENT
from support.python import JSON, PythonMirror
from support.upstream import Behaviour, Upstream

LOGIN_PAGE = b"<!DOCTYPE html><html><title>Log in</title><form action=/login><input name=user></form></html>"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[PythonMirror]:
    with python.python_mirror(tmp_path / "here", IMPATIENT) as mirror:
        yield mirror


def anchor(name: str, href: str | None = None, content: bytes | None = None) -> str:
    digest = hashlib.sha256(name.encode() if content is None else content).hexdigest()
    return f'<a href="{href or f"/files/{name}"}#sha256={digest}">{name}</a>\n'


def serve(upstream: Upstream, path: str, text: str | bytes, kind: str = "text/html") -> None:
    upstream.put(path, text if isinstance(text, bytes) else text.encode())
    upstream.kinds[path] = kind


def files(upstream: Upstream, *names: str) -> None:
    for name in names:
        upstream.put(f"files/{name}", name.encode())


def bears(upstream: Upstream, path: str = "simple/bear/", *more: str) -> None:
    files(upstream, "bear-1.0.tar.gz", "bear-2.0.tar.gz")
    serve(upstream, path, anchor("bear-1.0.tar.gz") + anchor("bear-2.0.tar.gz") + "".join(more))


def left_out(outcome: Any) -> dict[str, str]:
    return {entry["name"]: entry["reason"] for entry in (outcome.details or {}).get("left_out", ())}


@pytest.mark.parametrize(
    "behaviour",
    [
        serving.status(403),
        serving.status(401),
        serving.status(404),
        serving.status(410),
        serving.status(451),
        serving.body(LOGIN_PAGE, {"Content-Type": "text/html"}),
        serving.body(b'{"error": "no such thing"}', {"Content-Type": "application/json"}),
        serving.body(b"", {"Content-Type": "text/html"}),
        serving.body(b"\x89PNG", {"Content-Type": "image/png"}),
    ],
)
def test_a9_the_page_is_taken_from_where_it_is(behaviour: Behaviour, upstream: Upstream, here: PythonMirror) -> None:
    upstream.misbehave("simple/bear/", behaviour)
    upstream.misbehave("simple/", behaviour)
    bears(upstream, "bear/")
    serve(upstream, "", '<a href="bear/">bear</a>')
    here.create("zoo", upstream.url, {"package_names": "bear"})
    here.create("all", upstream.url, {"package_names": "*"})

    for repo_id in ("zoo", "all"):
        assert here.sync(repo_id).error_message is None
        assert here.files(repo_id) == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]
    upstream.forget()
    assert here.sync("zoo").result == "success"
    assert upstream.paths() == ["bear/"]


def test_a9_one_sentence_says_what_each_place_answered(upstream: Upstream, here: PythonMirror) -> None:
    upstream.misbehave("simple/bear/", serving.status(403))
    serve(upstream, "bear/", LOGIN_PAGE)
    here.create("zoo", upstream.url, {"package_names": "bear"})

    message = here.sync("zoo").error_message

    assert message is not None
    assert message.startswith("The feed has no project bear: ")
    assert f"{upstream.url}simple/bear/ was answered with 403" in message
    assert "The page of bear in bear/ is refused: it names no file of the project" in message


@pytest.mark.parametrize("root", [LOGIN_PAGE, b"<html></html>", b'<a href="https://elsewhere/x/">x</a>', b"hello"])
def test_a3_what_is_no_index_empties_nothing(root: bytes, upstream: Upstream, here: PythonMirror) -> None:
    bears(upstream)
    serve(upstream, "simple/", '<a href="bear/">bear</a>')
    here.create("zoo", upstream.url, {"package_names": "*", "remove_missing": True})
    assert here.sync("zoo").error_message is None
    serve(upstream, "simple/", root)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "The feed has no list of projects: " in str(outcome.error_message)
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]


def test_a3_a_login_page_everywhere_is_no_index(upstream: Upstream, here: PythonMirror) -> None:
    bears(upstream)
    serve(upstream, "simple/", '<a href="bear/">bear</a>')
    here.create("zoo", upstream.url, {"package_names": "*", "remove_missing": True})
    assert here.sync("zoo").error_message is None
    page = LOGIN_PAGE + b'<a href="forgotten">Forgotten?</a>'
    for path in ("simple/", "simple/bear/", "simple/forgotten/", "forgotten/"):
        serve(upstream, path, page)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "Nothing that the feed lists has a page of an index" in str(outcome.error_message)
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]


@pytest.mark.parametrize(
    "name",
    [
        "bear-3.0+" + "x" * 260 + ".tar.gz",
        "bear-3.0 final.tar.gz",
        "bear-3.0@home.tar.gz",
        "..%2Fbear-3.0.tar.gz",
        "bear-3.0%0A.tar.gz",
        "bear-2004d.tar.gz",
        "bear-3.0-py3-any.whl",
    ],
)
def test_a11_a_file_with_an_odd_name_is_left_out_and_named(name: str, upstream: Upstream, here: PythonMirror) -> None:
    bears(upstream, "simple/bear/", anchor("x", f"/files/{name}"))
    serve(upstream, "simple/", '<a href="bear/">bear</a>')
    here.create("zoo", upstream.url, {"package_names": "bear"})
    here.create("all", upstream.url, {"package_names": "*"})

    for repo_id in ("zoo", "all"):
        outcome = here.sync(repo_id)
        assert outcome.error_message is None
        assert here.files(repo_id) == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]
        assert len(left_out(outcome)) == 1


@pytest.mark.parametrize("status", [404, 410, 403])
def test_a11_a_listed_project_that_is_not_there_is_left_out(
    status: int, upstream: Upstream, here: PythonMirror
) -> None:
    bears(upstream)
    serve(upstream, "simple/", '<a href="bear/">bear</a><a href="gone/">gone</a><a href="-/">-</a><a href="%40/">@</a>')
    for path in ("simple/gone/", "gone/"):
        upstream.misbehave(path, serving.status(status))
    here.create("zoo", upstream.url, {"package_names": "*"})

    outcome = here.sync("zoo")

    assert outcome.error_message is None
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]
    assert left_out(outcome).keys() == {"gone", "-", "@"}
    assert f"was answered with {status}" in left_out(outcome)["gone"]
    named = here.sync("zoo", {"package_names": "*,gone"})
    assert "The feed has no project gone" in str(named.error_message)


def test_a11_a_project_that_comes_later_is_taken_although_the_list_did_not_change(
    upstream: Upstream, here: PythonMirror
) -> None:
    bears(upstream)
    serve(upstream, "simple/", '<a href="bear/">bear</a><a href="camel/">camel</a>')
    here.create("zoo", upstream.url, {"package_names": "*"})
    assert left_out(here.sync("zoo")).keys() == {"camel"}
    files(upstream, "camel-1.0.tar.gz")
    serve(upstream, "simple/camel/", anchor("camel-1.0.tar.gz"))

    assert here.sync("zoo").error_message is None
    assert "camel-1.0.tar.gz" in here.files("zoo")


@pytest.mark.parametrize(
    "entry",
    [
        {"filename": 7, "url": "/files/x"},
        {"filename": "bear-3.0.tar.gz"},
        {"filename": "bear-3.0.tar.gz", "url": "ftp://x/bear-3.0.tar.gz"},
        {"filename": "bear-3.0.tar.gz", "url": "/x", "hashes": {"sha256": "0" * 64}, "size": 10**18},
        {"filename": "bear 3.0.tar.gz", "url": "/x", "hashes": {}},
    ],
)
def test_a11_an_entry_of_json_that_cannot_be_used_is_left_out(
    entry: dict[str, Any], upstream: Upstream, here: PythonMirror
) -> None:
    bears(upstream)
    good = {"url": "/files/bear-1.0.tar.gz", "hashes": {"sha256": hashlib.sha256(b"bear-1.0.tar.gz").hexdigest()}}
    page = {"meta": {"api-version": "1.4"}, "name": "bear", "files": [{"filename": "bear-1.0.tar.gz", **good}, entry]}
    serve(upstream, "simple/bear/", json.dumps(page), JSON)
    here.create("zoo", upstream.url, {"package_names": "bear"})

    outcome = here.sync("zoo")

    assert outcome.error_message is None
    assert here.files("zoo") == ["bear-1.0.tar.gz"]
    assert len(left_out(outcome)) == 1


@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream", "image/png", JSON, "text/html"])
@pytest.mark.parametrize("form", ["html", "json"])
def test_a19_the_bytes_say_what_a_page_is(kind: str, form: str, upstream: Upstream, here: PythonMirror) -> None:
    bears(upstream)
    if form == "json":
        entry = {"url": "../../files/bear-1.0.tar.gz", "filename": "bear-1.0.tar.gz"}
        digest = hashlib.sha256(b"bear-1.0.tar.gz").hexdigest()
        page = json.dumps({"files": [{**entry, "hashes": {"sha256": digest}}], "unknown": [{}]}).encode()
        serve(upstream, "simple/bear/", b"\xef\xbb\xbf \n" + page)
    else:
        serve(upstream, "simple/bear/", "\ufeff\n" + anchor("bear-1.0.tar.gz").replace("<a href", "<A\nHREF "))
    if kind:
        upstream.kinds["simple/bear/"] = kind
    else:
        del upstream.kinds["simple/bear/"]
    here.create("zoo", upstream.url, {"package_names": "bear"})

    assert here.sync("zoo").error_message is None
    assert here.files("zoo") == ["bear-1.0.tar.gz"]


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress, lambda content: content])
@pytest.mark.parametrize("header", [True, False])
def test_a16_a_page_that_comes_compressed_unasked_is_read(
    packed: Any, header: bool, upstream: Upstream, here: PythonMirror
) -> None:
    bears(upstream)
    headers = {"Content-Type": "text/html"} | ({"Content-Encoding": "gzip"} if header else {})
    upstream.misbehave("simple/bear/", serving.body(packed(upstream.files["simple/bear/"]), headers))
    here.create("zoo", upstream.url, {"package_names": "bear"})

    assert here.sync("zoo").error_message is None
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]


def test_what_is_left_out_names_the_way_past_for_files_without_checksums(
    upstream: Upstream, here: PythonMirror
) -> None:
    bears(upstream, "simple/bear/", '<a href="/files/bear-3.0.tar.gz">bear-3.0.tar.gz</a>')
    serve(upstream, "simple/", '<a href="bear/">bear</a>')
    here.create("zoo", upstream.url, {"package_names": "*"})

    outcome = here.sync("zoo")

    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]
    assert "allow_unhashed" in left_out(outcome)["bear-3.0.tar.gz"]
    without = here.sync("zoo", {"allow_unhashed": True})
    assert without.error_message is None
    assert "is not there" in left_out(without)["bear-3.0.tar.gz"]
    files(upstream, "bear-3.0.tar.gz")
    assert here.sync("zoo", {"allow_unhashed": True}).error_message is None
    assert "bear-3.0.tar.gz" in here.files("zoo")


@pytest.mark.parametrize("href", ["/deep/er/bear/", "../other/bear", "bear/?x=1", "./bear"])
def test_a_list_of_projects_may_lead_elsewhere_on_its_server(href: str, upstream: Upstream, here: PythonMirror) -> None:
    bears(upstream)
    serve(upstream, "simple/", f'<a href="..">up</a><a href="?C=N;O=D">Name</a><a href="{href}">Bear</a>')
    here.create("zoo", upstream.url, {"package_names": "*"})

    assert here.sync("zoo").error_message is None
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]


def test_an_entry_without_a_name_in_a_list_of_projects_is_none(upstream: Upstream, here: PythonMirror) -> None:
    bears(upstream)
    entries: list[dict[str, object]] = [{"name": "Bear"}, {"name": "bear"}, {"name": None}, {"name": 5}, {}]
    serve(upstream, "simple/", json.dumps({"meta": {"api-version": "1.0"}, "projects": entries}), JSON)
    here.create("zoo", upstream.url, {"package_names": "*"})

    outcome = here.sync("zoo")

    assert outcome.error_message is None
    assert list(left_out(outcome)) == ["{'name': None}", "{'name': 5}", "{}"]
    assert {path for path in upstream.paths() if path.startswith("simple/")} == {"simple/", "simple/bear/"}


@pytest.mark.parametrize("status", [404, 403])
def test_what_is_left_out_is_not_removed(status: int, upstream: Upstream, here: PythonMirror) -> None:
    bears(upstream)
    files(upstream, "camel-1.0.tar.gz")
    serve(upstream, "simple/camel/", anchor("camel-1.0.tar.gz"))
    serve(upstream, "simple/", '<a href="bear/">bear</a><a href="camel/">camel</a>')
    here.create("zoo", upstream.url, {"package_names": "*", "remove_missing": True})
    assert here.sync("zoo").error_message is None
    upstream.misbehave("simple/camel/", serving.status(status))
    twice = anchor("bear-1.0.tar.gz") + anchor("bear-1.0.tar.gz", content=b"other")
    serve(upstream, "simple/bear/", anchor("bear-2.0.tar.gz") + twice)

    outcome = here.sync("zoo")

    assert outcome.error_message is None
    assert left_out(outcome).keys() == {"camel", "bear-1.0.tar.gz"}
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz", "camel-1.0.tar.gz"]
    serve(upstream, "simple/", '<a href="bear/">bear</a>')
    assert here.sync("zoo").error_message is None
    assert here.files("zoo") == ["bear-1.0.tar.gz", "bear-2.0.tar.gz"]
