"""A published index: what pip and uv make of it, and a Pulpit that mirrors a Pulpit."""

import hashlib
import http.client
import json
import sys
import venv
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from pulpit.content.python.python import Python
from support import python
from support.asgi import published_app, served
from support.python import JSON, PythonMirror, build, pypiserver, run

HTML = "application/vnd.pypi.simple.v1+html"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PythonMirror]:
    """A mirror of a real index, published as `zoo`."""
    folder = tmp_path_factory.mktemp("index")
    build(folder, "bear", "1.0")
    build(folder, "bear", "2.0")
    build(folder, "Polar.Bear", "4", dependencies=["bear<2"])
    with pypiserver(folder / "dist") as url, python.python_mirror(folder / "here") as one:
        one.create("zoo", url, {"package_names": "*"})
        assert one.sync("zoo").error_message is None
        assert one.publish("zoo").result == "success"
        yield one


@pytest.fixture(scope="module")
def index(here: PythonMirror) -> Iterator[str]:
    """The URL of the published repository."""
    app = published_app(here.context, "python", respelled=Python().respelled, derived=Python().derived)
    with served(app) as port:
        yield f"http://127.0.0.1:{port}/pulp/python/web/zoo/"


def ask(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request("GET", f"/{path}", headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def page(url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(url, Accept=JSON)[2])
    return found


def pip(folder: Path, *arguments: str) -> str:
    return run(sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", *arguments, cwd=folder)


def test_both_forms_name_the_projects(index: str) -> None:
    status, headers, body = ask(f"{index}simple/")
    assert (status, headers["content-type"], headers["vary"]) == (200, "text/html; charset=utf-8", "Accept")
    assert b'<a href="polar-bear/">polar-bear</a>' in body
    found = page(f"{index}simple/")
    assert found["meta"]["api-version"] == "1.4"
    assert [project["name"] for project in found["projects"]] == ["bear", "polar-bear"]
    assert ask(f"{index}simple/", Accept=HTML)[1]["content-type"] == HTML


def test_a_name_in_another_spelling_leads_to_its_page_below_any_prefix(index: str) -> None:
    for asked, leads_to in {
        "simple/bear": "./bear/",
        "simple/Polar.Bear/": "./../polar-bear/",
        "simple/POLAR__bear?format=x": "./polar-bear/?format=x",
    }.items():
        status, headers, _ = ask(f"{index}{asked}")
        assert (status, headers["location"]) == (301, leads_to)
    for nowhere in ("simple/No.Bear/", "simple/.bear./", "simple/bear/x/", "Polar.Bear/"):
        assert ask(f"{index}{nowhere}")[0] == 404


def test_a_page_says_everything_of_a_file(index: str) -> None:
    found = page(f"{index}simple/polar-bear/")

    assert (found["name"], found["versions"]) == ("polar-bear", ["4"])
    wheel, sdist = found["files"]
    content = ask(urljoin(f"{index}simple/polar-bear/", wheel["url"]))[2]
    metadata = ask(urljoin(f"{index}simple/polar-bear/", wheel["url"]) + ".metadata")[2]
    # Nothing beside these keys: pip 22.3 to 23.1 crash on an object as "dist-info-metadata".
    assert wheel == {
        "filename": "polar_bear-4-py3-none-any.whl",
        "url": "../../packages/source/p/polar-bear/polar_bear-4-py3-none-any.whl",
        "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
        "size": len(content),
        "yanked": False,
        "requires-python": ">=3.8",
        "core-metadata": {"sha256": hashlib.sha256(metadata).hexdigest()},
    }
    assert b"Requires-Dist: bear<2" in metadata
    assert (sdist["filename"], sdist["core-metadata"]) == ("polar_bear-4.tar.gz", False)


class Anchors(HTMLParser):
    """The links of a page, as the standard library reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [dict(attrs)] if tag == "a" else []


def test_both_forms_say_the_same(index: str) -> None:
    anchors = Anchors()
    anchors.feed(ask(f"{index}simple/bear/", Accept=HTML)[2].decode())

    metadata = [file["core-metadata"] for file in page(f"{index}simple/bear/")["files"]]
    assert anchors.found == [
        {
            "href": f"{file['url']}#sha256={file['hashes']['sha256']}",
            "data-requires-python": file["requires-python"],
            **({"data-core-metadata": f"sha256={beside['sha256']}"} if beside else {}),
            **({"data-dist-info-metadata": f"sha256={beside['sha256']}"} if beside else {}),
        }
        for file, beside in zip(page(f"{index}simple/bear/")["files"], metadata, strict=True)
    ]
    assert len(anchors.found) == 4


def test_pip_downloads_what_a_package_needs_and_reads_its_metadata_alone(index: str, tmp_path: Path) -> None:
    said = pip(tmp_path, "download", "-v", "--index-url", f"{index}simple/", "--dest", "got", "polar-bear")

    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == [
        "bear-1.0-py3-none-any.whl",
        "polar_bear-4-py3-none-any.whl",
    ]
    assert ".whl.metadata" in said


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_an_installer_installs_by_hash(installer: str, index: str, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    interpreter = str(tmp_path / "env/bin/python")
    (wheel, *_) = page(f"{index}simple/polar-bear/")["files"]
    bear = next(file for file in page(f"{index}simple/bear/")["files"] if file["filename"].startswith("bear-1.0-"))
    lines = [
        f"{name} --hash=sha256:{file['hashes']['sha256']}\n"
        for name, file in (("polar-bear==4", wheel), ("bear==1.0", bear))
    ]
    (tmp_path / "requirements.txt").write_text("".join(lines))

    wanted = ["--require-hashes", "--index-url", f"{index}simple/", "-r", "requirements.txt"]
    if installer == "pip":
        pip(tmp_path, "--python", interpreter, "install", *wanted)
    else:
        uv = ["-m", "uv", "--no-config", "--cache-dir", str(tmp_path / "cache"), "pip", "install"]
        run(sys.executable, *uv, "--python", interpreter, *wanted, cwd=tmp_path)

    assert run(interpreter, "-m", "polar_bear") == "Polar.Bear 4\n"
    assert run(interpreter, "-m", "bear") == "bear 1.0\n"


def test_pip_takes_an_sdist_too(index: str, tmp_path: Path) -> None:
    wanted = ["--index-url", f"{index}simple/", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "bear"]
    pip(tmp_path, "download", "--dest", "got", *wanted)

    assert [path.name for path in (tmp_path / "got").iterdir()] == ["bear-2.0.tar.gz"]


def test_a_pulpit_mirrors_a_pulpit(index: str, here: PythonMirror, tmp_path: Path) -> None:
    with python.python_mirror(tmp_path / "second") as second:
        second.create("copy", index, {"package_names": "*"})
        assert second.sync("copy").added_count == 6
        second.publish("copy")
        again = second.sync("copy")

        assert again.summary is not None
        assert "SKIPPED" in again.summary.values()
        numbered = {"simple/index.v1_json", "pypi/bear/releases.json", "pypi/polar-bear/releases.json"}
        copied, original = second.published("copy"), here.published("zoo")
        assert copied.keys() == original.keys() >= numbered
        assert {name: copied[name] for name in copied.keys() - numbered} == {
            name: original[name] for name in original.keys() - numbered
        }
