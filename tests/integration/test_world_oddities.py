"""Odd inputs on which other mirrors failed, from public bug reports: what clients can read is mirrored."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import mirror, python, yum
from support import upstream as serving
from support.mirror import IMPATIENT, Mirror
from support.python import JSON, PythonMirror
from support.upstream import MANIFEST, Upstream
from support.yum import COMPS, UPDATEINFO, YumMirror, list_of, listed, packages, serve

needs_rpmbuild = pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=str(yum.tools("rpmbuild")))


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return [yum.build(folder, "bear", "4.1"), yum.build(folder, "camel", "1.0")]


@pytest.fixture
def packages_here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path / "data") as made:
        yield made.impatient_too()


@pytest.fixture
def files_here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror.mirror(tmp_path, limits=IMPATIENT) as made:
        yield made


@pytest.fixture
def wheels_here(tmp_path: Path) -> Iterator[PythonMirror]:
    with python.python_mirror(tmp_path / "here", IMPATIENT) as made:
        yield made


def mirrored(here: YumMirror, upstream: Upstream) -> None:
    here.create("zoo", upstream.url)
    for outcome in (here.sync("zoo"), here.publish("zoo")):
        assert (outcome.result, outcome.error_message) == ("success", None)


@needs_rpmbuild
def test_a_package_whose_list_and_header_disagree_is_had_by_what_the_list_says(
    rpms: list[Path], upstream: Upstream, packages_here: YumMirror
) -> None:
    """pulp_rpm#4205: the version in the list is neither that of the header nor that of the file's name."""
    text = list_of("primary", packages(rpms)).replace('ver="4.1"', 'ver="4.1.474_253236389321v0"', 1)
    serve(upstream, listed(packages(rpms), primary=text), rpms)

    mirrored(packages_here, upstream)

    assert packages_here.nevras("zoo") == ["bear-4.1.474_253236389321v0-1.noarch", "camel-1.0-1.noarch"]
    names = {path.name for path in packages_here.root("zoo").glob("**/*.rpm")}
    assert names == {"bear-4.1-1.noarch.rpm", "camel-1.0-1.noarch.rpm"}


@needs_rpmbuild
@pytest.mark.parametrize(
    "advisory",
    [
        UPDATEINFO.replace("<severity>Important<", "<severity>4.4<").replace(' date="2024-01-02 03:04:05"', ""),
        UPDATEINFO.replace('date="2024-01-02 03:04:05"', 'date="1704164645"'),
        UPDATEINFO.replace('<collection short="zoo"><name>zoo</name>', "<collection>"),
        UPDATEINFO.replace(' epoch="0"', "").replace(' src="bear-4.2-1.src.rpm"', ""),
        UPDATEINFO.replace("<references>", "<references/><references>"),
        UPDATEINFO.replace("<pkglist>", "<pkglist/><pkglist>"),
        "\ufeff" + UPDATEINFO,
    ],
    ids=["severity and no date", "seconds", "no collection", "no epoch", "references twice", "pkglist twice", "BOM"],
)
def test_an_advisory_of_another_make_is_kept(
    advisory: str, rpms: list[Path], upstream: Upstream, packages_here: YumMirror
) -> None:
    """pulp_rpm#2426 and its kin: Photon's, Amazon's and Oracle's advisories."""
    serve(upstream, listed(packages(rpms), updateinfo=advisory), rpms)

    mirrored(packages_here, upstream)

    [erratum] = packages_here.held("zoo", "erratum")
    assert erratum.unit.key["id"] == "ZOO-2024:1"
    assert [package["name"] for part in erratum.unit.metadata["pkglist"] for package in part["packages"]] == ["bear"]


@needs_rpmbuild
@pytest.mark.parametrize(
    "comps",
    [
        "\ufeff" + COMPS,
        COMPS.replace("\n", "\r\n"),
        COMPS.replace('type="mandatory"', "").replace("<default>true", "<default>True"),
    ],
    ids=["BOM", "CRLF", "no type"],
)
def test_groups_of_another_make_are_kept(
    comps: str, rpms: list[Path], upstream: Upstream, packages_here: YumMirror
) -> None:
    serve(upstream, listed(packages(rpms), group=comps), rpms)

    mirrored(packages_here, upstream)

    assert [held.unit.key["id"] for held in packages_here.held("zoo", "package_group")] == ["animals"]


LINE = f"small,{hashlib.sha256(b'small').hexdigest()},5"


@pytest.mark.parametrize(
    "manifest",
    [
        f"\ufeff{LINE}\n",
        f"{LINE}\r\n\r\n",
        f"\n\n{LINE}",
        f"small,{hashlib.sha256(b'small').hexdigest().upper()},5\n",
        f'"small",{hashlib.sha256(b"small").hexdigest()},5\n',
        f"{LINE}\n{LINE}\n",
        f"./{LINE}\n",
    ],
    ids=["BOM", "CRLF", "blank lines", "upper case", "quoted", "twice", "dot"],
)
def test_a_manifest_of_another_make_is_read(manifest: str, upstream: Upstream, files_here: Mirror) -> None:
    """pulpcore#6112 and the manifests that people write by hand, on Windows too."""
    upstream.put("small", b"small")
    upstream.put(MANIFEST, manifest.encode())
    files_here.create("zoo", upstream.url)

    outcome = files_here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert files_here.names("zoo") == ["small"]


