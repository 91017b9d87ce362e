"""Any bytes as a yum list: parsed, or rejected in one sentence."""

import contextlib
import io
import zlib
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulpit.content.limits import Limits
from pulpit.content.port import BadFeed
from pulpit.content.rpm import (
    comps,
    elements,
    forms,
    mirrors,
    modules,
    packages,
    repomd,
    signatures,
    unpack,
    updateinfo,
)
from pulpit.content.rpm.lists import PackageList
from pulpit.content.rpm.packages import Lists
from pulpit.errors import InvalidValue, UnsupportedValue
from support.mutated_bytes import spoiled
from support.yum import COMPS, MODULES, PACKINGS, UPDATEINFO, record
from support.yum import repomd as repomd_of

GENTLE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

METALINK = b"""<metalink version="3.0"><files><file name="repomd.xml"><verification><hash type="sha256">00</hash>
</verification><resources><url preference="9">http://m/repodata/repomd.xml</url></resources></file></files></metalink>"""
PRIMARY = (
    '<metadata packages="1"><package type="rpm"><name>bear</name><arch>noarch</arch>'
    '<version epoch="0" ver="1" rel="1"/><checksum type="sha256" pkgid="YES">' + "0" * 64 + "</checksum>"
    '<size package="9"/><location href="bear.rpm"/><format/></package></metadata>'
).encode()


@GENTLE
@given(content=spoiled(repomd_of(record("primary", "repodata/p.xml", b"", b""))))
def test_any_repomd(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with contextlib.suppress(BadFeed):
        for record in repomd.parse(path).values():
            for url in mirrors.places(["http://x/y/"], record.path, record.base):
                assert url.startswith(("http://", "https://"))
                assert ".." not in url.split("?")[0].split("/")


@GENTLE
@given(content=spoiled(COMPS.encode(), UPDATEINFO.encode()))
def test_any_comps_and_updateinfo(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with contextlib.suppress(BadFeed):
        for element in elements.children(path, comps.ROOT, "comps"):
            comps.unit(element, "comps")
    with contextlib.suppress(BadFeed):
        for element in elements.children(path, updateinfo.ROOT, "updateinfo"):
            updateinfo.unit(element, "updateinfo")


@GENTLE
@given(content=spoiled(MODULES.encode()))
def test_any_modules(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with contextlib.suppress(BadFeed):
        for unit in modules.units(path, lambda _: None):
            assert modules.canonical(zlib.decompress(unit.detail).decode()) == zlib.decompress(unit.detail).decode()


@GENTLE
@given(content=spoiled(PRIMARY))
def test_any_primary(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with contextlib.suppress(BadFeed):
        lists = Lists(primary=PackageList(path, "primary"), filelists=None, other=None)
        found = packages.survey(lists.primary, {}, Limits(), ())
        for batch in packages.batches(lists, found.taken, ["http://x/"]):
            for unit in batch:
                assert "/" not in unit.files[0].relative_path


@GENTLE
@given(content=spoiled(METALINK, b"# list\nhttp://a/\nhttps://b/x\n"))
def test_any_list_of_mirrors(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with contextlib.suppress(BadFeed):
        assert all(url.startswith(("http://", "https://")) for url in mirrors.parse(path).urls)


@GENTLE
@given(content=spoiled(*(packing(UPDATEINFO.encode()) for packing in PACKINGS.values())))
def test_anything_packed(content: bytes, tmp_path: Path) -> None:
    source, target = tmp_path / "packed", tmp_path / "plain"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    with contextlib.suppress(BadFeed):
        unpack.unpack(source, target, "The list")


@GENTLE
@given(content=st.binary(max_size=400))
def test_any_signature_header(content: bytes) -> None:
    head = b"\0" * 96 + b"\x8e\xad\xe8\x01" + b"\0" * 4
    for file in (io.BytesIO(content), io.BytesIO(head + content)):
        assert all(signature.signer for signature in signatures.signatures(file))


@GENTLE
@given(packet=st.binary(max_size=200))
def test_any_signature_packet(packet: bytes) -> None:
    index = (268).to_bytes(4) + (7).to_bytes(4) + (0).to_bytes(4) + len(packet).to_bytes(4)
    header = b"\x8e\xad\xe8\x01" + b"\0" * 4 + (1).to_bytes(4) + len(packet).to_bytes(4)

    found = list(signatures.signatures(io.BytesIO(b"\0" * 96 + header + index + packet)))

    assert len(found) <= 1


@GENTLE
@given(href=st.text(max_size=40), base=st.none() | st.text(max_size=40))
def test_any_location(href: str, base: str | None) -> None:
    if repomd.location_flaw(href, base) is None:
        with contextlib.suppress(ValueError):
            for url in mirrors.places(["https://joe@x/y/"], href, base):
                assert url.startswith(("http://", "https://"))
                assert ".." not in url.partition("?")[0].split("/")[3:]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "id",
        "name",
        "description",
        "options",
        "pkglist",
        "references",
        "matches",
        "group_ids",
        "packagegroupids",
        "default",
        "user_visible",
        "mandatory_package_names",
        "conditional_package_names",
        "translated_name",
        "issued",
    ]
)
PARTS = JSON | st.lists(st.dictionaries(st.sampled_from(["name", "packages", "group", "sums", "id", "href"]), JSON))


@GENTLE
@given(type_id=st.sampled_from(forms.TYPES), form=st.dictionaries(NAMES, PARTS, max_size=6), own_id=st.text())
def test_any_form_is_a_unit_that_can_be_published_or_is_refused_by_name(
    type_id: str, form: dict[str, Any], own_id: str, tmp_path: Path
) -> None:
    path = tmp_path / "nothing"
    path.touch()
    with contextlib.suppress(InvalidValue, UnsupportedValue):
        for unit in forms.units(type_id, {"id": own_id, "repo_id": "zoo"}, form, path):
            elements.read(zlib.decompress(unit.detail).decode())
