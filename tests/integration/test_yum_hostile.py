"""Hostile yum upstreams: false data, endless lists, forbidden addresses; each fails clearly and the old tree stays."""

import asyncio
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pulpit.content.feed import Feed
from pulpit.content.limits import MIB, Limits
from pulpit.content.port import BadFeed
from pulpit.content.rpm import elements, modules, unpack
from pulpit.content.rpm.lists import PackageList
from pulpit.errors import StorageFull
from pulpit.repositories.download import Downloads
from pulpit.storage.folder import FolderStorage
from pulpit.storage.scratch import Scratch
from support import upstream as serving
from support import yum
from support.upstream import Behaviour, Upstream
from support.yum import COMPS, PACKINGS, REPOMD, UPDATEINFO, YumMirror, repodata, serve

DIGEST = "0" * 64
FOLDERS = {"content", "downloads", "published"}
PACKAGE = b"not really a package"

BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'


def primary(*packages: str, head: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<metadata xmlns="http://linux.duke.edu/metadata/common" '
        f'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(packages)}">{"".join(packages)}</metadata>'
    )


def package(
    *,
    name: str = "bear",
    version: str = "1",
    digest: str = DIGEST,
    kind: str = "sha256",
    href: str = "bear.rpm",
    base: str = "",
    size: str = "20",
    epoch: str = "0",
    summary: str = "",
) -> str:
    return (
        f'<package type="rpm"><name>{name}</name><arch>noarch</arch><version epoch="{epoch}" ver="{version}" rel="1"/>'
        f'<checksum type="{kind}" pkgid="YES">{digest}</checksum><summary>{summary}</summary><description/><packager/>'
        f'<url/><time file="1" build="1"/><size package="{size}" installed="1" archive="1"/>'
        f'<location {base}href="{href}"/><format/></package>'
    )


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path) as one:
        yield one.impatient_too()


@pytest.fixture
def published(upstream: Upstream, here: YumMirror) -> dict[str, bytes]:
    """The good tree that readers see before the upstream turns bad."""
    serve(upstream, repodata({"primary": primary(), "group": COMPS}))
    here.create("zoo", upstream.url, {"remove_missing": True})
    assert here.sync("zoo").result == "success"
    assert here.publish("zoo").result == "success"
    return here.published("zoo")


def refused(here: YumMirror, published: Mapping[str, bytes], folder: Path) -> str:
    """Sync, and show that nothing changed but the history; answers the reason."""
    before = [one.unit.id for one in here.held("zoo")]
    outcome = here.sync("zoo")
    assert outcome.result == "failed"
    assert [one.unit.id for one in here.held("zoo")] == before
    assert here.publish("zoo").result == "skipped"
    assert here.published("zoo") == published
    assert here.leftovers() == []
    assert not [path for path in folder.iterdir() if path.is_dir() and path.name not in FOLDERS]
    assert outcome.error_message is not None
    assert "\n" not in outcome.error_message
    return outcome.error_message


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"href": "//"}, "is empty"),
        ({"href": "a&#9;b.rpm"}, "control characters"),
        ({"href": "x" * 5000 + ".rpm"}, "longer than 4096"),
        ({"base": 'xml:base="ftp://elsewhere/" '}, "of the kind ftp"),
        ({"href": "file:///etc/passwd"}, "of the kind file"),
        ({"name": "../bear"}, "part of a file's name"),
        ({"name": "..", "version": ".."}, "part of a file's name"),
        ({"name": ""}, "has no name"),
        ({"digest": "zz"}, "is no sha256"),
        ({"kind": "crc32"}, "unknown"),
        ({"size": "-5"}, "has a size"),
        ({"size": "99999999999999999999"}, "has a size"),
        ({"epoch": "one"}, "epoch"),
    ],
)
def test_a_package_that_cannot_be_is_refused_before_anything_is_downloaded(  # noqa: PLR0917 - fixtures
    lie: dict[str, str],
    reason: str,
    upstream: Upstream,
    here: YumMirror,
    published: dict[str, bytes],
    tmp_path: Path,
) -> None:
    serve(upstream, repodata({"primary": primary(package(**lie))}))

    assert reason in refused(here, published, tmp_path)
    assert not any(path.endswith(".rpm") for path in upstream.paths())


