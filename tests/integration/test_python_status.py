"""What an index says besides its files: project status, provenance, and withdrawn files."""

import hashlib
import html
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pulpit import catalogue
from pulpit.store.database import Transaction
from support import python
from support.python import PythonMirror, build, run
from support.server import API, Server, pulpit
from support.upstream import Upstream
from support.waiting import until

FILES = ("bear-1.0.tar.gz", "bear-1.1.tar.gz")
ATTESTED = "https://index.example.org/integrity/bear-1.0.tar.gz/provenance?a=1&b=2"


class Told:
    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []

    def tell(self, tx: Transaction, event_type: str, payload: dict[str, Any]) -> None:
        del tx
        body = {"event_type": event_type, "payload": payload, "call_report": None}
        jsonschema.validate(body, catalogue.schema(event_type))
        self.payloads.append(payload)

    def take(self) -> list[tuple[str, str, str, str | None, list[str]]]:
        """Repository, name, how, reason and files of all since the last time."""
        told = [
            (one["repo_id"], one["name"], one["how"], one["reason"], sorted(unit["file"] for unit in one["units"]))
            for one in self.payloads
        ]
        self.payloads.clear()
        return told


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def here(tmp_path: Path, told: Told) -> Iterator[PythonMirror]:
    with python.python_mirror(tmp_path / "here") as mirror:
        yield PythonMirror(replace(mirror.context, tell=told.tell))


def serve(
    upstream: Upstream,
    *,
    form: str = "json",
    status: tuple[str, str | None] | None = None,
    yanked: str | None = None,
    provenance: str | None = None,
    files: tuple[str, ...] = FILES,
) -> None:
    """The page of `bear`, as an index of version 1.4 has it; the last file is yanked, the first one attested."""
    entries: list[dict[str, Any]] = []
    for name in files:
        if f"files/{name}" not in upstream.files:
            upstream.put(f"files/{name}", name.encode())
        digest = hashlib.sha256(upstream.files[f"files/{name}"]).hexdigest()
        entries.append({"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": digest}})
    if entries and yanked is not None:
        entries[-1]["yanked"] = yanked or True
    if entries and provenance is not None:
        entries[0]["provenance"] = provenance
    page: dict[str, Any] = {"meta": {"api-version": "1.4"}, "name": "bear", "files": entries}
    if status:
        page["project-status"] = {"status": status[0], **({"reason": status[1]} if status[1] else {})}
    text = json.dumps(page) if form == "json" else as_html(page)
    upstream.put("simple/bear/", text.encode())
    upstream.kinds["simple/bear/"] = python.JSON if form == "json" else "text/html"


def as_html(page: dict[str, Any]) -> str:
    status = page.get("project-status", {})
    metas = {"pypi:repository-version": "1.4"}
    metas |= {"pypi:project-status": status["status"]} if status else {}
    metas |= {"pypi:project-status-reason": status["reason"]} if status.get("reason") else {}
    head = "".join(f'<meta name="{name}" content="{html.escape(text)}">' for name, text in metas.items())
    links = []
    for file in page["files"]:
        attributes = {"href": f"{file['url']}#sha256={file['hashes']['sha256']}"}
        if "yanked" in file:
            attributes["data-yanked"] = "" if file["yanked"] is True else file["yanked"]
        if "provenance" in file:
            attributes["data-provenance"] = file["provenance"]
        written = "".join(f' {name}="{html.escape(text)}"' for name, text in attributes.items())
        links.append(f"<a{written}>{file['filename']}</a>")
    return f"<!DOCTYPE html><html><head>{head}</head><body>{''.join(links)}</body></html>"


@pytest.mark.parametrize("form", ["json", "html"])
@pytest.mark.parametrize("marker", ["archived", "deprecated"])
def test_status_and_provenance_are_passed_on_in_both_forms(
    upstream: Upstream, here: PythonMirror, told: Told, form: str, marker: str
) -> None:
    serve(upstream, form=form, status=(marker, "use <camel> & be happy"), provenance=ATTESTED)
    here.create("zoo", upstream.url, {"package_names": "bear"})

    assert here.sync("zoo").result == "success"
    here.publish("zoo")

    page = here.page("zoo", "bear")
    assert page["meta"] == {"api-version": "1.4"}
    assert page["project-status"] == {"status": marker, "reason": "use <camel> & be happy"}
    assert [file.get("provenance") for file in page["files"]] == [ATTESTED, None]
    text = here.published("zoo")["simple/bear/index.html"].decode()
    assert f'<meta name="pypi:project-status" content="{marker}">' in text
    assert '<meta name="pypi:project-status-reason" content="use &lt;camel&gt; &amp; be happy">' in text
    assert text.count(f'data-provenance="{html.escape(ATTESTED)}"') == 1
    assert told.take() == []


