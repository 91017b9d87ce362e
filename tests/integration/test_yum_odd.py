"""Odd yum upstreams that dnf can read: what can be installed is mirrored, the rest is reported."""

import bz2
import gzip
import hashlib
import lzma
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from support import upstream as serving
from support import yum
from support.upstream import Upstream, status
from support.yum import COMPS, MODULES, REPOMD, UPDATEINFO, YumMirror, list_of, listed, packages, repodata, serve

pytestmark = pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=str(yum.tools("rpmbuild")))
SKIPPABLE_FRAME = b"\x5a\x2a\x4d\x18\x05\x00\x00\x00abcde"


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return [
        yum.build(folder, "bear", "4.1"),
        yum.build(folder, "bear", "4.2"),
        yum.build(folder, "camel", "1.0", further="Requires: bear >= 4.1\n"),
    ]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path / "data") as one:
        yield one.impatient_too()


def mirrored(here: YumMirror, upstream: Upstream, **config: Any) -> list[str]:
    """Sync and publish; returns what the repository holds."""
    here.create("zoo", upstream.url, config)
    outcome = here.sync("zoo")
    assert (outcome.result, outcome.error_message) == ("success", None)
    published = here.publish("zoo")
    assert (published.result, published.error_message) == ("success", None)
    return here.nevras("zoo")


def published_list(here: YumMirror, kind: str) -> str:
    (path,) = here.root("zoo").glob(f"repodata/*-{kind}.gz")
    return gzip.decompress(path.read_bytes()).decode()


ALL = ["bear-4.1-1.noarch", "bear-4.2-1.noarch", "camel-1.0-1.noarch"]