@pytest.mark.parametrize("feed", ["PULP_MANIFEST", "deep/er/PULP_MANIFEST/", "deep/er"])
def test_the_feed_of_a_pulp_3_names_the_manifest(feed: str, upstream: Upstream, files_here: Mirror) -> None:
    folder = feed.partition(MANIFEST)[0].strip("/")
    for name, content in (("a b/small", b"small"), (MANIFEST, f"a b/{LINE}\n".encode())):
        upstream.put(f"{folder}/{name}".strip("/"), content)
    files_here.create("zoo", upstream.url + feed)

    outcome = files_here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert files_here.names("zoo") == ["a b/small"]


DIGEST = hashlib.sha256(b"bear-1.0.tar.gz").hexdigest()


@pytest.mark.parametrize(
    "odd",
    [
        {"yanked": ""},
        {"yanked": None, "size": None, "upload-time": None, "requires-python": None},
        {"requires-python": ">=2.7.*, !=3.0.*"},
        {"hashes": {"sha256": DIGEST.upper()}},
        {"hashes": {"sha256": DIGEST, "md5": None}},
        {"dist-info-metadata": True, "core-metadata": True, "data-dist-info-metadata": False},
        {"provenance": None, "gpg-sig": "no"},
        {"size": 15.0},
        {"size": 0},
        {"filename": None},
        {"filename": "bear%2D1.0.tar.gz"},
        {"upload-time": "2024-01-02T03:04:05.1234567Z"},
        {"upload-time": 1700000000},
        {"requires-python": ["3"], "yanked": 0},
        {"hashes": {"sha256": DIGEST, "blake2b_256": "no"}},
    ],
    ids=str,
)
def test_a_file_of_an_index_of_another_make_is_taken(
    odd: dict[str, Any], upstream: Upstream, wheels_here: PythonMirror
) -> None:
    """What devpi, Artifactory, Nexus and GitLab put into their JSON pages."""
    upstream.put("files/bear-1.0.tar.gz", b"bear-1.0.tar.gz")
    entry = {"filename": "bear-1.0.tar.gz", "url": "/files/bear-1.0.tar.gz", "hashes": {"sha256": DIGEST}, **odd}
    page = {"meta": {"api-version": 1.9, "_last-serial": None}, "name": "Bear", "files": [entry], "versions": None}
    upstream.put("simple/bear/", json.dumps(page).encode())
    upstream.kinds["simple/bear/"] = JSON
    wheels_here.create("zoo", upstream.url, {"package_names": "bear"})

    outcome = wheels_here.sync("zoo")

    assert outcome.error_message is None
    assert wheels_here.files("zoo") == ["bear-1.0.tar.gz"]


WHEEL = "bear-1.0-1local-py2.py3-none-any.whl"


@pytest.mark.parametrize(
    ("name", "href", "attributes"),
    [
        ("bear-1.0.tar.gz", "/files/bear-1.0.tar.gz#md5={md5}", ' data-gpg-sig="true"'),
        ("bear-1.0.tar.gz", "/files/bear-1.0.tar.gz#egg=bear&md5={md5}", ""),
        ("bear-1.0.tar.gz", "../../files/bear-1.0.tar.gz#SHA256={sha256}", ' data-requires-python="&amp;gt;=3"'),
        ("bear-1.0.tar.gz", "\n /files/bear-1.0.tar.gz#md5=&sha256={sha256} ", ' data-requires-python=">=3.6.*"'),
        ("bear-1.0.tar.gz", "/files/bear-1.0.tar.gz#sha256={sha256}", ' data-dist-info-metadata="sha256=00"'),
        ("bear-v1.0.zip", "/files/bear-v1.0.zip", ' data-core-metadata="true"'),
        ("bear-1.0-1.tar.gz", "/files/bear-1.0-1.tar.gz?x=1&y=%2F#sha256={sha256}", ""),
        ("bear-1!2.0+cu118.abi.tar.gz", "/files/bear-1%212.0%2Bcu118.abi.tar.gz#sha256={sha256}", ""),
        (WHEEL, f"/files/{WHEEL}#sha512={{sha512}}", ""),
    ],
)
def test_a_link_of_an_index_of_another_make_is_taken(
    name: str, href: str, attributes: str, upstream: Upstream, wheels_here: PythonMirror
) -> None:
    """Of PyPI of long ago, devpi, pypicloud, Nexus; beside what nobody can install any more."""
    digests = {kind: hashlib.new(kind, name.encode()).hexdigest() for kind in ("md5", "sha256", "sha512")}
    upstream.put(f"files/{name}", name.encode())
    upstream.put(f"files/{name}?x=1&y=/", name.encode())
    old = "".join(f'<a href="bear-1.0{end}">x</a>' for end in (".win32-py2.7.exe", "-py2.7.egg", "-1.noarch.rpm"))
    page = f'<title>Index of bear</title>{old}<A href="{href.format(**digests)}"{attributes}>{name[:9]}..&gt;</A>'
    upstream.put("simple/bear/", page.encode("latin-1"))
    upstream.kinds["simple/bear/"] = "text/html; charset=iso-8859-1"
    wheels_here.create("zoo", upstream.url, {"package_names": "Bear", "allow_unhashed": True, "prereleases": True})

    outcome = wheels_here.sync("zoo")

    assert outcome.error_message is None
    assert wheels_here.files("zoo") == [name]
    assert wheels_here.publish("zoo").result == "success"


def test_an_upstream_that_has_only_an_ipv6_address_is_mirrored(tmp_path: Path) -> None:
    with serving.running(host="::1") as upstream, mirror.mirror(tmp_path, limits=IMPATIENT) as here:
        upstream.put("small", b"small")
        upstream.manifest()
        here.create("zoo", upstream.url)

        assert here.sync("zoo").error_message is None
        assert here.names("zoo") == ["small"]
