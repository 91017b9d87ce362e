"""Manifests that scripts, spreadsheets and other programs wrote: what is unambiguous is taken."""

import hashlib
from pathlib import Path

import pytest

from pulpit.content.iso import parse_manifest
from pulpit.content.limits import Limits
from pulpit.content.port import BadFeed

SHA256 = hashlib.sha256(b"x").hexdigest()
TAKEN = {
    "names of the columns": f"name,checksum,size\na,{SHA256},1\n",
    "byte order mark and names of the columns": f'\ufeff"Name","SHA-256","Size"\na,{SHA256},1\n',
    "everything in quotes": f'"a","{SHA256}","1"\n',
    "numbers in quotes": f'a,"{SHA256}","1"\n',
    "quotes and blanks": f'"a", "{SHA256}", "1"\n',
    "blanks around the commas": f"a , {SHA256} , 1 \n",
    "named checksum": f"a,sha256:{SHA256},1\n",
    "upper case, CRLF and empty lines": f"a,{SHA256.upper()},1\r\n\r\n  \r\n",
    "size from a spreadsheet": f"a,{SHA256},1.0\n",
}
REFUSED = {
    f"a,{SHA256},1\nb,{'0' * 32},1\n": "line 2 gives a checksum by MD5; SHA-256 is needed.",
    f"a,{'0' * 128},1\n": "line 1 gives a checksum by SHA-512; SHA-256 is needed.",
    f"a,{SHA256},1.5\n": "line 1 gives '1.5' as the file's size, which is no number of bytes.",
    f"a,{SHA256},\n": "line 1 gives '' as the file's size, which is no number of bytes.",
    f"{SHA256}  a\n": "line 1 is one of a list of checksums, as sha256sum writes it; needed is `name,SHA-256,size`.",
    f"SHA256 (a) = {SHA256}\n": "line 1 is one of a list of checksums, as sha256sum writes it; needed is"
    " `name,SHA-256,size`.",
    f"a,{SHA256},1\nname,checksum,size\n": "line 2 is not `name,SHA-256,size`.",
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_can_be_meant_in_one_way_only_is_taken(case: str, tmp_path: Path) -> None:
    manifest = tmp_path / "PULP_MANIFEST"
    manifest.write_text(TAKEN[case], newline="")
    (entry,) = parse_manifest(manifest, limits=Limits()).entries
    assert (entry.file.relative_path, entry.file.sha256, entry.file.size, entry.place) == ("a", SHA256, 1, "a")


def test_a_blank_that_belongs_to_the_name_stays(tmp_path: Path) -> None:
    manifest = tmp_path / "PULP_MANIFEST"
    manifest.write_text(f'a ,{SHA256},1\n"b ", {SHA256}, 1\n')
    assert [entry.place for entry in parse_manifest(manifest, limits=Limits()).entries] == ["a%20", "b%20"]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_named_with_its_line(text: str, tmp_path: Path) -> None:
    manifest = tmp_path / "PULP_MANIFEST"
    manifest.write_text(text)
    with pytest.raises(BadFeed) as refused:
        parse_manifest(manifest, limits=Limits())
    assert str(refused.value) == f"PULP_MANIFEST is refused: {REFUSED[text]}"
