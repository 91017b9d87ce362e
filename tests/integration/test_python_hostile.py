"""Hostile Python indexes: false data, endless pages, forbidden addresses; each fails clearly and the old tree stays."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pulpit.content.limits import MIB
from pulpit.content.python import distributions
from pulpit.content.python.distributions import parse_filename
from support import python
from support import upstream as serving
from support.mirror import IMPATIENT
from support.python import JSON, PythonMirror
from support.upstream import Upstream

GOOD = b"bear"
DIGEST = hashlib.sha256(GOOD).hexdigest()
PAGE = "simple/bear/"
FOLDERS = {"content", "downloads"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[PythonMirror]:
    with python.python_mirror(tmp_path / "here", IMPATIENT) as one:
        yield one


@pytest.fixture
def published(upstream: Upstream, here: PythonMirror) -> dict[str, bytes]:
    """The good tree that readers see before the upstream turns bad."""
    upstream.put("bear-1.0.tar.gz", GOOD)
    html(upstream, f'<a href="/bear-1.0.tar.gz#sha256={DIGEST}">bear-1.0.tar.gz</a>')
    here.create("zoo", upstream.url, {"package_names": "bear", "remove_missing": True})
    assert here.sync("zoo").error_message is None
    assert here.publish("zoo").result == "success"
    upstream.forget()
    return here.published("zoo")


def html(upstream: Upstream, text: str, kind: str = "text/html") -> None:
    upstream.kinds[PAGE] = kind
    upstream.put(PAGE, f"<html><body>{text}</body></html>".encode())


def json_page(upstream: Upstream, page: Any, kind: str = JSON) -> None:
    upstream.kinds[PAGE] = kind
    upstream.put(PAGE, page if isinstance(page, bytes) else json.dumps(page).encode())


def file(**lies: Any) -> dict[str, Any]:
    good = {"filename": "bear-2.0.tar.gz", "url": "/bear-2.0.tar.gz", "hashes": {"sha256": DIGEST}}
    return {"meta": {"api-version": "1.0"}, "name": "bear", "files": [{**good, **lies}]}


def refused(here: PythonMirror, published: dict[str, bytes], folder: Path) -> str:
    """Sync, and show that nothing changed but the history; answers the reason."""
    before = here.files("zoo")
    outcome = here.sync("zoo")
    assert outcome.result == "failed"
    assert here.files("zoo") == before
    assert here.publish("zoo").result == "skipped"
    assert here.published("zoo") == published
    assert here.leftovers() == []
    assert [path.name for path in folder.iterdir()] == ["here"]
    assert outcome.error_message is not None
    assert "\n" not in outcome.error_message
    assert outcome.error_message.isprintable()
    return outcome.error_message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bear-2.0-py3-none-any%2F..%2F..%2F..%2Fx.whl", "is no name of a file"),
        ("..%2F..%2Fbear-2.0.tar.gz", "is no name of a file"),
        ("bear-2.0%0A.tar.gz", "is no name of a file"),
        ("bear-2.0%00.tar.gz", "is no name of a file"),
        ("bear-2.0%5C..%5Cx.zip", "is no name of a file"),
        ("bear-2.0+" + "x" * 300 + ".tar.gz", "is no name of a file"),
        ("bear-2.0+%C3%A4.tar.gz", "is no name of a file"),
    ],
)
def test_a_name_that_cannot_be_a_files_is_refused(  # noqa: PLR0917 - fixtures
    name: str, reason: str, upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    html(upstream, f'<a href="/{name}#sha256={DIGEST}">x</a>')

    assert reason in refused(here, published, tmp_path)
    assert upstream.paths() == [PAGE, "bear/"]


@pytest.mark.parametrize(
    "link",
    [
        f'<a href="/camel-2.0.tar.gz#sha256={DIGEST}">x</a>',
        f'<a href="/bear-camel-2.0.tar.gz#sha256={DIGEST}">x</a>',
        f'<a href="/bear-2.0.exe#sha256={DIGEST}">x</a>',
        f'<a href="javascript:bear-2.0.tar.gz#sha256={DIGEST}">x</a>',
        f'<a href="file:///etc/bear-2.0.tar.gz#sha256={DIGEST}">x</a>',
        f'<a href="http://[bear-2.0.tar.gz#sha256={DIGEST}">x</a>',
        f'<a href="{"x/" * 2500}bear-2.0.tar.gz#sha256={DIGEST}">x</a>',
        f'<!-- <a href="/bear-2.0.tar.gz#sha256={DIGEST}">x</a> -->',
        f'<script><a href="/bear-2.0.tar.gz#sha256={DIGEST}">x</a></script>',
    ],
)
def test_what_is_no_file_of_the_project_is_not_fetched(
    link: str, upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    html(upstream, link)

    assert "names no file of the project" in refused(here, published, tmp_path)
    assert upstream.paths() == [PAGE, "bear/"]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"{", "no JSON"),
        (b"[]", "no object"),
        (b"[" * 100_000 + b"]" * 100_000, "no JSON"),
        (b'{"files": ' + b"9" * 10_000 + b"}", "no JSON"),
        (b'{"files": [' + b"{}," * 600_000 + b"{}]}", "more than 1000000 values"),
        (b"\xff\xfe{}", "no JSON"),
        (b"", "no JSON"),
        (b"Welcome!", "no JSON"),
        ({"files": {"a": 1}}, "no list of files"),
        ({"files": ["a"]}, "no list of files"),
        ({"meta": {"api-version": "2.0"}, "files": []}, "version '2.0'"),
        ({"meta": {"api-version": 7}, "files": []}, "version '7'"),
        (file(url=None), "no URL"),
        (file(filename=7, url="/x"), "no name"),
        (file(url="ftp://x/bear-2.0.tar.gz"), "no URL"),
        (file(filename="../../bear-2.0.tar.gz"), "is no name of a file"),
        (file(filename="bear-2.0\u202e.tar.gz"), "is no name of a file"),
        (file(hashes={}), "no checksum"),
        (file(hashes={"sha256": "zz"}), "no checksum"),
        (file(hashes={"crc32": "00000000"}), "no checksum"),
        (file(hashes={"shake_128": "00"}), "no checksum"),
        (file(hashes=[DIGEST]), "no checksum"),
        (file(size=10**18), "has more than"),
    ],
)
def test_a_page_of_json_that_cannot_be_is_refused(  # noqa: PLR0917 - fixtures
    page: Any, reason: str, upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    json_page(upstream, page)

    assert reason in refused(here, published, tmp_path)


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("x" * (33 * MIB), "text/html", "larger than the"),
        ("<a " * 100_000, "text/html", "one of its tags"),
        ("<a href='", "text/html", "ends in the middle"),
        ("<!-- ", "text/html", "ends in the middle"),
        ('<meta name="pypi:repository-version" content="3.1"><a href=x>', "text/html", "version '3.1'"),
        ("<a href='https://elsewhere/'>Welcome!</a>", "text/html", "perhaps the feed is no index"),
    ],
)
def test_a_page_of_html_that_cannot_be_is_refused(  # noqa: PLR0917 - fixtures
    text: str,
    kind: str,
    reason: str,
    upstream: Upstream,
    here: PythonMirror,
    published: dict[str, bytes],
    tmp_path: Path,
) -> None:
    html(upstream, text, kind)

    assert reason in refused(here, published, tmp_path)


def test_a_name_with_two_checksums_is_refused(
    upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    links = "".join(f'<a href="/{n}/bear-2.0.tar.gz#sha256={n * 64}">x</a>' for n in "01")
    html(upstream, links)

    assert "is named twice, with different checksums" in refused(here, published, tmp_path)


def test_a_file_of_two_projects_must_be_one(
    upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    for project, digest in (("bear", "0" * 64), ("bear-1", "1" * 64)):
        path = f"simple/{project}/"
        upstream.kinds[path] = "text/html"
        upstream.put(path, f'<a href="/bear-1-1.tar.gz#sha256={digest}">x</a>'.encode())
    here.configure("zoo", package_names="bear,bear-1")

    assert "is named by two projects, with different checksums" in refused(here, published, tmp_path)


@pytest.mark.parametrize("content", [b"beaR", b"bear and more", b""])
def test_a_file_that_is_not_what_the_page_says_is_refused(
    content: bytes, upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    lie = {"hashes": {"sha256": "0" * 64}}
    json_page(upstream, file(**lie, size=len(GOOD)) if content == b"bear and more" else file(**lie))
    upstream.put("bear-2.0.tar.gz", content)

    reason = refused(here, published, tmp_path)
    assert "has another sha256 checksum than announced" in reason or "is larger than" in reason


@pytest.mark.parametrize("status", [404, 410])
def test_a_project_that_is_not_there_is_named(
    status: int, upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    for path in (PAGE, "bear/"):
        upstream.misbehave(path, serving.status(status))

    reason = refused(here, published, tmp_path)
    assert reason.startswith("The feed has no project bear: ")
    assert f"answered with {status}" in reason


def test_endless_redirects_stalls_and_hang_ups_end(
    upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    for behaviour in (serving.redirect(f"/{PAGE}"), serving.stall(b"x" * 100, 10), serving.truncated(b"x" * 100, 10)):
        upstream.misbehave(PAGE, behaviour)
        refused(here, published, tmp_path)


def test_a_list_of_projects_with_an_impossible_name_is_refused(
    upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    here.configure("zoo", package_names="*")
    for name in ("..%2f..%2fx", "-", "a%00", "x" * 300):
        upstream.kinds["simple/"] = "text/html"
        upstream.put("simple/", f'<a href="{name}/">x</a>'.encode())
        assert "is no name of a project" in refused(here, published, tmp_path)


def test_an_index_may_not_swell(
    upstream: Upstream, here: PythonMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    links = "".join(f'<a href="/bear-2.{number}.tar.gz#sha256={DIGEST}">x</a>' for number in range(20))
    html(upstream, links)

    for limits, reason in (({"entries": 19}, "than 19 files"), ({"manifest_bytes": 250}, "than 1000 bytes in all")):
        limited = PythonMirror(replace(here.context, limits=replace(IMPATIENT, **limits)))
        assert reason in refused(limited, published, tmp_path)


def test_texts_of_strangers_stay_texts(upstream: Upstream, here: PythonMirror, published: dict[str, bytes]) -> None:
    evil = '"><script>alert(1)</script>\n\x1b[31m' + "x" * 5000
    json_page(upstream, file(yanked=evil, **{"requires-python": evil, "upload-time": evil}))
    upstream.put("bear-2.0.tar.gz", GOOD)
    here.configure("zoo", include_yanked=True)

    assert here.sync("zoo").error_message is None
    assert here.publish("zoo").result == "success"

    page = here.published("zoo")["simple/bear/index.html"]
    assert b"<script" not in page
    assert b"\x1b" not in page
    assert len(page) < 4000
    assert published


def packed(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_dist", ".dist"), text)
    return content.getvalue()


def taped(*members: tuple[str, bytes], pax: dict[str, str] | None = None) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", pax_headers=pax, compresslevel=1) as archive:
        for name, text in members:
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return content.getvalue()


METADATA = b"Metadata-Version: 2.1\nName: bear\nVersion: 1\n"
WHEEL = "bear-1-py3-none-any.whl"
SDIST = "bear-1.tar.gz"


def read(filename: str, content: bytes, folder: Path, most: int = distributions.MOST_UNPACKED) -> bytes:
    path, named = folder / "archive", parse_filename(filename)
    path.write_bytes(content)
    assert named is not None
    return distributions.read_metadata(path, filename, named, most=most)


def of_negative_size(name: str) -> bytes:
    """A tar whose member says that it has -1 bytes."""
    header = tarfile.TarInfo(name).tobuf()
    return gzip.compress(header[:124] + b"-0000000001\0" + header[136:] + b" " * 1024)


def test_metadata_is_found(tmp_path: Path) -> None:
    assert read(WHEEL, packed(**{"bear-1_dist-info__METADATA": METADATA, "x__y": b""}), tmp_path) == METADATA
    assert read(SDIST, taped(("bear-1/x", b"y" * 3000), ("bear-1/PKG-INFO", METADATA)), tmp_path) == METADATA
    assert read("bear-1.zip", packed(**{"bear-1__PKG-INFO": METADATA}), tmp_path) == METADATA


def zip64(content: bytes, *, members: int | None = None, directory: int | None = None, away: int = 0) -> bytes:
    """An archive as Python writes one of more than 2 GiB: the directory is described a second time, in 64 bits."""
    place = content.rfind(b"PK\5\6") if content else 0
    *_, count, size, start, _ = struct.unpack("<4s4H2LH", content[place:]) if content else [0] * 8
    count, size = count if members is None else members, size if directory is None else directory
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, place + away, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:place] + record + locator + end


def test_metadata_of_a_great_wheel_is_found(tmp_path: Path) -> None:
    wheel = packed(**{"bear-1_dist-info__METADATA": METADATA, "x__y": b""})

    assert read(WHEEL, zip64(wheel), tmp_path) == METADATA


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_metadata_is_found_in_a_folder_of_a_long_name(form: int, tmp_path: Path) -> None:
    project, content = "bear" + "x" * 92, io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", format=form) as archive:
        for path, text in ((f"{project}-1/{'y' * 90}", b"y" * 3000), (f"{project}-1/PKG-INFO", METADATA)):
            info = tarfile.TarInfo(path)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))

    assert read(f"{project}-1.tar.gz", content.getvalue(), tmp_path) == METADATA


@pytest.mark.parametrize(
    ("filename", "content", "reason"),
    [
        (WHEEL, b"", "no zip"),
        (WHEEL, b"PK\5\6" + b"\0" * 10, "broken"),
        (WHEEL, packed(x=b""), "has no files of metadata"),
        (WHEEL, packed(**{"camel-1_dist-info__METADATA": METADATA}), "has no files of metadata"),
        (WHEEL, packed(**{"a__bear-1_dist-info__METADATA": METADATA}), "has no files of metadata"),
        (WHEEL, packed(**{"bear-1_dist-info__METADATA": METADATA, "bear-2_dist-info__METADATA": b""}), "has 2 files"),
        (WHEEL, packed(**{"bear-1_dist-info__METADATA": b" " * (5 * MIB)}), "more than"),
        (WHEEL, packed(**{"bear-1_dist-info__METADATA": METADATA})[:-30], "no zip"),
        (WHEEL, struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 65535, 2**31, 0, 0), "too great a directory"),
        (WHEEL, b"PK\6\7" + b"\0" * 16 + struct.pack("<4s4H2LH", b"PK\5\6", *[0] * 7), "broken"),
        (WHEEL, zip64(b"", members=300_000), "more than 200000 members"),
        (WHEEL, zip64(b"", directory=1 << 40), "too great a directory"),
        (WHEEL, zip64(b"", away=1), "not where it should be"),
        (SDIST, b"", "no PKG-INFO"),
        (SDIST, b"no gzip", "broken"),
        (SDIST, taped(("PKG-INFO", METADATA)), "no PKG-INFO"),
        (SDIST, taped(("a/b/PKG-INFO", METADATA)), "no PKG-INFO"),
        (SDIST, taped(("bear-1/PKG-INFO", b" " * (5 * MIB))), "more than"),
        (SDIST, taped(("bear-1/PKG-INFO", METADATA))[:60], "broken"),
        (SDIST, gzip.compress(b"x" * 600), "broken"),
        (SDIST, of_negative_size("bear-1/PKG-INFO"), "broken"),
        (SDIST, of_negative_size("bear-1/x"), "broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",  # packed bytes hold the time
)
def test_archives_that_lie_have_no_metadata(filename: str, content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(distributions.Unreadable, match=reason):
        read(filename, content, tmp_path)


def test_a_tar_bomb_is_given_up(tmp_path: Path) -> None:
    bomb = taped(("bear-1/zeros", bytes(40 * MIB)), ("bear-1/PKG-INFO", METADATA))

    with pytest.raises(distributions.Unreadable, match="no PKG-INFO"):
        read(SDIST, bomb, tmp_path, most=8 * MIB)


def test_a_long_extended_header_is_passed_over(tmp_path: Path) -> None:
    digits = {"comment": "1" * 200_000}

    assert read(SDIST, taped(("bear-1/PKG-INFO", METADATA), pax=digits), tmp_path) == METADATA