def test_a_package_that_is_not_what_the_list_says_is_refused(
    upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    serve(upstream, repodata({"primary": primary(package())}))
    upstream.put("bear.rpm", PACKAGE)

    assert "checksum" in refused(here, published, tmp_path)


PLACES = ("repodata/repomd.xml", "repodata/primary.xml.gz", "bear.rpm")


def dripping_head(answering: serving.Answering) -> None:
    """Begin an answer, and go on with a byte now and then."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
        answering.wfile.write(bytes([byte]))
        if answering.upstream.released.wait(0.1):
            break
    answering.hang_up()


MISBEHAVIOURS: dict[str, tuple[Callable[[Upstream, str], Behaviour], str]] = {
    "redirects without end": (
        lambda upstream, path: serving.redirect(upstream.url + path),
        "redirects more than 5 times",
    ),
    "redirects to a file": (
        lambda *_: serving.redirect("file:///etc/passwd"),
        "redirects to something that is no HTTP URL",
    ),
    "nothing": (lambda *_: serving.status(404), "was answered with 404"),
    "a stall": (lambda upstream, path: serving.stall(upstream.files[path], 3), "stalled: nothing came for 0.5 seconds"),
    "a drip": (
        lambda upstream, path: serving.drip(upstream.files[path], pause=0.1),
        "came slower than 1000 bytes per second",
    ),
    "a head that drips": (lambda *_: dripping_head, "did not answer within 2 seconds"),
    "a hang-up": (lambda upstream, path: serving.truncated(upstream.files[path], 3), "ended too early"),
}


@pytest.mark.parametrize("what", MISBEHAVIOURS)
@pytest.mark.parametrize("where", PLACES)
def test_a_server_that_does_not_hand_a_file_over_is_told_by_name(  # noqa: PLR0917 - fixtures
    where: str, what: str, upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    digest = hashlib.sha256(PACKAGE).hexdigest()
    serve(upstream, repodata({"primary": primary(package(digest=digest, size=str(len(PACKAGE))))}))
    upstream.put("bear.rpm", PACKAGE)
    make, reason = MISBEHAVIOURS[what]
    upstream.misbehave(where, make(upstream, where))

    assert refused(here, published, tmp_path).startswith(f"{upstream.url}{where} {reason}")


def test_an_upstream_that_changes_between_its_lists_fails_and_is_healed_by_the_next_sync(
    upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    digest = hashlib.sha256(PACKAGE).hexdigest()
    upstream.put("bear.rpm", PACKAGE)
    serve(upstream, repodata({"primary": primary(package(digest=digest, size=str(len(PACKAGE))))}))
    newer = repodata({"primary": primary(package(name="camel", digest=digest, size=str(len(PACKAGE))))})

    def change(answering: serving.Answering) -> None:
        serve(upstream, newer)
        answering.serve("repodata/primary.xml.gz")

    upstream.misbehave("repodata/primary.xml.gz", change)

    assert "has another sha256 checksum than announced" in refused(here, published, tmp_path)
    assert here.sync("zoo").result == "success"
    assert here.nevras("zoo") == ["camel-1-1.noarch"]


@pytest.mark.parametrize("kind", ["primary", "filelists", "other", "updateinfo", "group"])
def test_entity_bombs_are_refused(
    kind: str, upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    root = {"primary": "metadata", "updateinfo": "updates", "group": "comps", "other": "otherdata"}.get(kind, kind)
    texts = {"primary": primary(package()), kind: f'<?xml version="1.0"?>\n{BOMB}<{root}>&b;</{root}>'}
    serve(upstream, repodata(texts))

    assert "document type" in refused(here, published, tmp_path)


def test_an_entity_bomb_in_repomd_is_refused(
    upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    upstream.put(REPOMD, f'<?xml version="1.0"?>\n{BOMB}<repomd>&b;</repomd>'.encode())

    assert "document type" in refused(here, published, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-7", "utf-32"])
def test_declarations_do_not_hide_in_other_encodings(
    encoding: str, upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    text = primary(package(), head=BOMB).replace("UTF-8", encoding)
    content = text.encode(encoding) if encoding != "utf-7" else text.encode()
    serve(upstream, repodata({"primary": content}))

    assert "refused" in refused(here, published, tmp_path)


@pytest.mark.parametrize("packing", [".gz", ".xz", ".bz2", ".zst"])
def test_a_list_that_swells_is_given_up_while_it_is_opened(
    packing: str, upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    plain = primary(package()).encode() + b" " * (180 * MIB)
    packed = PACKINGS[packing](plain)
    record = yum.record("primary", "repodata/primary", packed, b"12345")
    serve(upstream, {"repodata/primary": packed, REPOMD: yum.repomd(record)})

    reason = refused(here, published, tmp_path)
    assert "opened, it is larger than" in reason or "<metadata>" in reason or "ends in the middle" in reason


@pytest.mark.parametrize("packing", [".gz", ".xz", ".bz2", ".zst"])
def test_a_bomb_that_nobody_announced_stops_at_a_bound(packing: str, tmp_path: Path) -> None:
    if packing == ".gz":
        pytest.skip("gzip cannot swell a thousandfold")
    source, target = tmp_path / "packed", tmp_path / "plain"
    source.write_bytes(PACKINGS[packing](b" " * (100 * MIB)))

    with pytest.raises(BadFeed, match="larger than"):
        unpack.unpack(source, target, "The list")

    assert target.stat().st_size <= 64 * MIB


@pytest.mark.parametrize("packing", [".gz", ".xz", ".bz2", ".zst"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated_lists_are_refused(packing: str, keep: float, tmp_path: Path) -> None:
    plain = b"".join(b"%d bears\n" % number for number in range(20_000))
    packed = PACKINGS[packing](plain)
    source, target = tmp_path / "packed", tmp_path / "plain"
    source.write_bytes(packed[: int(len(packed) * keep)])

    with pytest.raises(BadFeed):
        unpack.unpack(source, target, "The list")


@pytest.mark.parametrize("kind", ["primary", "filelists", "other", "updateinfo", "group", "modules"])
@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_lists_that_end_in_the_middle_are_refused(  # noqa: PLR0917 - fixtures
    kind: str, cut: float, upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    filelists = (
        f'<filelists packages="1"><package pkgid="{DIGEST}" name="bear" arch="noarch"><version/></package></filelists>'
    )
    texts = {
        "primary": primary(package()),
        "filelists": filelists,
        "other": filelists.replace("filelists", "otherdata"),
        "updateinfo": UPDATEINFO,
        "group": COMPS,
        "modules": "---\ndocument: modulemd\ndata: {name: zoo, stream: [[[\n",
    }
    texts[kind] = texts[kind][: int(len(texts[kind]) * cut)] if kind != "modules" else texts[kind]
    if kind != "modules":
        del texts["modules"]
    serve(upstream, repodata(texts))

    refused(here, published, tmp_path)


Change = Callable[[Upstream], None]


def _another_root(upstream: Upstream) -> None:
    upstream.put(REPOMD, b"<html><body>Welcome!</body></html>")


def _no_primary(upstream: Upstream) -> None:
    upstream.put(REPOMD, yum.repomd(""))


def _list_that_leads_nowhere(upstream: Upstream) -> None:
    upstream.put(REPOMD, yum.repomd(yum.record("primary", "/", b"", b"")))


def _list_elsewhere(upstream: Upstream) -> None:
    record = yum.record("primary", "p", b"", b"").replace("<location ", '<location xml:base="ftp://elsewhere/" ')
    upstream.put(REPOMD, yum.repomd(record))


def _list_of_another_checksum(upstream: Upstream) -> None:
    files = repodata({"primary": primary()})
    serve(upstream, files | {"repodata/primary.xml.gz": gzip.compress(b"changed")})


def _list_that_is_gone(upstream: Upstream) -> None:
    upstream.put(REPOMD, yum.repomd(yum.record("primary", "repodata/gone", b"x", b"x")))


def _too_large_repomd(upstream: Upstream) -> None:
    upstream.put(REPOMD, b"<repomd>" + b" " * (5 * MIB) + b"</repomd>")


def _huge_size(upstream: Upstream) -> None:
    record = yum.record("primary", "p", b"", b"").replace("<size>0<", "<size>999999999999<")
    upstream.put(REPOMD, yum.repomd(record))


@pytest.mark.parametrize(
    "change",
    [
        _another_root,
        _no_primary,
        _list_that_leads_nowhere,
        _list_elsewhere,
        _list_of_another_checksum,
        _list_that_is_gone,
        _too_large_repomd,
        _huge_size,
    ],
)
def test_a_repomd_that_cannot_be_is_refused(
    change: Change, upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    change(upstream)

    refused(here, published, tmp_path)


def test_yaml_aliases_and_towers_are_refused(tmp_path: Path) -> None:
    aliases = "document: modulemd\ndata: {name: &a zoo, stream: *a}\n"
    towers = ["document: modulemd\ndata: " + "[" * height + "]" * height + "\n" for height in (65, 5000)]
    path = tmp_path / "modules.yaml"
    for text in (aliases, *towers):
        path.write_text(text)
        with pytest.raises(BadFeed, match=r"aliases, or is nested|maximum nesting depth"):
            list(modules.units(path, lambda _: None))


def test_towers_of_elements_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "comps.xml"
    path.write_text("<comps>" + "<a>" * 5000 + "</a>" * 5000 + "</comps>")

    with pytest.raises(BadFeed, match="nested more than"):
        list(elements.children(path, "comps", "comps"))


@pytest.mark.parametrize(
    "filling",
    [
        "x" * 1000,
        "<!--</package>-->" + "x" * 1000,
        "<![CDATA[</package>]]>",
        "<?x </package>?>" + "x" * 1000,
    ],
)
def test_a_package_without_end_is_refused(filling: str, tmp_path: Path) -> None:
    path = tmp_path / "primary.xml"
    path.write_text("<metadata><package>" + filling * (66 * MIB // len(filling)) + "</package></metadata>")

    with pytest.raises(BadFeed, match="one of its packages"):
        list(PackageList(path, "primary"))


def test_a2_elements_of_very_many_attributes_do_not_hold_a_worker(
    upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    attributes = " ".join(f'a{number}=""' for number in range(400_000))
    endless = package().replace("<description/>", f"<description {attributes}/>")
    serve(upstream, repodata({"primary": primary(endless)}))

    assert "more than 100 attributes" in refused(here, published, tmp_path)


def test_a2_such_elements_do_not_reach_those_who_read_errata_from_us(
    upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    attributes = " ".join(f'a{number}=""' for number in range(101))
    endless = UPDATEINFO.replace("<description>", f"<description {attributes}>")
    serve(upstream, repodata({"primary": primary(), "updateinfo": endless}))

    assert "more than 100 attributes. To mirror the rest without it, put erratum" in refused(here, published, tmp_path)


def test_equals_signs_are_no_attributes(tmp_path: Path) -> None:
    path = tmp_path / "primary.xml"
    path.write_text(primary(package(summary="<![CDATA[" + "= " * 500 + "]]>", href="x?" + "=" * 200)))
    of_list = PackageList(path, "primary")

    assert [of_list.text(entry).count("=") > 500 for entry in of_list] == [True]


def test_many_packages_are_not_one_without_end(tmp_path: Path) -> None:
    path = tmp_path / "primary.xml"
    path.write_text("<metadata>" + "<package>bear</package>" * 200_000 + "</metadata>")

    assert len(list(PackageList(path, "primary"))) == 200_000


def test_a_package_in_a_package_is_refused(
    upstream: Upstream, here: YumMirror, published: dict[str, bytes], tmp_path: Path
) -> None:
    nested = package().replace("<description/>", "<description>x<package></package>x</description>")
    serve(upstream, repodata({"primary": primary(nested)}))

    assert "a package in a package" in refused(here, published, tmp_path)


def test_a_full_disk_is_told_in_a_sentence(upstream: Upstream, tmp_path: Path) -> None:
    def fill() -> None:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    async def work() -> None:
        feed = Feed.of({"feed": upstream.url})
        assert feed is not None
        storage, scratch = FolderStorage(tmp_path / "content"), Scratch(tmp_path)
        scratch.prepare()
        async with Downloads(feed, storage, scratch, Limits()) as downloads:
            await downloads.aside(fill)

    with pytest.raises(StorageFull, match="The disk is full"):
        asyncio.run(work())


def test_a_list_that_is_an_archive_is_refused(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../x"))
    path = tmp_path / "list"
    for content in (archive.getvalue(), zipped()):
        path.write_bytes(content)
        with pytest.raises(BadFeed, match="not XML"):
            unpack.prolog(path, "The list")


def zipped() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../../x", "x")
    return archive.getvalue()
