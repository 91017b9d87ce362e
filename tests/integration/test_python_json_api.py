"""The JSON API of a published index, and bandersnatch, which mirrors by it."""

import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import python
from support.server import API, Server, pulpit
from support.upstream import Upstream, running
from support.waiting import until

BANDERSNATCH = Path(sys.executable).with_name("bandersnatch")
UPLOADED = "2024-05-06T07:08:09.123456Z"


@dataclass
class Zoo:
    """A server with a repository of the packages that its upstream has; a file's time is known of the wheels."""

    server: Server
    upstream: Upstream
    files: dict[str, list[str]] = field(default_factory=dict)

    def offer(self, project: str, built: list[Path], **said: Any) -> None:
        for path in built:
            self.upstream.put(f"files/{path.name}", path.read_bytes())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            entry = {"filename": path.name, "url": f"../../files/{path.name}", "hashes": {"sha256": digest}, **said}
            if path.suffix == ".whl":
                entry["upload-time"] = UPLOADED
            self.files.setdefault(project, []).append(json.dumps(entry))
        self.put(f"simple/{project}/", f'"name":"{project}","files":[{",".join(self.files[project])}]')
        listed = ",".join(f'{{"name":"{name}"}}' for name in self.files)
        self.put("simple/", f'"projects":[{listed}]')

    def put(self, path: str, members: str) -> None:
        self.upstream.put(path, f'{{"meta":{{"api-version":"1.1"}},{members}}}'.encode())
        self.upstream.kinds[path] = python.JSON

    def sync(self, files: int) -> None:
        """Sync, and wait until as many files are published."""
        self.server.ended(self.server.sync("zoo"))
        until(lambda: self.published() == files, what="the publication")

    def published(self) -> int:
        try:
            names = [project["name"] for project in self.get("simple/")[0]["projects"]]
            return sum(len(self.get(f"simple/{name}/")[0]["files"]) for name in names)
        except urllib.error.HTTPError:
            return -1

    def get(self, path: str, root: str = "/pulp/python", **headers: str) -> tuple[Any, dict[str, str]]:
        headers = {"Accept": f"{python.JSON}, application/json", **headers}
        request = urllib.request.Request(f"{self.server.url}{root}/web/zoo/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer), {name.lower(): text for name, text in answer.headers.items()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("packages")
    built = {f"bear-{version}": python.build(folder, "bear", version) for version in ("1.0", "1.1", "2.0rc1")}
    return built | {"camel-4": python.build(folder, "camel", "4")}


@pytest.fixture
def zoo(tmp_path: Path, packages: dict[str, list[Path]]) -> Iterator[Zoo]:
    with running() as upstream, pulpit(tmp_path / "data") as server:
        zoo = Zoo(server, upstream)
        zoo.offer("bear", packages["bear-1.0"], yanked="it bites")
        zoo.offer("bear", packages["bear-1.1"] + packages["bear-2.0rc1"])
        zoo.offer("camel", packages["camel-4"])
        distributor = {"distributor_id": "web", "distributor_type_id": "python_distributor", "auto_publish": True}
        importer = {"feed": upstream.url, "package_names": "*", "include_yanked": True, "prereleases": True}
        body = {"id": "zoo", "importer_type_id": "python_importer", "importer_config": importer}
        server.call("POST", f"{API}/repositories/", body | {"distributors": [distributor | {"distributor_config": {}}]})
        zoo.sync(8)
        yield zoo


def test_a_document_says_everything_of_a_project_or_a_version(zoo: Zoo) -> None:
    project, headers = zoo.get("pypi/bear/json")

    assert list(project["releases"]) == ["1.0", "1.1", "2.0rc1"]
    assert (project["info"]["version"], project["info"]["yanked"]) == ("1.1", False)
    assert project["info"]["summary"] == "The bear & nothing but the bear"
    assert project["urls"] == project["releases"]["1.1"]
    wheel, sdist = project["urls"]
    assert (wheel["upload_time_iso_8601"], wheel["upload_time"]) == (UPLOADED, "2024-05-06T07:08:09")
    assert (wheel["packagetype"], wheel["python_version"], wheel["requires_python"]) == ("bdist_wheel", "py3", ">=3.8")
    assert (sdist["packagetype"], sdist["python_version"]) == ("sdist", "source")
    assert sdist["upload_time_iso_8601"] == "1970-01-01T00:00:00.000000Z"
    for file in (wheel, sdist):
        assert file["url"].startswith(f"{zoo.server.url}/pulp/python/web/zoo/packages/source/b/bear/")
        with urllib.request.urlopen(file["url"], timeout=60) as answer:
            content = answer.read()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["digests"]["sha256"])
    serials = {listed["name"]: listed["_last-serial"] for listed in zoo.get("simple/")[0]["projects"]}
    assert project["last_serial"] == serials["bear"] == int(headers["x-pypi-last-serial"])
    assert headers["content-type"] == "application/json"
    version, _ = zoo.get("pypi/Bear/1.0.0/json")
    assert "releases" not in version
    assert [file["yanked_reason"] for file in version["urls"]] == ["it bites", "it bites"]
    assert (version["info"]["version"], version["info"]["yanked_reason"]) == ("1.0", "it bites")
    for nothing in ("pypi/bear/9/json", "pypi/bear/x/json", "pypi/lynx/json", "pypi/json", "pypi/bear/1.0/x/json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            zoo.get(nothing)
    with pytest.raises(urllib.error.HTTPError, match="304"):
        zoo.get("pypi/bear/json", **{"If-None-Match": headers["etag"]})


def test_the_urls_are_those_of_the_client(zoo: Zoo) -> None:
    seen = {"Host": "index.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/mirrors/"}
    document, headers = zoo.get("pypi/camel/json", **seen)
    place = "web/zoo/packages/source/c/camel/camel-4-py3-none-any.whl"
    assert document["urls"][0]["url"] == f"https://index.example.org/mirrors/pulp/python/{place}"
    assert headers["vary"] == "X-Forwarded-Prefix"
    document, _ = zoo.get("pypi/camel/json", **{"X-Forwarded-Prefix": "/x?y=<b>"})
    assert document["urls"][0]["url"] == f"{zoo.server.url}/pulp/python/{place}"
    document, _ = zoo.get("pypi/camel/json", root="/packages")
    assert document["urls"][0]["url"] == f"{zoo.server.url}/packages/{place}"


def test_what_changed_is_told_by_xml_rpc(zoo: Zoo) -> None:
    index = f"{zoo.server.url}/pulp/python/web/zoo"
    connected: Any = xmlrpc.client.ServerProxy(f"{index}/pypi")
    with connected as calls:
        serials = calls.list_packages_with_serial()
        assert calls.list_packages() == list(serials) == ["bear", "camel"]
        last = calls.changelog_last_serial()
        assert last == max(serials.values()) > 1
        assert calls.changelog_since_serial(last) == []
        assert sorted(change[0] for change in calls.changelog_since_serial(1)) == ["bear", "camel"]
        for method, arguments, said in (
            ("search", ({"name": "bear"},), "Only these methods are offered: changelog_last_serial, "),
            ("list_packages", (1, 2, 3), "other arguments"),
            ("changelog_since_serial", ("x",), "other arguments"),
        ):
            with pytest.raises(xmlrpc.client.Fault, match=said):
                getattr(calls, method)(*arguments)
    for body, said in (
        (b"<methodCall/>", "no call"),
        (b"nothing", "no call"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]>', "no call"),
    ):
        with (
            urllib.request.urlopen(f"{index}/pypi", data=body, timeout=60) as answer,
            pytest.raises(Exception, match=said),
        ):
            xmlrpc.client.loads(answer.read())
    for path, length, status in (("pypi", 20_000, 413), ("simple/", 1, 405), ("pypi/bear/json", 1, 405)):
        with pytest.raises(urllib.error.HTTPError, match=str(status)):
            urllib.request.urlopen(f"{index}/{path}", data=b"x" * length, timeout=60)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{zoo.server.url}/pulp/python/web/other/pypi", data=b"x", timeout=60)


@pytest.mark.skipif(not BANDERSNATCH.exists(), reason="bandersnatch is not installed (the extra test has it)")
@pytest.mark.parametrize("method", ["simple", "xmlrpc"])
def test_bandersnatch_mirrors_what_changed(
    method: str, zoo: Zoo, packages: dict[str, list[Path]], tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    configuration = tmp_path / "bandersnatch.conf"
    configuration.write_text(
        f"[mirror]\ndirectory = {mirror}\nmaster = {zoo.server.url}/packages/web/zoo\nallow-non-https = true\n"
        f"api-method = {method}\njson = true\nworkers = 2\ntimeout = 60\nstop-on-error = true\n"
    )

    def run() -> str:
        command = [str(BANDERSNATCH), "-c", str(configuration), "mirror"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "2 packages had changes" in run()
    assert "0 packages had changes" in run()
    zoo.upstream.put("simple/camel/", b"")
    zoo.files["camel"] = []
    zoo.offer("camel", packages["camel-4"], yanked="it spits")
    zoo.server.ended(zoo.server.sync("zoo"))
    until(lambda: zoo.get("pypi/camel/json")[0]["urls"][0]["yanked"], what="the publication")
    assert "1 packages to sync" in run()

    page = json.loads((mirror / "web/simple/camel/index.v1_json").read_text())
    assert [(file["filename"], file["yanked"]) for file in page["files"]] == [
        ("camel-4-py3-none-any.whl", True),
        ("camel-4.tar.gz", True),
    ]
    for path in (path for built in packages.values() for path in built):
        (copy,) = mirror.rglob(path.name)
        assert copy.read_bytes() == path.read_bytes()
