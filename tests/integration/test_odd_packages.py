"""Packages that no rpmbuild of today makes are uploaded: dnf reads of us what it reads of createrepo_c, or more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import createrepo_c as cr
import pytest

from pulpit.errors import InvalidValue
from pulpit.repositories.uploads import import_file
from support import dnf, raw_rpm, yum
from support.raw_rpm import (
    ARCH,
    BASENAMES,
    CHANGELOGNAME,
    CHANGELOGTEXT,
    CHANGELOGTIME,
    DESCRIPTION,
    DIRINDEXES,
    DIRNAMES,
    EPOCH,
    FILEDIGESTS,
    FILEFLAGS,
    FILEMODES,
    FILEMTIMES,
    FILESIZES,
    GROUP,
    I18NTABLE,
    LICENSE,
    LONGSIZE,
    NAME,
    NOSOURCE,
    OLDFILENAMES,
    PROVIDEFLAGS,
    PROVIDENAME,
    PROVIDEVERSION,
    RELEASE,
    REQUIREFLAGS,
    REQUIRENAME,
    REQUIREVERSION,
    SIZE,
    SUMMARY,
    VERSION,
    Tags,
)
from support.yum import YumMirror, listed

REASON = dnf.missing()
NOTHING_PROVIDED: Tags = {PROVIDENAME: None, PROVIDEFLAGS: None, PROVIDEVERSION: None}


def files(names: list[str | bytes], folders: list[str | bytes], indexes: list[int]) -> Tags:
    count = len(names)
    return {
        BASENAMES: names,
        DIRNAMES: folders,
        DIRINDEXES: ("int32", indexes),
        FILESIZES: ("int32", [1] * count),
        FILEMODES: ("int16", [0o100644] * count),
        FILEFLAGS: ("int32", [0] * count),
        FILEMTIMES: ("int32", [1] * count),
        FILEDIGESTS: [""] * count,
    }


@pytest.fixture(scope="module")
def reader() -> Iterator[dnf.Reader]:
    if REASON:
        pytest.skip(REASON)
    with dnf.Reader() as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path / "data") as made:
        made.create("zoo", None)
        yield made


def uploaded(here: YumMirror, path: Path, type_id: str = "rpm") -> Any:
    return import_file(here.context, "zoo", type_id, {}, {}, path)


def seen(reader: dnf.Reader, root: Path) -> dict[str, Any]:
    with yum.web_server(root) as url:
        found = reader.read(url, download=True)
    assert found.error == ""
    assert list(found.found["broken"].values()) == [False]
    packages: dict[str, Any] = found.found["packages"]
    return packages


@pytest.mark.parametrize(
    ("tags", "how"),
    [
        ({}, {"region": False}),
        (
            {
                **NOTHING_PROVIDED,
                **files(["x"], ["/"], [0]),
                **dict.fromkeys((BASENAMES, DIRNAMES, DIRINDEXES)),
                OLDFILENAMES: ["/bin/x"],
            },
            {"region": False},
        ),
        ({SUMMARY: None, DESCRIPTION: None, LICENSE: None, GROUP: None}, {}),
        ({**NOTHING_PROVIDED, I18NTABLE: ["C", "de"], SUMMARY: ["a\nb", "c"], GROUP: ["x", "y"]}, {}),
        ({EPOCH: ("int32", [4_294_967_295]), VERSION: "1" * 150}, {}),
        ({NAME: "lib++-8~x^y", RELEASE: "1 2"}, {}),
        ({NAME: "a&b<c>\"d'#e?f%20"}, {}),
        ({NAME: b"b\xe4r"}, {}),
        ({NAME: ".hidden"}, {}),
        ({NAME: "-rf"}, {}),
        ({SUMMARY: ["]]><!-- <package>"], DESCRIPTION: ["x " * 500_000]}, {}),
        (
            {
                CHANGELOGTIME: ("int32", [1_700_000_000 - number for number in range(9000)]),
                CHANGELOGNAME: ["K <k@example.org> - 1"] * 9000,
                CHANGELOGTEXT: ["- it grew"] * 9000,
            },
            {},
        ),
        (files(["a b", "é", b"\xe9", "<&>", "%s"], ["/usr/", "../x/", "rel/"], [0, 0, 0, 1, 2]), {}),
        (files(["a", "b"], ["/usr/"], [0, 7]), {}),
        ({BASENAMES: ["a", "b"], DIRNAMES: ["/usr/"], DIRINDEXES: ("int32", [0, 0])}, {}),
        (
            {
                REQUIRENAME: ["((a if b else c) and (d unless e))", "a b", "lib.so.1()(64bit)", "/bin/sh", "x"],
                REQUIREFLAGS: ("int32", [1 << 27, 0, 0, 1 << 6, 14]),
                REQUIREVERSION: ["", "", "", "", "1:2:3-4-5"],
            },
            {},
        ),
        ({REQUIRENAME: ["a", "b", "c"], REQUIREFLAGS: ("int32", [8]), REQUIREVERSION: ["1"]}, {}),
        ({SIZE: None, LONGSIZE: ("int64", [5 << 40])}, {}),
        ({ARCH: "amd64"}, {}),
        ({}, {"source": True}),
        ({ARCH: "x86_64", NOSOURCE: ("int32", [0])}, {"source": True}),
    ],
    ids=[
        "version 3",
        "version 3 with old names of files",
        "nothing said",
        "in two languages",
        "greatest epoch",
        "blank and tilde",
        "marks",
        "Latin-1",
        "begins with a dot",
        "begins with a dash",
        "markup",
        "long changelog",
        "odd files",
        "folder that is not there",
        "files without sizes",
        "rich requirements",
        "fewer flags than requirements",
        "five terabytes",
        "architecture of Debian",
        "source",
        "without its sources",
    ],
)
def test_dnf_reads_of_us_what_it_reads_of_createrepo(
    tags: Tags, how: dict[str, bool], reader: dnf.Reader, here: YumMirror, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "repodata").mkdir(parents=True)
    path = raw_rpm.write(theirs / "in.rpm", tags, **how)
    for name, content in listed([cr.package_from_rpm(str(path), location_href="in.rpm")]).items():
        (theirs / name).write_bytes(content)

    uploaded(here, path, "srpm" if "source" in how else "rpm")

    assert here.publish("zoo").result == "success"
    assert seen(reader, here.root("zoo")) == seen(reader, theirs)


def test_letters_that_xml_has_not_do_not_keep_dnf_from_the_repository(
    reader: dnf.Reader, here: YumMirror, tmp_path: Path
) -> None:
    """createrepo_c 0.17 writes them, and dnf then reads nothing."""
    changes: Tags = {
        CHANGELOGTIME: ("int32", [0, 4_294_967_295]),
        CHANGELOGNAME: [b"", b"J\xfcrgen"],
        CHANGELOGTEXT: ["", "\x02"],
    }
    requires: Tags = {
        REQUIRENAME: ["ksym(default:\x02)"],
        REQUIREFLAGS: ("int32", [0]),
        REQUIREVERSION: [""],
    }
    odd: Tags = {SUMMARY: ["a\x01b\uffff"], **changes, **requires, **files(["a\x01b"], ["/usr/"], [0])}
    uploaded(here, raw_rpm.write(tmp_path / "in.rpm", odd))

    assert here.publish("zoo").result == "success"
    [package] = seen(reader, here.root("zoo"))["odd-0:1.0-1.noarch"]

    assert package["summary"] == "a?b?"
    assert package["files"] == ["/usr/a?b"]
    assert package["requires"] == ["ksym(default:?)"]


def test_halves_of_surrogate_pairs_are_replaced(reader: dnf.Reader, here: YumMirror, tmp_path: Path) -> None:
    """createrepo_c 1.2 takes them for UTF-8."""
    odd: Tags = {
        SUMMARY: [b"a\xed\xa0\x80b"],
        DESCRIPTION: [b"\xed\xb0\x80"],
        **files([b"\xed\xa0\x80"], ["/usr/"], [0]),
    }
    uploaded(here, raw_rpm.write(tmp_path / "in.rpm", odd))

    assert here.publish("zoo").result == "success"
    [package] = seen(reader, here.root("zoo"))["odd-0:1.0-1.noarch"]

    assert package["summary"] == "a\ufffd\ufffd\ufffdb"
    assert package["files"] == ["/usr/\ufffd\ufffd\ufffd"]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({NAME: None}, "has no name"),
        ({VERSION: None}, "has no name, version"),
        ({RELEASE: None}, "has no name, version, release"),
        ({ARCH: None}, "architecture"),
        ({NAME: "a/b"}, "could be no part of a file's name"),
        ({VERSION: "1" * 300}, "could be no part of a file's name"),
        ({VERSION: "1:0"}, "has a version with a colon"),
    ],
)
def test_a_package_that_no_client_could_install_is_refused(
    tags: Tags, reason: str, here: YumMirror, tmp_path: Path
) -> None:
    with pytest.raises(InvalidValue, match=reason):
        uploaded(here, raw_rpm.write(tmp_path / "in.rpm", tags))

    assert here.nevras("zoo") == []
