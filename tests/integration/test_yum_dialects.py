"""Lists of other tools, and damaged ones: what dnf can install from them is mirrored."""

import gzip
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest

from pulpit.errors import InvalidValue
from support import yum
from support.upstream import Upstream
from support.yum import COMPS, HEADS, MODULES, REPOMD, UPDATEINFO, YumMirror, list_of, listed, packages, repodata, serve

pytestmark = pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=str(yum.tools("rpmbuild")))
NEVRAS = ["bear-4.1-1.noarch", "gap-1^20230222.g4d-1.noarch", "lib++-1.0~rc1+git-1.noarch"]
CHECKSUM = r"<(open-)?checksum.*?</(open-)?checksum>"
Texts = dict[str, str]


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return [
        yum.build(folder, "bear", "4.1"),
        yum.build(folder, "gap", "1^20230222.g4d", further="Epoch: 3\n"),
        yum.build(folder, "lib++", "1.0~rc1+git"),
    ]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path_factory.mktemp("many")) as made:
        yield made.impatient_too()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    """With nothing in its storage, so that every package is downloaded."""
    with yum.yum_mirror(tmp_path / "data") as made:
        yield made.impatient_too()


def texts_of(rpms: Sequence[Path], **further: str) -> Texts:
    return {kind: list_of(kind, packages(rpms)) for kind in HEADS} | further


def mirrored(here: YumMirror, feed: str, repo_id: str = "zoo", **config: Any) -> list[dict[str, str]]:
    """Sync and publish; returns what was left out."""
    here.create(repo_id, feed, config)
    outcome = here.sync(repo_id)
    assert (outcome.result, outcome.error_message) == ("success", None)
    published = here.publish(repo_id)
    assert (published.result, published.error_message) == ("success", None)
    left_out: list[dict[str, str]] = (outcome.details or {}).get("left_out", [])
    return left_out


def by_sha1(repomd: str, files: Mapping[str, bytes]) -> str:
    """With the checksums that yum of 2005 wrote, and called `sha`."""
    for content in files.values():
        sha1 = hashlib.new("sha1", content, usedforsecurity=False).hexdigest()
        repomd = repomd.replace(hashlib.sha256(content).hexdigest(), sha1)
    return re.sub(r"<open-checksum.*?</open-checksum>", "", repomd).replace('type="sha256"', 'type="sha"')


@pytest.mark.parametrize(
    "change",
    [
        by_sha1,
        lambda text, _: re.sub(CHECKSUM, "", text),
        lambda text, _: re.sub(r"<size>\d+", "<size>unknown", text),
        lambda text, _: re.sub(r"<size>(\d+)", lambda size: f"<size>{int(size[1]) + 7}", text),
        lambda text, _: re.sub(r"<open-size>\d+", "<open-size>3", text),
        lambda text, _: re.sub(r"(<open-checksum[^>]*>)[0-9a-f]{8}", r"\1deadbeef", text),
        lambda text, _: re.sub(r"<timestamp>1</timestamp><size>\d+</size>", "<timestamp/><size/>", text),
        lambda text, _: text.replace("<timestamp>1<", "<timestamp>99999999999.25<"),
        lambda text, _: re.sub(r">([0-9a-f]{64})<", lambda digest: f">\n  {digest[1].upper()}\n<", text),
        lambda text, _: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text, _: text.replace(' xmlns="http://linux.duke.edu/metadata/repo"', ""),
        lambda text, _: re.sub(r"<(/?)(?!\?)(\w)", r"<\1r:\2", text).replace("xmlns=", "xmlns:r="),
        lambda text, _: text.replace("<repomd", "<!DOCTYPE repomd>\n<repomd", 1),
        lambda text, _: "\n\n" + text.partition("\n")[2],
        lambda text, _: text.replace("<revision>1</revision>", "<revision/><tags><repo>x</repo></tags>"),
        lambda text, _: re.sub(r'(<data type="primary">.*?</data>\n)', r"\1\1", text, flags=re.DOTALL),
        lambda text, _: text.replace('href="repodata/', 'href="./repodata//'),
        lambda text, _: text.replace("<repomd", "<!-- <data/> --><repomd") + "<!-- end -->\n\n",
    ],
    ids=[
        "sha",
        "no checksums",
        "size in words",
        "wrong sizes",
        "wrong open-size",
        "wrong open-checksum",
        "empty elements",
        "year 5138",
        "checksums in upper case on lines of their own",
        "BOM and CRLF",
        "no namespace",
        "prefix",
        "document type",
        "blank lines before",
        "tags and an empty revision",
        "primary twice",
        "dot and two slashes",
        "comments",
    ],
)
def test_a_repomd_of_another_make_is_read(
    change: Callable[[str, Mapping[str, bytes]], str], rpms: list[Path], upstream: Upstream, many: YumMirror
) -> None:
    files, repo_id = listed(packages(rpms)), uuid4().hex
    serve(upstream, files | {REPOMD: change(files[REPOMD].decode(), files).encode()}, rpms)

    assert mirrored(many, upstream.url, repo_id) == []
    assert many.nevras(repo_id) == NEVRAS


