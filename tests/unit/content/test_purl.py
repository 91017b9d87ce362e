"""Package URLs, checked by the reference library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL

from pulpit.content import purl

WORDS = st.text(min_size=1, max_size=20).filter(lambda text: text.strip("/").strip() == text and text.isprintable())
VERSIONS = st.from_regex(r"[0-9][0-9A-Za-z.+~^_-]{0,15}", fullmatch=True)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (purl.of_rpm("openssl", "3.0.7-27.el9", "1", "x86_64"), "pkg:rpm/openssl@3.0.7-27.el9?arch=x86_64&epoch=1"),
        (purl.of_rpm("gcc-c++", "14~rc1-1^git", "0", "src"), "pkg:rpm/gcc-c%2B%2B@14~rc1-1%5Egit?arch=src"),
        (
            purl.of_python("Zope_Interface", "7.0+local", "zope.interface-7.0.tar.gz"),
            "pkg:pypi/zope-interface@7.0%2Blocal?file_name=zope.interface-7.0.tar.gz",
        ),
        (purl.of_file("a b/ü.iso", "00"), "pkg:generic/a%20b/%C3%BC.iso?checksum=sha256:00"),
    ],
)
def test_known_urls(made: str, expected: str) -> None:
    assert made == expected
    assert PackageURL.from_string(made).to_string() == expected


@given(WORDS.filter(lambda name: "/" not in name), VERSIONS, st.integers(0, 99), st.sampled_from(["noarch", "x86_64"]))
def test_the_reference_reads_what_is_written_of_packages(name: str, version: str, epoch: int, arch: str) -> None:
    made = purl.of_rpm(name, version, str(epoch), arch)
    read = PackageURL.from_string(made)
    expected = {"arch": arch} | ({"epoch": str(epoch)} if epoch else {})
    assert (read.type, read.name, read.version, read.qualifiers) == ("rpm", name, version, expected)
    assert read.to_string() == made


@given(WORDS)
def test_the_reference_reads_what_is_written_of_files(path: str) -> None:
    made = purl.of_file(path, "a" * 64)
    read = PackageURL.from_string(made)
    assert "/".join(filter(None, [read.namespace, read.name])) == "/".join(filter(None, path.split("/")))
    assert read.to_string() == made
