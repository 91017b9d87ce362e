"""Signatures of packages: who made them, and that they are right, by gpgv over just the bytes that were signed.

A package is a lead, a signature header, the header, and the payload. A signature covers either the header alone, which
names the payload's checksum, or header and payload (RPM's file format, version 4; packages of version 6 keep all their
signatures as text in one entry).
"""

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from pulpit.content.limits import KIB, MIB
from pulpit.content.rpm import openpgp

_LEAD: Final = 96
_MAGIC: Final = b"\x8e\xad\xe8\x01"
_HEAD: Final = struct.Struct(">8xII")
_ENTRY: Final = struct.Struct(">IIII")
_MOST_ENTRIES: Final = 65_536
_MOST_STORE: Final = 64 * MIB
_MOST_SIGNATURES: Final = 4096 * KIB
_PIECE: Final = MIB

_OF_HEADER: Final = frozenset({267, 268})  # DSAHEADER, RSAHEADER
_OF_ALL: Final = frozenset({1002, 1005})  # PGP, GPG
_AS_TEXT: Final = 278  # OPENPGP, of the header
_PAYLOAD_DIGEST: Final = 5092
_PAYLOAD_ALGORITHM: Final = 5093
_ALGORITHMS: Final = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
"""As OpenPGP numbers them (RFC 9580, section 9.5)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """A signature in a package; `signer` is the key id or fingerprint that it names."""

    packet: bytes
    signer: str
    covers_payload: bool


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a package: where it begins and ends in the file, and what is in it by tag."""

    start: int
    end: int
    index: bytes
    store: bytes

    @classmethod
    def read(cls, file: BinaryIO, start: int, most_store: int = _MOST_STORE) -> Self | None:
        """Read the header that begins at a place; `None` if there is none that could be."""
        file.seek(start)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or not head.startswith(_MAGIC):
            return None
        count, size = _HEAD.unpack(head)
        if count > _MOST_ENTRIES or size > most_store:
            return None
        index, store = file.read(count * _ENTRY.size), file.read(size)
        if len(index) < count * _ENTRY.size or len(store) < size:
            return None
        return cls(start, start + _HEAD.size + len(index) + size, index, store)

    def entries(self) -> Iterator[tuple[int, int, int]]:
        """Tag, place in the store, and count of every entry."""
        for tag, _kind, offset, count in _ENTRY.iter_unpack(self.index):
            yield tag, offset, count

    def texts(self, tag: int) -> list[str]:
        """The texts of an entry."""
        found: list[str] = []
        for offset, count in ((offset, count) for one, offset, count in self.entries() if one == tag):
            found += [text.decode("ascii", "replace") for text in self.store[offset:].split(b"\0", count)[:count]]
        return found

    def number(self, tag: int) -> int | None:
        """The number of an entry of 32 bits."""
        places = [offset for one, offset, _ in self.entries() if one == tag]
        if len(places) != 1 or places[0] + 4 > len(self.store):
            return None
        return int.from_bytes(self.store[places[0] : places[0] + 4])


def flaw(path: Path, allowed: Collection[str], public_keys: str | None, *, required: bool) -> str | None:
    """Why a package's signature is not enough, as the end of a sentence, or `None`.

    `allowed` are the ends of key ids or fingerprints; without any, every signer is. With `public_keys` a signature must
    be right and made by one of them; without, what it says of its signer is believed.

    Raises:
        WorkFailed: there is no gpgv to ask.
    """
    with path.open("rb") as file:
        found = list(signatures(file))
        if not found:
            return "is not signed" if required else None
        if public_keys is None:
            signers = {one.signer for one in found}
        else:
            signers = _verified(file, found, openpgp.dearmored(public_keys))
    if not signers:
        return "has no signature that is right and made by one of the keys of gpgkey"
    wanted = [one.lower().removeprefix("0x") for one in allowed]
    if wanted and not any(_same(signer, one) for signer in signers for one in wanted):
        return f"is signed by {', '.join(sorted(signers))}, which is none of the allowed keys"
    return None


def signatures(file: BinaryIO) -> Iterator[Signature]:
    """The signatures in a package; none if it is no package."""
    header = Header.read(file, _LEAD, _MOST_SIGNATURES)
    if header is None:
        return
    for tag, offset, length in header.entries():
        if tag in _OF_HEADER | _OF_ALL:
            packets = [header.store[offset : offset + length]]
        else:
            packets = [_decoded(text) for text in header.texts(tag)] if tag == _AS_TEXT else []
        for packet in packets:
            signer = openpgp.signer(packet)
            if signer:
                yield Signature(packet=packet, signer=signer, covers_payload=tag in _OF_ALL)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _verified(file: BinaryIO, found: Collection[Signature], keys: bytes) -> set[str]:
    """The fingerprints of the keys that signed header and payload."""
    outer = Header.read(file, _LEAD, _MOST_SIGNATURES)
    header = Header.read(file, outer.end + -outer.end % 8) if outer else None
    if header is None:
        return set()
    file.seek(header.start)
    signed = file.read(header.end - header.start)
    signers = set[str]()
    for one in found:
        if one.covers_payload:
            file.seek(header.start)
            os.lseek(file.fileno(), header.start, os.SEEK_SET)
            signers |= openpgp.signers(one.packet, file, keys)
        elif _payload_is_right(file, header):
            signers |= openpgp.signers(one.packet, signed, keys)
    return signers


def _payload_is_right(file: BinaryIO, header: Header) -> bool:
    """Whether the payload is the one that the header names; one that it does not name is none that is signed."""
    digests, number = header.texts(_PAYLOAD_DIGEST), header.number(_PAYLOAD_ALGORITHM)
    algorithm = _ALGORITHMS.get(8 if number is None else number)
    if len(digests) != 1 or algorithm is None:
        return False
    file.seek(header.end)
    running = hashlib.new(algorithm, usedforsecurity=False)
    while piece := file.read(_PIECE):
        running.update(piece)
    return running.hexdigest() == digests[0].lower()


def _same(signer: str, wanted: str) -> bool:
    return signer.endswith(wanted) or wanted.endswith(signer)