def in_primary(old: str, new: str) -> Callable[[Texts], Texts]:
    return lambda texts: texts | {"primary": re.sub(old, new, texts["primary"])}


@pytest.mark.parametrize(
    "change",
    [
        in_primary('type="sha256" pkgid="YES"', 'pkgid="NO" type="SHA256"'),
        in_primary(r"<(time|size)[^>]*/>", ""),
        in_primary(r'<time file="\d+" build="\d+"/>', '<time file="-1" build="-5"/>'),
        in_primary(r"(?s)<format>.*?</format>", ""),
        in_primary('type="rpm"', 'type="RPM"'),
        in_primary('epoch="0"', 'epoch=""'),
        in_primary(r"\A<\?xml.*?\?>\n", '\ufeff<?xml version="1.1"?>\r\n'),
        in_primary("A bear", "A b&#x65;ar &#233; &lt;b&gt;"),
        in_primary('href="bear-', 'href="/./bear-'),
        in_primary('href="bear-', 'href="a b/тест\\\\\\\\bear-'),
        in_primary('href="bear-4.1-1.noarch.rpm"', 'href="pool/0123456789abcdef"'),
        in_primary('href="bear-4.1-1.noarch.rpm"', 'href="bear-4.1-1.noarch.RPM"'),
        in_primary(r'href="gap-1\^', 'href="gap-1%5E'),
        in_primary(r'href="gap-1\^', 'href="gap-3:1^'),
        in_primary(r'href="lib\+\+', 'href="lib%2B%2B'),
        in_primary('href="bear-4.1-1.noarch.rpm"', 'href="bear-4.1-1.noarch.rpm?sig=a%2Fb&amp;e=1"'),
        lambda texts: texts | {"other": re.sub(r'date="\d+"', 'date="-2"', texts["other"])},
        lambda texts: texts | {"other": re.sub(r'author="[^"]*" ', "", texts["other"])},
        lambda texts: texts | {"filelists": texts["filelists"].replace("<file>/usr", '<file type="ghost">//usr')},
    ],
    ids=[
        "SHA256",
        "no times and sizes",
        "times before 1970",
        "no format",
        "RPM",
        "empty epoch",
        "XML 1.1 and BOM",
        "references",
        "path of the host",
        "blanks and letters",
        "no suffix",
        "upper-case suffix",
        "encoded caret",
        "epoch in the name",
        "encoded plus",
        "query",
        "changes before 1970",
        "changes by nobody",
        "ghosts and doubled slashes",
    ],
)
def test_packages_of_another_make_are_taken(
    change: Callable[[Texts], Texts], rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    texts = change(texts_of(rpms))
    serve(upstream, repodata(texts), rpms)
    hrefs = [href.replace("&amp;", "&") for href in re.findall(r'href="([^"]*)"', texts["primary"])]
    for href, rpm in zip(hrefs, rpms, strict=True):
        for spelling in (href, unquote(href)):
            upstream.put(spelling.removeprefix("/./"), rpm.read_bytes())

    assert mirrored(here, upstream.url) == []
    assert here.nevras("zoo") == NEVRAS


OBSOLETE = (
    "---\ndocument: modulemd-obsoletes\nversion: 1\ndata:\n  modified: 2024-01-01T00:00Z\n  module: zoo\n"
    '  stream: "1.10"\n  message: gone\n  eol_date: 2025-01-01T00:00Z\n...\n'
)
UNKNOWN = "---\ndocument: modulemd-zoo\nversion: 1\ndata: {a: 1}\n...\n"
GROUPS = {"package_group": 1, "package_category": 1, "package_environment": 1, "package_langpacks": 1}


@pytest.mark.parametrize(
    ("kind", "text", "held"),
    [
        ("group", "", {}),
        ("group", "<comps/>", {}),
        ("group", "\n".join(COMPS.splitlines()[2:]), GROUPS),
        ("group", COMPS.replace("</comps>", "<blacklist><package name='x'/></blacklist></comps>"), GROUPS),
        ("group", COMPS.replace('type="optional"', 'type="conditional" requires="bear" basearchonly="true"'), GROUPS),
        ("group_gz", gzip.compress(COMPS.encode(), mtime=0).decode("latin-1"), GROUPS),
        ("updateinfo", "", {}),
        ("updateinfo", "<updates/>", {}),
        ("updateinfo", re.sub(r"(?s)(<update .*</update>)", r"\1\1", UPDATEINFO), {"erratum": 1}),
        ("updateinfo", re.sub(r"<update .*>", "<update>", UPDATEINFO), {"erratum": 1}),
        ("modules", "", {}),
        ("modules", "# nothing\n---\n...\n", {}),
        ("modules", "\ufeff" + MODULES.replace("\n", "\r\n"), {"modulemd": 1, "modulemd_defaults": 1}),
        ("modules", MODULES.replace('"1.10"', "1.10"), {"modulemd": 1, "modulemd_defaults": 1}),
        ("modules", MODULES + OBSOLETE, {"modulemd": 1, "modulemd_defaults": 1, "modulemd_obsoletes": 1}),
        ("modules", MODULES + UNKNOWN, {"modulemd": 1, "modulemd_defaults": 1}),
    ],
)
def test_other_lists_of_another_make_are_read(  # noqa: PLR0917 - fixtures
    kind: str, text: str, held: dict[str, int], rpms: list[Path], upstream: Upstream, many: YumMirror
) -> None:
    repo_id = uuid4().hex
    content = text.encode("latin-1" if kind.endswith("_gz") else "utf-8")
    files = listed(packages(rpms))
    record = yum.record(kind, f"repodata/{kind}", content, content)
    files[REPOMD] = files[REPOMD].replace(b"</repomd>", record.encode() + b"</repomd>")
    serve(upstream, files | {f"repodata/{kind}": content}, rpms)

    mirrored(many, upstream.url, repo_id)

    found = [unit.unit.type_id for unit in many.held(repo_id) if unit.unit.type_id != "rpm"]
    assert {type_id: found.count(type_id) for type_id in found} == held


GROUP = """<group><id>animals</id><name>{0}</name><default>true</default><uservisible>true</uservisible>
<packagelist><packagereq type="mandatory">{1}</packagereq><packagereq>camel</packagereq></packagelist></group>"""
ENVIRONMENT = """<environment><id>all</id><name>{0}</name><grouplist><groupid>{1}</groupid></grouplist>{2}</environment>
<category><id>some</id><name>{0}</name><grouplist><groupid>{1}</groupid></grouplist></category>
<langpacks><match name="{1}" install="{1}-%s"/></langpacks>"""


def test_parts_of_comps_with_one_id_are_joined_as_dnf_joins_them(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    """Of files that were pasted together."""
    options = "<optionlist><groupid default='true'>rest</groupid></optionlist>"
    groups = GROUP.format("Animals", "bear") + GROUP.format("Beasts", "gap").replace("camel", " bear ")
    others = ENVIRONMENT.format("All", "animals", "") + ENVIRONMENT.format("Every", "birds", options)
    serve(upstream, listed(packages(rpms), group=f"<comps>{groups}{others}</comps>"), rpms)

    assert mirrored(here, upstream.url) == []

    held = {unit.unit.type_id: unit.unit.metadata for unit in here.held("zoo") if unit.unit.type_id != "rpm"}
    group, environment = held["package_group"], held["package_environment"]
    assert (group["name"], group["mandatory_package_names"]) == ("Animals", ["bear", "camel", "gap"])
    assert (environment["name"], environment["group_ids"]) == ("All", ["animals", "birds"])
    assert environment["options"] == [{"group": "rest", "default": True}]
    assert held["package_category"]["packagegroupids"] == ["animals", "birds"]
    assert [match["name"] for match in held["package_langpacks"]["matches"]] == ["animals", "birds"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (CHECKSUM, "", "has no checksum in repomd.xml"),
        ('type="sha256"', 'type="blake9"', "has a checksum of the unknown type 'blake9'"),
        ('href="[^"]*"', 'href="ftp://x/productid"', "is of the kind ftp, not http"),
        ("<location[^>]*>", "", "has no location"),
    ],
)
def test_a_kept_list_that_cannot_be_had_costs_itself_alone(  # noqa: PLR0917 - fixtures
    old: str, new: str, reason: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    """What is held of it stays, also with `remove_missing`."""
    files = listed(packages(rpms))
    record = yum.record("productid", "repodata/productid", b"first", b"first")
    good = files[REPOMD].replace(b"</repomd>", record.encode() + b"</repomd>")
    serve(upstream, files | {REPOMD: good, "repodata/productid": b"first"}, rpms)
    assert mirrored(here, upstream.url, remove_missing=True) == []
    bad = files[REPOMD].replace(b"</repomd>", re.sub(old, new, record).encode() + b"</repomd>")
    upstream.put(REPOMD, bad)

    outcome = here.sync("zoo")

    assert outcome.error_message is None
    [entry] = (outcome.details or {})["left_out"]
    assert entry["name"] == "the list productid"
    assert reason in entry["reason"]
    assert len(here.held("zoo", "yum_repo_metadata_file")) == 1


def test_a_list_whose_type_is_a_path_is_left_out(rpms: list[Path], upstream: Upstream, many: YumMirror) -> None:
    files = listed(packages(rpms))
    record = yum.record("../x", "repodata/x", b"x", b"x").encode()
    serve(
        upstream, files | {"repodata/x": b"x", REPOMD: files[REPOMD].replace(b"</repomd>", record + b"</repomd>")}, rpms
    )

    [entry] = mirrored(many, upstream.url, repo_id := uuid4().hex)

    assert entry == {"name": "the list ../x", "reason": "has a type that is no plain word"}
    assert many.nevras(repo_id) == NEVRAS


def test_errata_whose_list_cannot_be_had_fail_and_name_the_way_past(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    files = listed(packages(rpms))
    record = yum.record("updateinfo", "repodata/updateinfo", b"", b"").replace("sha256", "blake9")
    serve(upstream, files | {REPOMD: files[REPOMD].replace(b"</repomd>", record.encode() + b"</repomd>")}, rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "unknown type 'blake9'" in str(outcome.error_message)
    assert "put erratum on the type_skip_list" in str(outcome.error_message)
    assert here.sync("zoo", {"type_skip_list": ["erratum"]}).error_message is None


@pytest.mark.parametrize("under", ["zoo", "zoo/repodata/", "zoo/repodata/repomd.xml", "a//b/", "a:/b+c%20d~^/"])
def test_a_feed_is_found_as_people_write_it(under: str, rpms: list[Path], upstream: Upstream, many: YumMirror) -> None:
    root, repo_id = unquote(re.sub(r"/repodata/.*", "", under)).rstrip("/"), uuid4().hex
    serve(upstream, listed(packages(rpms)), rpms, under=f"{root}/")

    mirrored(many, f"{upstream.url}{under}", repo_id)

    assert many.nevras(repo_id) == NEVRAS


@pytest.mark.parametrize("variable", ["$basearch", "$releasever", "${arch}"])
def test_a_feed_with_a_variable_of_dnf_is_refused_when_it_is_set(variable: str, many: YumMirror) -> None:
    with pytest.raises(InvalidValue, match="which dnf fills in; write what it stands for"):
        many.create("zoo", f"https://mirror.example.org/zoo/{variable}/os/")


@pytest.mark.parametrize(
    "path", ["mirrorlist/9/baseos", "x86_64/mirror", "core/mirror.list", "mirrors-zoo.el8", "metalink/9"]
)
def test_a_list_of_mirrors_needs_no_name_that_says_so(
    path: str, rpms: list[Path], upstream: Upstream, many: YumMirror
) -> None:
    """AlmaLinux's, Remi's, Amazon's, ELRepo's; the next sync asks the list first, and then only for what changed."""
    serve(upstream, listed(packages(rpms)), rpms, under="zoo/")
    upstream.put(path, f"ftp://elsewhere/\n{upstream.url}zoo/\n".encode())

    assert mirrored(many, upstream.url + path, repo_id := uuid4().hex) == []
    assert many.nevras(repo_id) == NEVRAS

    upstream.forget()
    assert many.sync(repo_id).error_message is None
    assert upstream.paths() == [path, f"zoo/{REPOMD}"]


@pytest.mark.parametrize("folder", ["metalink", "old-mirrorlists", "packages.txt"])
def test_a_folder_may_be_called_like_a_list_of_mirrors(
    folder: str, rpms: list[Path], upstream: Upstream, many: YumMirror
) -> None:
    serve(upstream, listed(packages(rpms)), rpms, under=f"{folder}/")

    mirrored(many, f"{upstream.url}{folder}/", repo_id := uuid4().hex)

    assert many.nevras(repo_id) == NEVRAS


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("mirrorlist", b"Invalid release/repo/arch combination\n", "it begins with 'Invalid release/repo/arch comb"),
        ("mirrorlist", b"ftp://keeper:secret@elsewhere/\n", "names none that is reached by http or https."),
        ("zoo", b"<html>welcome</html>", "zoo/repodata/repomd.xml was answered with 404 Not Found."),
        ("zoo", b"welcome\n", "zoo/repodata/repomd.xml was answered with 404 Not Found."),
    ],
)
def test_what_is_neither_a_repository_nor_a_list_of_mirrors_is_told_by_what_its_name_says(
    path: str, content: bytes, words: str, upstream: Upstream, many: YumMirror
) -> None:
    upstream.put(path, content)
    many.create(repo_id := uuid4().hex, upstream.url + path)

    outcome = many.sync(repo_id)

    assert outcome.result == "failed"
    assert words in str(outcome.error_message)
    assert "secret" not in str(outcome.error_message)


def test_files_whose_names_begin_with_a_dot_are_published(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    texts = texts_of(rpms)
    texts["primary"] = texts["primary"].replace('href="bear-', 'href=".bear-')
    serve(upstream, repodata(texts), rpms)
    upstream.put(f".{rpms[0].name}", rpms[0].read_bytes())

    assert mirrored(here, upstream.url) == []

    assert f"Packages/b/.{rpms[0].name}" in here.published("zoo")
