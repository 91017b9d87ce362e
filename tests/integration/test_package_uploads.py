"""twine and uv upload packages to a repository, and pip installs them from it."""

import base64
import hashlib
import http.client
import json
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import API, Server, pulpit
from support.waiting import until

pytestmark = pytest.mark.timeout(300)
HERE = Path(sys.executable).parent


def wheel(folder: Path, name: str, version: str, *, summary: str = "A package") -> Path:
    """A wheel without modules (PEP 427)."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in texts.items():
            archive.writestr(f"{name}-{version}.dist-info/{file}", text)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("uploads") / "data") as server:
        yield server


@pytest.fixture
def repo(served: Server, request: pytest.FixtureRequest) -> str:
    """A repository that publishes by itself."""
    repo_id = f"repo-{abs(hash(request.node.name)) % 10**9}"
    distributor = {
        "distributor_id": "python_distributor",
        "distributor_type_id": "python_distributor",
        "auto_publish": True,
        "distributor_config": {},
    }
    body = {"id": repo_id, "importer_type_id": "python_importer", "importer_config": {}, "distributors": [distributor]}
    served.call("POST", f"{API}/repositories/", {**body, "notes": {"_repo-type": "python"}})
    return repo_id


def events_of(server: Server, repo_id: str) -> list[str]:
    """The types of the events of a repository, in order."""
    found = server.call("GET", f"/pulpit/v1/events?after=0&repo_id={repo_id}&limit=100")["events"]
    return [event["event_type"] for event in found]


def files(server: Server, repo_id: str) -> dict[str, str]:
    """The names of the published files of the project zoo, each with its SHA-256."""
    request = urllib.request.Request(f"{server.url}/pulp/python/web/{repo_id}/simple/zoo/")
    request.add_header("Accept", "application/vnd.pypi.simple.v1+json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return {file["filename"]: file["hashes"]["sha256"] for file in json.loads(answer.read())["files"]}


def send(server: Server, tool: str, repo_id: str, path: Path, *, user: str = "admin", password: str = "") -> Any:
    """Upload a file as a person would."""
    url = f"{server.url}/pulp/python/upload/{repo_id}/"
    login = ["--username", user, "--password", password or server.password]
    commands: dict[str, list[str | Path]] = {
        "twine": [HERE / "twine", "upload", "--non-interactive", "--disable-progress-bar", "--verbose"],
        "uv": [HERE / "uv", "publish", "--trusted-publishing", "never"],
    }
    target = ["--repository-url" if tool == "twine" else "--publish-url", url]
    command = [*commands[tool], *target, *login, path]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("tool", ["twine", "uv"])
def test_a_package_is_published_when_the_tool_ends(served: Server, repo: str, tool: str, tmp_path: Path) -> None:
    path = wheel(tmp_path, "zoo", "1.0")
    done = send(served, tool, repo, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(served, repo) == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    until(lambda: "repo.publish.finish" in events_of(served, repo), what="the event")
    assert [it for it in events_of(served, repo) if it.startswith("repo.publish")] == [
        "repo.publish.start",
        "repo.publish.finish",
    ]


@pytest.mark.parametrize("tool", ["twine", "uv"])
def test_the_same_file_may_come_again_and_another_of_its_name_may_not(
    served: Server, repo: str, tool: str, tmp_path: Path
) -> None:
    path = wheel(tmp_path / "first", "zoo", "1.0")
    for _ in range(2):
        done = send(served, tool, repo, path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert events_of(served, repo).count("repo.publish.start") == 1
    other = wheel(tmp_path / "second", "zoo", "1.0", summary="another")
    done = send(served, tool, repo, other)
    assert done.returncode != 0
    assert "409" in done.stdout + done.stderr
    assert files(served, repo) == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize("tool", ["twine", "uv"])
def test_a_token_for_the_repository_does_as_a_password(served: Server, repo: str, tool: str, tmp_path: Path) -> None:
    path = wheel(tmp_path, "zoo", "1.0")

    def token(*scopes: str) -> Any:
        made = served.call("POST", "/pulpit/v1/tokens", {"name": f"{tool} {scopes}", "scopes": scopes})
        return made["token"]

    for scopes in (["read"], ["publish:other-*"], ["fire"]):
        done = send(served, tool, repo, path, user="__token__", password=token(*scopes))
        assert done.returncode != 0, scopes
        assert "401" in done.stdout + done.stderr
    assert "repo.publish.start" not in events_of(served, repo)
    done = send(served, tool, repo, path, user="__token__", password=token("publish:repo-*"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(files(served, repo)) == [path.name]


@pytest.mark.parametrize("tool", ["twine", "uv"])
def test_who_may_not_is_refused(served: Server, repo: str, tool: str, tmp_path: Path) -> None:
    path = wheel(tmp_path, "zoo", "1.0")
    assert send(served, tool, repo, path, password="wrong").returncode != 0
    login = f"reader-{tool}"
    served.call("POST", f"{API}/users/", {"login": login, "password": "of the reader", "role": "reader"})
    assert send(served, tool, repo, path, user=login, password="of the reader").returncode != 0
    assert "repo.publish.start" not in events_of(served, repo)


def post(server: Server, repo_id: str, body: bytes, kind: str = "multipart/form-data; boundary=b") -> tuple[int, str]:
    """Send a body of one's own."""
    token = base64.b64encode(f"admin:{server.password}".encode()).decode()
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Authorization": f"Basic {token}", "Content-Type": kind}
    line.request("POST", f"/pulp/python/upload/{repo_id}/", body, headers)
    answer = line.getresponse()
    text = answer.read().decode()
    line.close()
    return answer.status, text


