"""RPM packages of any tags, written byte by byte (RPM's file format, version 3 and 4)."""

import gzip
import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

NAME, VERSION, RELEASE, EPOCH, SUMMARY, DESCRIPTION = 1000, 1001, 1002, 1003, 1004, 1005
BUILDTIME, SIZE, LICENSE, GROUP, OS, ARCH, OLDFILENAMES = 1006, 1009, 1014, 1016, 1021, 1022, 1027
FILESIZES, FILEMODES, FILEMTIMES, FILEDIGESTS, FILEFLAGS = 1028, 1030, 1034, 1035, 1037
SOURCERPM, PROVIDENAME, REQUIREFLAGS, REQUIRENAME, REQUIREVERSION = 1044, 1047, 1048, 1049, 1050
NOSOURCE, CHANGELOGTIME, CHANGELOGNAME, CHANGELOGTEXT, SOURCEPACKAGE = 1051, 1080, 1081, 1082, 1106
PROVIDEFLAGS, PROVIDEVERSION, DIRINDEXES, BASENAMES, DIRNAMES = 1112, 1113, 1116, 1117, 1118
PAYLOADFORMAT, PAYLOADCOMPRESSOR, I18NTABLE, LONGSIZE = 1124, 1125, 100, 5009
_TRANSLATED = frozenset({SUMMARY, DESCRIPTION, GROUP})

Value = str | bytes | list[str] | list[bytes] | list[str | bytes] | tuple[str, list[int]]
Tags = Mapping[int, Value | None]

_MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"
_NUMBERS = {"int16": (3, ">H"), "int32": (4, ">I"), "int64": (5, ">Q")}
_TEXT, _BINARY, _TEXTS, _TRANSLATIONS = 6, 7, 8, 9
_HEADER, _SIGNATURES = 63, 62
"""Tags of the regions that later versions of rpm put around all entries."""
_USUAL: Tags = {
    I18NTABLE: ["C"],
    NAME: "odd",
    VERSION: "1.0",
    RELEASE: "1",
    SUMMARY: ["An odd package"],
    DESCRIPTION: ["It is odd."],
    BUILDTIME: ("int32", [1_700_000_000]),
    SIZE: ("int32", [0]),
    LICENSE: "MIT",
    GROUP: ["Zoo"],
    OS: "linux",
    ARCH: "noarch",
    SOURCERPM: "odd-1.0-1.src.rpm",
    PAYLOADFORMAT: "cpio",
    PAYLOADCOMPRESSOR: "gzip",
    PROVIDENAME: ["odd"],
    PROVIDEFLAGS: ("int32", [8]),
    PROVIDEVERSION: ["1.0-1"],
}


def write(path: Path, tags: Tags, *, region: bool = True, source: bool = False) -> Path:
    """Write a package without files in it; a tag that is `None` is left out. Without a region it is of version 3."""
    source_tags: Tags = {SOURCERPM: None, SOURCEPACKAGE: ("int32", [1])} if source else {}
    every = {**_USUAL, **source_tags, **tags}
    main = _header({tag: value for tag, value in every.items() if value is not None}, _HEADER if region else None)
    end = b"070701" + b"00000000" * 4 + b"00000001" + b"00000000" * 6 + b"0000000B" + b"00000000" + b"TRAILER!!!\0"
    content = main + gzip.compress(end + b"\0" * (-len(end) % 4), mtime=0)
    digest = hashlib.md5(content, usedforsecurity=False).digest()
    store = struct.pack(">I", len(content)) + digest
    index = struct.pack(">IIII", 1000, 4, 0, 1) + struct.pack(">IIII", 1004, _BINARY, 4, len(digest))
    signatures = _assembled(index, store, _SIGNATURES if region else None)
    lead = struct.pack(">4sBBhh66shh16x", b"\xed\xab\xee\xdb", 3, 0, int(source), 1, b"odd-1.0-1", 1, 5)
    path.write_bytes(lead + signatures + b"\0" * (-len(signatures) % 8) + content)
    return path


def _header(tags: Mapping[int, Value], region: int | None) -> bytes:
    store, index = bytearray(), b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, tuple):
            kind, form = _NUMBERS[value[0]]
            store += b"\0" * (-len(store) % struct.calcsize(form))
            index += struct.pack(">IIII", tag, kind, len(store), len(value[1]))
            store += b"".join(struct.pack(form, number) for number in value[1])
            continue
        texts = value if isinstance(value, list) else [value]
        kind = _TRANSLATIONS if tag in _TRANSLATED else _TEXTS if isinstance(value, list) else _TEXT
        index += struct.pack(">IIII", tag, kind, len(store), len(texts))
        store += b"".join((text.encode() if isinstance(text, str) else text) + b"\0" for text in texts)
    return _assembled(index, bytes(store), region)


def _assembled(index: bytes, store: bytes, region: int | None) -> bytes:
    if region is not None:
        index = struct.pack(">IIII", region, _BINARY, len(store), 16) + index
        store += struct.pack(">IIiI", region, _BINARY, -len(index), 16)
    return _MAGIC + struct.pack(">II", len(index) // 16, len(store)) + index + store
