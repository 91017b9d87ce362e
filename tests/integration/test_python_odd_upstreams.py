"""Valid but odd indexes, made at random: what pip and uv can install from one, they can install from its mirror.

A few in the suite; `PULPIT_ODD_UPSTREAMS=200` makes so many, and `PULPIT_ODD_SEED=7` begins with that one.
"""

import base64
import gzip
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from packaging.version import Version

from support import python
from support import upstream as serving
from support.asgi import published_app, served
from support.mirror import IMPATIENT
from support.python import JSON, PythonMirror, run
from support.upstream import Upstream

FIRST = int(os.environ.get("PULPIT_ODD_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("PULPIT_ODD_UPSTREAMS", "3")))
NAMES = ("bear", "Polar.Bear", "zoo_keeper", "a-b.c_d")
VERSIONS = ("1.0", "1.1", "2.0+cu118", "2.1rc1", "3.0.post1", "4!1.0", "2024.1", "0.0.1.dev3", "1.2.0")
HTML = ("text/html", "text/html; charset=UTF-8", "TEXT/HTML", "application/vnd.pypi.simple.v1+html")


def wheel(name: str, version: str) -> tuple[str, bytes]:
    """A wheel that can be installed."""
    stem = f"{re.sub('[-_.]+', '_', name)}-{version.replace('-', '_')}"
    content = io.BytesIO()
    files = {
        f"{re.sub('[-_.]+', '_', name).lower()}.py": b"",
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: odd\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    ]
    files[f"{stem}.dist-info/RECORD"] = ("".join(lines) + f"{stem}.dist-info/RECORD,,\n").encode()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{stem}-py3-none-any.whl", content.getvalue()


class Odd:
    """One odd index of one project, in the words of what is odd about it."""

    def __init__(self, seed: int, upstream: Upstream) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._upstream = upstream
        self.name = self._random.choice(NAMES)
        self.versions = self._random.sample(VERSIONS, self._random.randint(1, 5))
        self.form = self._random.choice(["html", "html", "json"])
        self.base = upstream.url

    def maybe(self, chance: float = 0.3) -> bool:
        return self._random.random() < chance

    def serve(self) -> None:
        normal = re.sub("[-_.]+", "-", self.name).lower()
        files = [wheel(self.name, version) for version in self.versions]
        page_path = f"simple/{normal}/"
        if self.maybe():
            self._upstream.misbehave(page_path, serving.status(self._random.choice([401, 403, 404])))
            page_path = f"{normal}/"
        self.base = self._upstream.url + page_path.removesuffix(f"{normal}/")
        entries = [self._entry(*file, page_path) for file in files]
        if self.maybe():
            entries.append(entries[0])
        self._random.shuffle(entries)
        page = self._json(entries) if self.form == "json" else self._html(entries)
        self._put_page(page_path, page)

    def _entry(self, filename: str, content: bytes, page_path: str) -> dict[str, str]:
        folder = self._random.choice(["files", "a b/ü", "x%2Fy", "deep/er", page_path.rstrip("/")])
        escaped = quote(filename, safe=self._random.choice(["+!", "", "+"]))
        query = self._random.choice(["", "", "?token=a%2Fb%3D&x=1", "?"])
        path = f"{quote(folder, safe='/%')}/{escaped}{query}"
        self._upstream.put(unquote(path), content)
        self._upstream.put(unquote(path.removesuffix("?")), content)
        up = "../" * page_path.count("/")
        href = self._random.choice([up + path, "/" + path, self._upstream.url + path, f"./{up}{path}"])
        algorithm = self._random.choice(["sha256", "sha256", "sha512", "md5", "sha1", ""])
        digest = hashlib.new(algorithm, content).hexdigest() if algorithm else ""
        entry = {
            "filename": filename,
            "href": href,
            "algorithm": algorithm,
            "digest": digest,
            "size": str(len(content)),
        }
        if self.maybe():
            entry["requires_python"] = self._random.choice([">=3.8", "<4,>=2.7", ">=3, !=3.0.*", "nonsense"])
        if self.maybe(0.15):
            entry["yanked"] = self._random.choice(["", "broken & <bad>"])
        return entry

    def _html(self, entries: list[dict[str, str]]) -> bytes:
        tag, href = self._random.choice([("a", "href"), ("A", "HREF"), ("a\n", "href")])
        lines = [
            '<a href="../">up</a>',
            "<!-- <a href='x-1.0-py3-none-any.whl'>x</a> -->",
            '<a href="mailto:x@y">m</a>',
        ]
        for entry in entries:
            url = entry["href"] + (f"#{entry['algorithm']}={entry['digest']}" if entry["algorithm"] else "")
            mark = self._random.choice(['"', "'"])
            attributes = f"{href}={mark}{escape(url)}{mark}"
            if "requires_python" in entry:
                attributes += f' data-requires-python="{escape(entry["requires_python"])}"'
            if "yanked" in entry:
                attributes += f' data-yanked="{escape(entry["yanked"])}"'
            lines.append(f"<{tag} {attributes}>{entry['filename']}</a>{self._random.choice(['<br>', '<br/>', ''])}")
        if self.maybe():
            lines.append("".join(f'<a href="../{number}.txt">{number}</a>' for number in range(3000)))
        self._random.shuffle(lines)
        version = self._random.choice(["", "1.0", "1.9"])
        meta = f'<meta name="pypi:repository-version" content="{version}">' if version else ""
        start = self._random.choice(["<!DOCTYPE html>", "<!doctype html public>", "", "<?xml version='1.0'?>"])
        body = "\n".join(lines)
        return f"{start}<html><head>{meta}<title>Links</title></head><body>{body}</body></html>".encode()

    def _json(self, entries: list[dict[str, str]]) -> bytes:
        files = []
        for entry in entries:
            file: dict[str, object] = {"filename": entry["filename"], "url": entry["href"], "hashes": {}}
            if entry["algorithm"]:
                file["hashes"] = {entry["algorithm"]: entry["digest"], "blake9": "00"}
            if "requires_python" in entry:
                file["requires-python"] = entry["requires_python"]
            file["yanked"] = entry.get("yanked") or "yanked" in entry
            if self.maybe():
                file |= {"size": int(entry["size"]), "upload-time": "2024-01-01T00:00:00Z", "provenance": None}
            if self.maybe():
                file |= {"gpg-sig": False, "core-metadata": False, "x-own": [1, {"a": None}]}
            files.append(file)
        page: dict[str, object] = {"name": self.name, "files": files}
        page["meta"] = {"api-version": self._random.choice(["1.0", "1.1", "1.4"]), "_last-serial": 7}
        if self.maybe():
            page |= {"versions": [], "alternate-locations": [], "project-status": {"status": "active"}}
        return json.dumps(page, ensure_ascii=self.maybe(), indent=self._random.choice([None, 2])).encode()

    def _put_page(self, path: str, page: bytes) -> None:
        kind = JSON if self.form == "json" else self._random.choice(HTML)
        if self.maybe(0.2):
            headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
            self._upstream.misbehave(path, serving.body(gzip.compress(page), headers))
        elif self.maybe(0.2):
            self._upstream.put(f"elsewhere/{path}", page)
            self._upstream.kinds[f"elsewhere/{path}"] = kind
            self._upstream.misbehave(path, serving.redirect(f"/elsewhere/{path}"))
            self._move(path, page)
        else:
            self._upstream.put(path, page)
        self._upstream.kinds[path] = kind

    def _move(self, path: str, page: bytes) -> None:
        """Links of a page that redirects lead to are relative to where it is."""
        for name in list(self._upstream.files):
            self._upstream.files.setdefault(f"elsewhere/{name}", self._upstream.files[name])
        del path, page


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[PythonMirror, Callable[[], str]]]:
    with (
        python.python_mirror(tmp_path / "here", IMPATIENT) as here,
        served(published_app(here.context, "python")) as port,
    ):
        yield here, lambda: f"http://127.0.0.1:{port}/pulp/python/web/zoo/simple/"


PIP = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check")


def versions(index: str, name: str, folder: Path) -> set[Version]:
    """The versions that pip would install from an index."""
    command = (*PIP, "index", "versions", "--pre", "--index-url", index, "--json", name)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    assert ended.returncode == 0 or "No matching distribution" in ended.stderr, ended.stderr
    return set(map(Version, json.loads(ended.stdout)["versions"])) if ended.returncode == 0 else set()


def downloaded(index: str, requirement: str, folder: Path) -> dict[str, bytes]:
    """What pip downloads from an index."""
    folder.mkdir()
    run(*PIP, "download", "--pre", "--no-deps", "--no-cache-dir", "--index-url", index, "-d", str(folder), requirement)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def uv(index: str, requirement: str, folder: Path) -> bool:
    """Whether uv installs it from an index; it is stricter than pip, so not from all of them."""
    command = (sys.executable, "-m", "uv", "--no-config", "--no-cache", "pip", "install", "--python", sys.executable)
    options = ("--no-deps", "--prerelease=allow", "--default-index", index, "--target", str(folder), requirement)
    return subprocess.run([*command, *options], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_what_can_be_installed_from_an_odd_index_can_be_installed_from_its_mirror(
    seed: int, published: tuple[PythonMirror, Callable[[], str]], tmp_path: Path
) -> None:
    here, url = published
    with serving.running() as upstream:
        odd = Odd(seed, upstream)
        odd.serve()
        there = versions(odd.base, odd.name, tmp_path)
        config = {"allow_unhashed": True, "include_yanked": True, "prereleases": True}
        here.create("zoo", upstream.url, {"package_names": odd.name, **config})
        outcome = here.sync("zoo")
        assert outcome.error_message is None, f"seed {seed}"
        assert here.publish("zoo").result == "success"
        mirrored = versions(url(), odd.name, tmp_path)
        assert there <= mirrored, f"seed {seed}"
        if there:
            version = sorted(there)[seed % len(there)]
            requirement = f"{odd.name}=={version}"
            original = downloaded(odd.base, requirement, tmp_path / "there")
            assert downloaded(url(), requirement, tmp_path / "ours") == original, f"seed {seed}"
            if uv(odd.base, requirement, tmp_path / "uv there"):
                assert uv(url(), requirement, tmp_path / "uv ours"), f"seed {seed}"