def form(content: bytes, filename: str = "zoo-1.0-py3-none-any.whl", **fields: str) -> bytes:
    texts = {":action": "file_upload", "protocol_version": "1", **fields}
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in texts.items()]
    head = f'--b\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    return "".join([*parts, head]).encode() + content + b"\r\n--b--\r\n"


FORM = "multipart/form-data; boundary=b"
NO_FILE = form(b"").partition(b'--b\r\nContent-Disposition: form-data; name="content"')[0] + b"--b--\r\n"
BAD: dict[str, tuple[bytes, str, str]] = {
    "no form": (b"{}", "application/json", "must be a form"),
    "no boundary": (form(b""), "multipart/form-data", "must be a form"),
    "broken off": (form(b"x" * 3000)[:-40], FORM, "ended before its last boundary"),
    "other bytes": (b"not a form at all", FORM, "is no form"),
    "no file": (NO_FILE, FORM, "has no file"),
    "other action": (form(b"x", **{":action": "submit"}), FORM, "must be file_upload"),
    "path as name": (form(b"x", "../../zoo.whl"), FORM, "is no name of a wheel"),
    "other digest": (form(b"x", sha256_digest="0" * 64), FORM, "has another"),
    "no wheel": (form(b"x"), FORM, "is not taken"),
    "two files": (form(b"x").replace(b"--b--\r\n", b"") + form(b"y"), FORM, "several files"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_taken_is_one_sentence_and_leaves_nothing(served: Server, repo: str, case: str) -> None:
    body, kind, sentence = BAD[case]
    status, text = post(served, repo, body, kind)
    assert status == 400, text
    assert sentence in json.loads(text)["error_message"]
    uploads = served.data_dir / "uploads"
    assert [path for path in uploads.rglob("*") if path.is_file()] == []
    assert "repo.publish.start" not in events_of(served, repo)


def test_too_many_fields_and_too_long_ones_are_refused(served: Server, repo: str) -> None:
    fields = {f"classifiers{number}": "x" for number in range(2001)}
    assert post(served, repo, form(b"x", **fields))[0] == 413
    assert post(served, repo, form(b"x", description="x" * (4 * 2**20 + 1)))[0] == 413


def test_a_repository_that_is_not_there_or_holds_others_takes_none(served: Server, repo: str) -> None:
    assert post(served, f"no-{repo}", form(b"x"))[0] == 404
    served.create_iso(f"files-{repo}", "http://127.0.0.1:9/")
    status, text = post(served, f"files-{repo}", form(b"x"))
    assert (status, "holds no Python packages" in text) == (400, True)