@pytest.mark.parametrize("kind", ["filelists", "other"])
@pytest.mark.parametrize("kept", [[], [0], [0, 1], [0, 2], [1, 2], [2, 1, 0], [0, 0, 1, 2], [0, 1, 2, 2]], ids=str)
@pytest.mark.parametrize("announced", [None, 3])
def test_a1_a2_a6_lists_that_lack_repeat_or_reorder_packages_are_filled_from_the_packages(  # noqa: PLR0917 - fixtures
    kind: str, kept: list[int], announced: int | None, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    further = {kind: list_of(kind, [found[index] for index in kept], announced=announced)}
    serve(upstream, listed(found, **further), rpms)

    assert mirrored(here, upstream, remove_missing=True) == ALL

    filelists, other = published_list(here, "filelists.xml"), published_list(here, "other.xml")
    assert filelists.count("<file>/usr/share/zoo/") == 3
    assert other.count("it grew") == 3


def test_a2_packages_that_only_filelists_has_are_not_believed(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    serve(upstream, listed(found[:2], filelists=list_of("filelists", found)), rpms[:2])

    assert mirrored(here, upstream) == ALL[:2]


def test_lists_that_repomd_does_not_name_are_made_of_the_packages(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    serve(upstream, repodata({"primary": list_of("primary", packages(rpms))}), rpms)

    assert mirrored(here, upstream) == ALL
    assert published_list(here, "filelists.xml").count("<file>/usr/share/zoo/") == 3


def test_a1_a_primary_list_that_announces_more_than_it_has_removes_nothing(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    serve(upstream, listed(found), rpms)
    mirrored(here, upstream, remove_missing=True)
    before = here.published("zoo")
    for short in ([], found[:2]):
        serve(upstream, listed(found, primary=list_of("primary", short, announced=3)))
        outcome = here.sync("zoo")
        assert outcome.result == "failed"
        assert f"announces 3 packages and has {len(short)}" in str(outcome.error_message)
        assert here.nevras("zoo") == ALL
    here.publish("zoo")
    assert here.published("zoo") == before


def test_a1_a_primary_list_that_others_contradict_empties_nothing(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    serve(upstream, listed(found), rpms)
    mirrored(here, upstream, remove_missing=True)
    serve(upstream, listed(found, primary=list_of("primary", [], announced=0)))

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "--allow-empty" in str(outcome.error_message)
    serve(upstream, listed([]))
    assert here.sync("zoo").result == "success"
    assert here.nevras("zoo") == []


def test_a_primary_list_with_more_packages_than_it_announces_is_read_as_dnf_reads_it(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    serve(upstream, listed(found, primary=list_of("primary", found, announced=0)), rpms)

    assert mirrored(here, upstream) == ALL


@pytest.mark.parametrize("how", ["folder", "no slash", "relative", "itself", "list", "up"])
def test_a7_packages_and_lists_elsewhere_are_fetched_from_there_and_published_here(
    how: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    with serving.running() as elsewhere:
        base = {
            "folder": f"{elsewhere.url}deep/",
            "no slash": f"{elsewhere.url}deep",
            "relative": "deep/",
            "itself": upstream.url,
            "list": f"{elsewhere.url}deep/",
            "up": "../other/deep/",
        }[how]
        files = listed(packages(rpms))
        if how == "list":
            text = files[REPOMD].decode().replace("<location ", f'<location xml:base="{base}" ')
            serve(upstream, {REPOMD: text.encode()}, rpms, under="zoo/")
            serve(elsewhere, {path: data for path, data in files.items() if path != REPOMD}, under="deep/")
        else:
            found = packages(rpms)
            for package in found:
                package.location_base = base
            serve(upstream, listed(found), under="zoo/")
            if how in {"folder", "no slash"}:
                serve(elsewhere, {}, rpms, under="deep/")
            else:
                serve(upstream, {}, rpms, under={"relative": "zoo/deep/", "itself": "", "up": "other/deep/"}[how])
        here.create("zoo", f"{upstream.url}zoo/", {"basic_auth_username": "joe", "basic_auth_password": "secret"})

        assert here.sync("zoo").result == "success"
        assert here.publish("zoo").result == "success"

        assert here.nevras("zoo") == ALL
        assert "xml:base" not in published_list(here, "primary.xml")
        assert any("Authorization" in headers for _, headers in upstream.asked)
        assert not any("Authorization" in headers for _, headers in elsewhere.asked)


@pytest.mark.parametrize(
    ("href", "place"),
    [
        ("../../blob/{name}", "blob/{name}"),
        ("./{name}", "a/b/{name}"),
        ("x//{name}", "a/b/x//{name}"),
        ("x//{name}", "a/b/x/{name}"),
        ("x/../{name}", "a/b/{name}"),
        ("../../../../../{name}", "{name}"),
        ("/srv/{name}", "srv/{name}"),
        ("%2Ehidden%20here/{name}", "a/b/.hidden here/{name}"),
    ],
)
def test_a8_locations_are_resolved_and_published_under_the_name_of_the_file(
    href: str, place: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    for package, rpm in zip(found, rpms, strict=True):
        package.location_href = href.format(name=rpm.name)
        upstream.put(place.format(name=rpm.name), rpm.read_bytes())
    serve(upstream, listed(found), under="a/b/")
    here.create("zoo", f"{upstream.url}a/b/")

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.publish("zoo").result == "success"
    assert sorted(path for path in here.published("zoo") if path.endswith(".rpm")) == [
        f"Packages/{rpm.name[0]}/{rpm.name}" for rpm in rpms
    ]
    assert not any("/../" in f"/{path}" or "/./" in f"/{path}" for path in upstream.paths())


@pytest.mark.parametrize("element", ["size", "open-size"])
@pytest.mark.parametrize("value", ["<{0}>0</{0}>", "", "<{0}></{0}>"])
def test_a13_sizes_that_nobody_knew(
    element: str, value: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    files = listed(packages(rpms), updateinfo=UPDATEINFO)
    text = re.sub(rf"<{element}>\d+</{element}>", value.format(element), files[REPOMD].decode())
    serve(upstream, files | {REPOMD: text.encode()}, rpms)

    assert mirrored(here, upstream) == ALL


def test_a13_packages_whose_size_nobody_knew(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    found = packages(rpms)
    for package in found:
        package.size_package = 0
    serve(upstream, listed(found), rpms)

    assert mirrored(here, upstream) == ALL
    assert {held.unit.files[0].size for held in here.held("zoo", "rpm")} == {rpm.stat().st_size for rpm in rpms}


def broken_accessories() -> dict[str, tuple[str, str, list[str]]]:
    """By name: the kind of list, its text, and what is put on the type_skip_list."""
    comps = ["package_group", "package_category", "package_environment", "package_langpacks"]
    return {
        "comps": ("group", "<comps><group>", comps),
        "modules": ("modules", "---\n{[", ["modulemd", "modulemd_defaults", "modulemd_obsoletes"]),
        "updateinfo": ("updateinfo", "<updates><update>", ["erratum"]),
        "page": ("group", "<html>Welcome</html>", comps),
    }


@pytest.mark.parametrize("how", broken_accessories())
def test_a14_a_bad_list_beside_good_packages_fails_by_name_and_can_be_skipped(
    how: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    kind, text, way_past = broken_accessories()[how]
    serve(upstream, listed(packages(rpms), **{kind: text}), rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert f"The list {kind}" in str(outcome.error_message)
    assert f"put {', '.join(way_past)} on the type_skip_list" in str(outcome.error_message)
    here.configure("zoo", type_skip_list=way_past)
    assert here.sync("zoo").result == "success"
    assert here.nevras("zoo") == ALL


def test_a14_a_kept_list_that_is_not_there_names_the_way_past(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    files = listed(packages(rpms), productid="x")
    del files["repodata/productid.xml.gz"]
    serve(upstream, files, rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "productid" in str(outcome.error_message)
    assert "put metafile on the type_skip_list" in str(outcome.error_message)
    here.configure("zoo", type_skip_list=["metafile"])
    assert here.sync("zoo").result == "success"


def test_a14_a_list_that_is_skipped_is_not_even_fetched(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, listed(packages(rpms), updateinfo=UPDATEINFO, group=COMPS, modules=MODULES), rpms)
    skipped = ["erratum", "modulemd", "modulemd_defaults", "modulemd_obsoletes", "package_group"]

    mirrored(here, upstream, type_skip_list=skipped)

    assert not any("updateinfo" in path or "modules" in path for path in upstream.paths())
    types = {held.unit.type_id for held in here.held("zoo")}
    assert types == {"rpm", "package_category", "package_environment", "package_langpacks"}


def test_one_bad_entry_of_an_accessory_is_left_out_and_named(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    nameless = UPDATEINFO.replace("<id>ZOO-2024:1</id>", "", 1).partition("<updates>")[2].partition("</updates>")[0]
    both = UPDATEINFO.replace("</updates>", f"{nameless}</updates>")
    serve(upstream, listed(packages(rpms), updateinfo=both), rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert outcome.details is not None
    assert outcome.details["left_out_count"] == 1
    assert "id" in outcome.details["left_out"][0]["reason"]
    assert len(here.held("zoo", "erratum")) == 1


def two_streams() -> str:
    """Two streams of one module, of which each has a bear."""
    document = MODULES.partition("...\n")[0] + "...\n"
    old = document.replace("camel-0:1.0-1.noarch", "bear-0:4.1-1.noarch").replace('"1.10"', '"4.1"')
    return old + document.replace("camel-0:1.0-1.noarch", "bear-0:4.2-1.noarch").replace('"1.10"', '"4.2"')


def test_a15_the_newest_of_every_stream_stay(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    serve(upstream, listed(packages(rpms), modules=two_streams()), rpms)

    assert mirrored(here, upstream, retain_old_count=0) == ALL
    assert published_list(here, "modules.yaml").count("document: modulemd\n") == 2

    here.configure("zoo", type_skip_list=["modulemd"])
    here.sync("zoo")
    assert here.nevras("zoo") == ALL  # those of modules that are held stay, too


def with_location(package: Any, href: str, *, time: int = 1) -> Any:
    package.location_href, package.time_file = href, time
    return package


def test_a17_a_package_that_is_listed_twice_is_had_from_any_of_its_places(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    stale = [with_location(package, f"gone/{package.location_href}") for package in packages(rpms)]
    serve(upstream, listed([*stale, *packages(rpms)]), rpms)

    assert mirrored(here, upstream) == ALL


@pytest.mark.parametrize("first", ["stale", "good"])
def test_a17_of_two_packages_of_one_version_the_newer_file_counts(
    first: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    stale, good = packages(rpms[:1])[0], with_location(packages(rpms[:1])[0], rpms[0].name, time=9)
    with_location(stale, f"gone/{rpms[0].name}", time=5).pkgId = "0" * 64
    serve(upstream, listed([stale, good] if first == "stale" else [good, stale]), rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert here.nevras("zoo") == ALL[:1]
    assert outcome.details is not None
    assert outcome.details["left_out"][0]["name"] == "bear-0:4.1-1.noarch"


def test_a17_of_two_packages_of_one_version_the_older_is_taken_if_the_newer_is_gone(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    good, gone, lost = (packages(rpms[:1])[0] for _ in range(3))
    with_location(good, rpms[0].name, time=5)
    with_location(gone, f"gone/{rpms[0].name}", time=9).pkgId = "0" * 64
    with_location(lost, f"lost/{rpms[0].name}", time=7).pkgId = "1" * 64
    serve(upstream, listed([gone, good, lost]), rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert (outcome.result, here.nevras("zoo")) == ("success", ALL[:1])
    assert [path for path in upstream.paths() if path.endswith(".rpm")] == [
        f"gone/{rpms[0].name}",
        f"lost/{rpms[0].name}",
        rpms[0].name,
    ]
    left_out = (outcome.details or {})["left_out"]
    assert [entry["name"] for entry in left_out] == ["bear-0:4.1-1.noarch"] * 2
    assert "404" in left_out[0]["reason"]


def test_a17_nothing_older_is_taken_because_a_server_has_a_bad_moment(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    good, newer = packages(rpms[:1])[0], packages(rpms[:1])[0]
    with_location(good, rpms[0].name, time=5)
    with_location(newer, f"new/{rpms[0].name}", time=9).pkgId = "0" * 64
    serve(upstream, listed([newer, good]), rpms)
    upstream.misbehave(f"new/{rpms[0].name}", status(503))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "failed"
    assert here.nevras("zoo") == []


def test_a17_of_two_packages_of_one_location_the_newer_entry_counts(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    old, new, camel = packages(rpms)
    with_location(old, "bear.rpm", time=5)
    with_location(new, "bear.rpm", time=9)
    serve(upstream, listed([new, old, camel]), rpms)
    upstream.put("bear.rpm", rpms[1].read_bytes())

    assert mirrored(here, upstream) == ALL[1:]


def test_a17_what_is_skipped_collides_with_nothing(
    rpms: list[Path], upstream: Upstream, here: YumMirror, tmp_path: Path
) -> None:
    source = yum.build(tmp_path, "bear", "4.1", source=True)
    found = packages([*rpms, source])
    for package in (found[0], found[3]):
        with_location(package, "bear.rpm", time=package.arch == "src")
    serve(upstream, listed(found), rpms)
    upstream.put("bear.rpm", rpms[0].read_bytes())

    assert mirrored(here, upstream, type_skip_list=["srpm"]) == ALL


def halves(pack: Callable[[bytes], bytes], between: bytes = b"", after: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda data: pack(data[:1000]) + between + pack(data[1000:]) + after


ODD_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip of two members": halves(gzip.compress),
    "gzip and zeros": halves(gzip.compress, after=b"\0" * 700),
    "bzip2 of two streams": halves(bz2.compress),
    "xz of two streams": halves(lzma.compress),
    "xz with padding": halves(lzma.compress, between=b"\0" * 8, after=b"\0" * 4),
    "zstd of two frames": halves(zstandard.ZstdCompressor().compress),
    "zstd after a skippable frame": lambda data: SKIPPABLE_FRAME + zstandard.ZstdCompressor().compress(data),
    "zstd around skippable frames": halves(zstandard.ZstdCompressor().compress, SKIPPABLE_FRAME, SKIPPABLE_FRAME),
    "a BOM": lambda data: gzip.compress(b"\xef\xbb\xbf" + data),
}


@pytest.mark.parametrize("how", ODD_PACKINGS)
def test_a20_lists_are_opened_as_the_packers_open_them(
    how: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    plain = {kind: list_of(kind, packages(rpms)).encode() for kind in yum.HEADS}
    packed = {kind: ODD_PACKINGS[how](text) for kind, text in plain.items()}
    records = "".join(yum.record(kind, f"repodata/{kind}", packed[kind], plain[kind]) for kind in plain)
    serve(upstream, {f"repodata/{kind}": data for kind, data in packed.items()}, rpms)
    upstream.put(REPOMD, yum.repomd(records))

    assert mirrored(here, upstream) == ALL


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-8"])
def test_lists_in_latin_1_say_the_same(encoding: str, rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    found = packages(rpms)
    for package in found:
        package.summary = "Bär"
    texts = {kind: list_of(kind, found).replace("UTF-8", encoding).encode(encoding) for kind in yum.HEADS}
    serve(upstream, repodata(texts), rpms)

    assert mirrored(here, upstream) == ALL
    assert published_list(here, "primary.xml").count("<summary>Bär</summary>") == 3


def test_an_entry_that_is_not_well_formed_costs_itself_alone(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    broken = list_of("primary", found).replace("<summary>A camel", "<summary>A &camel;", 1)
    serve(upstream, listed(found, primary=broken), rpms)
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert here.nevras("zoo") == ALL[:2]
    assert outcome.details is not None
    assert "not well-formed" in outcome.details["left_out"][0]["reason"]


def test_what_an_entry_that_turned_bad_held_stays(rpms: list[Path], upstream: Upstream, here: YumMirror) -> None:
    found = packages(rpms)
    serve(upstream, listed(found), rpms)
    mirrored(here, upstream, remove_missing=True)
    spoiled = list_of("primary", found).replace(hashlib.sha256(rpms[2].read_bytes()).hexdigest(), "beef")
    serve(upstream, listed(found, primary=spoiled))

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert here.nevras("zoo") == ALL


@pytest.mark.parametrize("letter", ["\x01", "\x0b", "\x1b"])
def test_a4_letters_that_xml_cannot_write_are_replaced_in_what_an_upstream_lists(
    letter: str, rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    found = packages(rpms)
    texts = {
        "primary": list_of("primary", found).replace("<summary>A", f"<summary>A{letter}"),
        "other": list_of("other", found).replace("it grew", f"it {letter} grew"),
        "updateinfo": UPDATEINFO.replace("The bear", f"The {letter} bear"),
        "group": COMPS.replace("All of them", f"All {letter}"),
    }
    serve(upstream, listed(found, **texts), rpms)

    assert mirrored(here, upstream) == ALL
    assert "The ? bear" in published_list(here, "updateinfo.xml")
    assert published_list(here, "primary.xml").count("<summary>A?") == 3


def test_an_erratum_in_several_updates_of_one_id_has_the_packages_of_all(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    first = UPDATEINFO.partition("<updates>")[2].partition("</updates>")[0]
    second = first.replace('name="bear"', 'name="camel"').replace("bear-4.2-1.noarch", "camel-1.0-1.noarch")
    other = first.replace("ZOO-2024:1", "ZOO-2024:2")
    serve(upstream, listed(packages(rpms), updateinfo=f"<updates>{first}{other}{second}{first}</updates>"), rpms)

    mirrored(here, upstream)

    errata = {held.unit.key["id"]: held.unit.metadata for held in here.held("zoo", "erratum")}
    names = {
        errata_id: [package["name"] for part in metadata["pkglist"] for package in part["packages"]]
        for errata_id, metadata in errata.items()
    }
    assert names == {"ZOO-2024:1": ["bear", "camel"], "ZOO-2024:2": ["bear"]}
    assert len(errata["ZOO-2024:1"]["references"]) == 1


def test_ampersands_in_what_packages_provide_stay_what_they_are(
    rpms: list[Path], upstream: Upstream, here: YumMirror
) -> None:
    text = list_of("primary", packages(rpms)).replace('name="bear" flags', 'name="font(a&amp;b)" flags')
    serve(upstream, listed(packages(rpms), primary=text), rpms)

    mirrored(here, upstream)

    assert 'name="font(a&amp;b)"' in published_list(here, "primary.xml")


@pytest.mark.parametrize("way", ["feed", "key"])
def test_a12_a_feed_with_a_token_is_a_repository_and_no_list_of_mirrors(
    rpms: list[Path], upstream: Upstream, here: YumMirror, way: str
) -> None:
    """SUSE's feeds end in `/?TOKEN`, and everything below them wants it."""
    token = "Rm9v~acl=/*&hmac=77"
    serve(upstream, listed(packages(rpms)), rpms, under="product/")

    def judge(answering: serving.Answering) -> None:
        path, _, query = answering.path.partition("?")
        if query == token:
            answering.serve(path.lstrip("/"))
        else:
            answering.answer(403, b"no token")

    for path in list(upstream.files):
        upstream.misbehave(path, serving.status(403))
    upstream.otherwise = judge
    url, config = f"{upstream.url}product/", {"query_auth_token": token} if way == "key" else {}
    here.create("zoo", url if way == "key" else f"{url}?{token}", config)

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.nevras("zoo") == ALL
    assert here.publish("zoo").result == "success"
    told = f"{outcome}{here.reports}{here.importer('zoo').scratchpad}{here.published('zoo')}"
    assert "Rm9v" not in told
