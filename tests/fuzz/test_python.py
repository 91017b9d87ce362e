"""Any bytes as an index or a distribution: parsed, or rejected in one sentence."""

import contextlib
import gzip
import html
import io
import json
import zipfile
from pathlib import Path
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulpit.content.port import BadFeed
from pulpit.content.python import distributions, index
from pulpit.content.python.index import IndexPage
from pulpit.content.python.markup import BadMarkup, start_tags
from support.mutated_bytes import spoiled

GENTLE = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

LINK = (
    '<!DOCTYPE html><html><head><base href="/x/"><meta name="pypi:repository-version" content="1.0"></head><body>'
    f'<a href="../bear-1.0.tar.gz#sha256={"0" * 64}" data-requires-python="&gt;=3" data-yanked=bad>bear</a><!-- > -->'
    "<script>'<a href=x>'</script><a href='bear-1.0-py3-none-any.whl#md5=x'>w</a></body></html>"
).encode()
DETAIL = json.dumps(
    {
        "meta": {"api-version": "1.1"},
        "name": "bear",
        "files": [
            {
                "filename": "bear-1.0.tar.gz",
                "url": "x",
                "hashes": {"sha256": "0" * 64},
                "yanked": False,
                "size": 1,
                "upload-time": "2024-01-01T00:00:00Z",
            }
        ],
        "projects": [{"name": "bear"}],
    }
).encode()
METADATA = b"Metadata-Version: 2.1\nName: bear\nVersion: 1\nRequires-Dist: camel (>1)\nProject-URL: a, b\n\nLong.\n"


def page(content: bytes, media_type: str) -> IndexPage:
    return IndexPage(content=content, media_type=media_type, url="http://i/simple/bear/", subject="The page of bear")


@GENTLE
@given(content=spoiled(LINK, DETAIL), media_type=st.sampled_from(["text/html", "application/json", "x/y", ""]))
def test_any_page(content: bytes, media_type: str) -> None:
    with contextlib.suppress(BadFeed):
        for entry in index.read_project(page(content, media_type), "bear").files:
            assert distributions.is_usable(entry.filename)
            assert "/" not in entry.filename
            assert entry.url.startswith(("http://", "https://"))
            assert "\n" not in f"{entry.yanked}{entry.requires_python}"
    with contextlib.suppress(BadFeed):
        for project in index.read_root(page(content, media_type)).projects:
            assert distributions.project_name(project) == project


@GENTLE
@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_value_anywhere_in_json(value: object) -> None:
    document = json.loads(DETAIL)
    for holder, key in [
        *((document["files"][0], key) for key in (*document["files"][0], "requires-python")),
        (document["meta"], "api-version"),
        (document, "files"),
        (document, "meta"),
        (document["projects"][0], "name"),
    ]:
        before = holder.get(key)
        holder[key] = value
        content = json.dumps(document).encode()
        for read in (lambda found: index.read_project(found, "bear"), index.read_root):
            with contextlib.suppress(BadFeed):
                read(page(content, "application/json"))
        holder[key] = before


@GENTLE
@given(name=st.text(), project=st.text() | st.none())
def test_any_name(name: str, project: str | None) -> None:
    for end in ("", ".whl", ".tar.gz", "-py3-none-any.whl"):
        found = distributions.parse_filename(name + end, project)
        assert found is None or (
            distributions.is_usable(name + end) and distributions.project_name(found.project) == found.project
        )


attributes = st.dictionaries(st.from_regex(r"[a-z][a-z-]{0,9}", fullmatch=True), st.text(max_size=30), max_size=4)


def written(name: str, found: dict[str, str]) -> str:
    inner = "".join(f' {key}="{html.escape(value)}"' for key, value in found.items())
    return f"<{name}{inner}>text</{name}>"


@GENTLE
@given(tags=st.lists(st.tuples(st.sampled_from(["a", "p", "br", "meta"]), attributes), max_size=5))
def test_what_is_written_well_is_read_as_it_is(tags: list[tuple[str, dict[str, str]]]) -> None:
    def plain(value: str) -> str:
        return html.unescape(html.escape(value))

    page = "".join(written(name, found) for name, found in tags)
    expected = [(name, {key: plain(value) for key, value in found.items()}) for name, found in tags]
    assert [(tag.name, dict(tag.attributes)) for tag in start_tags(page)] == expected


@pytest.mark.parametrize(
    "piece",
    ["<a ", "<!", "<!--", "</", "<a href='", "<a\n=", "<a/", "<a =", "<script>", "&#1", "<a b='c'>", "<?", "\n"],
)
def test_time_grows_with_the_page_and_no_faster(piece: str) -> None:
    def seconds(size: int) -> float:
        text, began = piece * (size // len(piece)), process_time()
        with contextlib.suppress(BadMarkup):
            for _ in start_tags(text):
                pass
        return process_time() - began

    assert seconds(2**19) < 10


@GENTLE
@given(content=spoiled(METADATA))
def test_any_metadata(content: bytes) -> None:
    found = distributions.metadata_fields(content)

    json.dumps(found)
    assert set(found) == {"name", "version", *distributions.METADATA_FIELDS}


def wheel() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bear.py", "")
        archive.writestr("bear-1.dist-info/METADATA", METADATA)
    return content.getvalue()


def block(name: bytes, size: int) -> bytes:
    header = name.ljust(124, b"\0") + b"%011o\0" % size
    return header.ljust(156, b"\0") + b"0".ljust(356, b"\0")


TAR = block(b"bear-1/x", 5) + b"hello".ljust(512, b"\0") + block(b"bear-1/PKG-INFO", len(METADATA)) + METADATA


@GENTLE
@given(content=spoiled(wheel()), taped=spoiled(TAR))
def test_any_archive(content: bytes, taped: bytes, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    for name, data in (
        ("bear-1-py3-none-any.whl", content),
        ("bear-1.zip", content),
        ("bear-1.tar.gz", gzip.compress(taped, 1)),
        ("bear-1.tar.gz", content),
        ("bear-1.tar.bz2", content),
    ):
        named = distributions.parse_filename(name)
        assert named is not None
        path.write_bytes(data)
        with contextlib.suppress(distributions.Unreadable):
            distributions.metadata_fields(distributions.read_metadata(path, name, named))


def test_a_well_made_tar_is_read(tmp_path: Path) -> None:
    path, named = tmp_path / "archive", distributions.parse_filename("bear-1.tar.gz")
    path.write_bytes(gzip.compress(TAR))
    assert named is not None

    assert distributions.read_metadata(path, "bear-1.tar.gz", named) == METADATA