def test_a_project_is_active_again_and_unknown_markers_are_none(upstream: Upstream, here: PythonMirror) -> None:
    here.create("zoo", upstream.url, {"package_names": "bear", "remove_missing": True})
    for status, shown in (
        (("archived", None), {"status": "archived"}),
        (None, {"status": "active"}),
        (("hibernating", "it is winter"), {"status": "active"}),
        (("Deprecated", None), {"status": "deprecated"}),
    ):
        serve(upstream, status=status)
        assert here.sync("zoo").result == "success"
        here.publish("zoo")
        assert here.page("zoo", "bear").get("project-status", {"status": "active"}) == shown
    assert here.files("zoo") == list(FILES)


def test_provenance_with_a_login_or_no_url_is_not_passed_on(upstream: Upstream, here: PythonMirror) -> None:
    here.create("zoo", upstream.url, {"package_names": "bear", "force_full": True})
    for given, passed in (
        ("https://user:secret@index.example.org/p", None),
        ("javascript:alert(1)", None),
        ("x" * 5000, None),
        ("../../attested/bear", f"{upstream.url}attested/bear"),
    ):
        serve(upstream, provenance=given)
        assert here.sync("zoo").result == "success"
        assert here.units("zoo")["bear-1.0.tar.gz"].metadata.get("provenance") == passed


@pytest.mark.parametrize("form", ["json", "html"])
@pytest.mark.parametrize("remove_missing", [False, True])
def test_nothing_of_a_project_in_quarantine_is_published_until_it_is_lifted(
    upstream: Upstream, here: PythonMirror, told: Told, form: str, remove_missing: bool
) -> None:
    serve(upstream, form=form)
    here.create("zoo", upstream.url, {"package_names": "bear", "remove_missing": remove_missing})
    here.sync("zoo")
    here.publish("zoo")
    serve(upstream, form=form, status=("quarantined", "malware"), files=())

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.removed_count) == ("success", 0), outcome
    assert told.take() == [("zoo", "bear", "quarantined", "malware", list(FILES))]
    assert here.files("zoo") == list(FILES)
    here.publish("zoo")
    assert sorted(here.published("zoo")) == [f"simple/{rest}" for rest in PAGES]
    page = here.page("zoo", "bear")
    assert (page["files"], page["project-status"]) == ([], {"status": "quarantined", "reason": "malware"})
    assert here.sync("zoo", {"force_full": True}).result == "success"
    assert told.take() == []
    serve(upstream, form=form)
    assert here.sync("zoo").result == "success"
    here.publish("zoo")
    assert [file["filename"] for file in here.page("zoo", "bear")["files"]] == list(FILES)
    assert told.take() == []
    serve(upstream, form=form, status=("quarantined", None))  # an index that still names its files
    here.sync("zoo")
    assert told.take() == [("zoo", "bear", "quarantined", None, list(FILES))]


PAGES = ("bear/index.html", "bear/index.v1_json", "index.html", "index.v1_json")


def test_a_project_that_was_never_held_may_be_in_quarantine(upstream: Upstream, here: PythonMirror, told: Told) -> None:
    serve(upstream, status=("quarantined", "malware"))
    here.create("zoo", upstream.url, {"package_names": "bear"})

    assert here.sync("zoo").result == "success"
    here.publish("zoo")

    assert (here.files("zoo"), told.take()) == ([], [])
    assert here.page("zoo", "bear")["project-status"]["status"] == "quarantined"


def test_each_repository_is_told_once_of_a_file_that_is_yanked(
    upstream: Upstream, here: PythonMirror, told: Told
) -> None:
    serve(upstream)
    for repo_id in ("aquarium", "zoo"):
        here.create(repo_id, upstream.url, {"package_names": "bear"})
        here.sync(repo_id)
    serve(upstream, yanked="it bites")
    here.create("late", upstream.url, {"package_names": "bear", "include_yanked": True})

    for repo_id in ("aquarium", "zoo", "late"):  # the last one takes it as what it is
        here.sync(repo_id)

    assert told.take() == [(repo, "bear", "yanked", "it bites", [FILES[1]]) for repo in ("aquarium", "zoo")]
    serve(upstream, yanked="it bites & scratches")
    for repo_id in ("aquarium", "zoo", "late"):
        here.sync(repo_id, {"force_full": True})
    assert told.take() == []
    for yanked in (None, ""):
        serve(upstream, yanked=yanked)
        here.sync("zoo")
    assert told.take() == [("zoo", "bear", "yanked", None, [FILES[1]])]


@pytest.fixture
def server(tmp_path: Path, upstream: Upstream) -> Iterator[Server]:
    """A server with a repository of two real packages."""
    for version in ("1.0", "1.1"):
        build(tmp_path / "up", "bear", version)
    for file in (tmp_path / "up/dist").iterdir():
        upstream.put(f"files/{file.name}", file.read_bytes())
    serve(upstream, files=WHEELS, status=("archived", "no bears any more"), provenance=ATTESTED)
    with pulpit(tmp_path / "data") as running:
        running.call("POST", f"{API}/repositories/", BODY | {"importer_config": {"feed": upstream.url, **NAMED}})
        running.ended(running.sync("zoo"))
        yield running


WHEELS = ("bear-1.0-py3-none-any.whl", "bear-1.1-py3-none-any.whl")
NAMED = {"package_names": "bear"}
BODY: dict[str, Any] = {
    "id": "zoo",
    "importer_type_id": "python_importer",
    "distributors": [
        {
            "distributor_id": "web",
            "distributor_type_id": "python_distributor",
            "auto_publish": True,
            "distributor_config": {},
        }
    ],
}


def test_pip_and_uv_read_it_and_the_event_comes_once(server: Server, upstream: Upstream, tmp_path: Path) -> None:
    index = f"{server.url}/pulp/python/web/zoo/simple/"
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "download", "--no-deps"]
    uv = str(Path(sys.executable).with_name("uv"))
    until(lambda: published(server) == 2, what="the first publication")
    run(*pip, "--index-url", index, "bear", "-d", str(tmp_path / "by-pip"))
    assert [path.name for path in (tmp_path / "by-pip").iterdir()] == [WHEELS[1]]
    run(uv, "venv", "-q", "-p", sys.executable, str(tmp_path / "by-uv"))
    installing = [uv, "pip", "install", "-q", "-p", str(tmp_path / "by-uv"), "--no-cache", "--index-url", index]
    run(*installing, "bear==1.0")
    serve(upstream, files=(), status=("quarantined", "malware"))

    for _ in range(2):
        server.ended(server.sync("zoo"))

    until(lambda: published(server) == 0, what="a publication without the files")
    for filters in ("event_type=unit.withdrawn", "package=bear&event_type=unit.%23"):
        (event,) = server.call("GET", f"/pulpit/v1/events?{filters}&after=0")["events"]
        body = {key: event[key] for key in ("event_type", "payload", "call_report")}
        jsonschema.validate(body, catalogue.schema("unit.withdrawn"))
        payload = event["payload"]
        assert (event["repo_id"], payload["name"], payload["reason"], payload["count"]) == ("zoo", "bear", "malware", 2)
        assert event["call_report"]["tags"] == ["pulp:repository:zoo", "pulp:action:sync"]
    with pytest.raises(AssertionError, match="No matching distribution"):
        run(*pip, "--index-url", index, "bear", "-d", str(tmp_path / "again"))
    with pytest.raises(AssertionError, match="bear"):
        run(*installing, "bear==1.1")


def published(server: Server) -> int:
    """How many files the page of the project names."""
    request = urllib.request.Request(f"{server.url}/pulp/python/web/zoo/simple/bear/", headers={"Accept": python.JSON})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return len(json.load(answer)["files"])
    except urllib.error.HTTPError:
        return -1
