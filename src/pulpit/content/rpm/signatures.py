"""Signatures of packages and of `repomd.xml`, verified by gpgv over exactly the signed bytes.

A package is a lead, a signature header, the header, and the payload. A signature covers either the header alone, which
contains the payload's checksum, or header and payload (RPM's file format, version 4; packages of version 6 store all
signatures as text in one entry).
"""

import base64
import binascii
import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final, Self

from pulpit.content.limits import KIB, MIB
from pulpit.errors import WorkFailed

_LEAD: Final = 96
_MAGIC: Final = b"\x8e\xad\xe8\x01"
_HEAD: Final = struct.Struct(">8xII")
_ENTRY: Final = struct.Struct(">IIII")
_MOST_ENTRIES: Final = 65_536
_MOST_STORE: Final = 64 * MIB
_MOST_SIGNATURES: Final = 4096 * KIB
_PIECE: Final = MIB
_SHORT: Final = 8

_OF_HEADER: Final = frozenset({267, 268})  # DSAHEADER, RSAHEADER
_OF_ALL: Final = frozenset({1002, 1005})  # PGP, GPG
_AS_TEXT: Final = 278  # OPENPGP, of the header
_PAYLOAD_DIGEST: Final = 5092
_PAYLOAD_ALGORITHM: Final = 5093
_ALGORITHMS: Final = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
"""As OpenPGP numbers them (RFC 9580, section 9.5)."""
_TIMEOUT: Final = 300.0
"""Seconds that gpgv may take; it reads the whole package."""
_BEGIN: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END: Final = "-----END PGP PUBLIC KEY BLOCK-----"
_SIGNATURE_PACKET: Final = 2
_ISSUERS: Final = {16: 1, 33: 2}
"""Subpackets that name the signer, and the offset in them: a key id, or a version with a fingerprint."""
_NEXT: Final = "[GNUPG:] NEWSIG"
"""What gpgv writes before it looks at each signature."""
_VALID: Final = "[GNUPG:] VALIDSIG "
_REVOKED: Final = "[GNUPG:] REVKEYSIG "
_EXPIRED: Final = ("[GNUPG:] EXPSIG ", "[GNUPG:] EXPKEYSIG ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """A signature in a package; `signer` is the key id or fingerprint that it claims."""

    packet: bytes
    signer: str
    covers_payload: bool


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a package: its offsets in the file, and its entries by tag."""

    start: int
    end: int
    index: bytes
    store: bytes

    @classmethod
    def read(cls, file: BinaryIO, start: int, most_store: int = _MOST_STORE) -> Self | None:
        """Read the header at an offset; `None` if there is no valid one."""
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
        """Yield tag, offset and count of every entry."""
        for tag, _kind, offset, count in _ENTRY.iter_unpack(self.index):
            yield tag, offset, count

    def texts(self, tag: int) -> list[str]:
        """Return the texts of an entry."""
        texts: list[str] = []
        for entry, offset, count in self.entries():
            if entry == tag:
                texts += [text.decode("ascii", "replace") for text in self.store[offset:].split(b"\0", count)[:count]]
        return texts

    def number(self, tag: int) -> int | None:
        """Return the value of a 32-bit entry."""
        places = [offset for entry, offset, _ in self.entries() if entry == tag]
        if len(places) != 1 or places[0] + 4 > len(self.store):
            return None
        return int.from_bytes(self.store[places[0] : places[0] + 4])


def flaw(path: Path, allowed: Collection[str], public_keys: str | None, *, required: bool) -> str | None:
    """Say why a package's signature is not accepted, as the end of a sentence, or return `None`.

    `allowed` are the ends of key ids or fingerprints; empty allows every signer. With `public_keys` a signature must
    be valid and made by one of them; without, its claimed signer is believed.

    Raises:
        WorkFailed: gpgv is not installed.
    """
    with path.open("rb") as file:
        found = list(signatures(file))
        if not found:
            return "is not signed" if required else None
        if public_keys is None:
            signers = {signature.signer for signature in found}
        else:
            signers = _verified(file, found, dearmored(public_keys))
    if not signers:
        return "has no signature that is right and made by one of the keys of gpgkey"
    wanted = [key_id.lower().removeprefix("0x") for key_id in allowed]
    if wanted and not any(
        signer.endswith(key_id) or key_id.endswith(signer) for signer in signers for key_id in wanted
    ):
        return f"is signed by {', '.join(sorted(signers))}, which is none of the allowed keys"
    return None


def short_key_id(path: Path) -> str | None:
    """Return the last eight digits of the key that a package's first signature names; `None` if it is not signed."""
    with path.open("rb") as file:
        first = next(signatures(file), None)
    return first.signer[-_SHORT:] if first else None


def signatures(file: BinaryIO) -> Iterator[Signature]:
    """Yield the signatures in a package; none if it is not a package."""
    header = Header.read(file, _LEAD, _MOST_SIGNATURES)
    if header is None:
        return
    for tag, offset, length in header.entries():
        packets: list[bytes] = []
        if tag in _OF_HEADER | _OF_ALL:
            packets.append(header.store[offset : offset + length])
        elif tag == _AS_TEXT:
            for text in header.texts(tag):
                with suppress(binascii.Error):
                    packets.append(base64.b64decode(text, validate=True))
        for packet in packets:
            signer = claimed_signer(packet)
            if signer:
                yield Signature(packet=packet, signer=signer, covers_payload=tag in _OF_ALL)


def _verified(file: BinaryIO, found: Collection[Signature], keys: bytes) -> set[str]:
    """Return the fingerprints of the keys that signed header and payload."""
    outer = Header.read(file, _LEAD, _MOST_SIGNATURES)
    header = Header.read(file, outer.end + -outer.end % 8) if outer else None
    if header is None:
        return set()
    file.seek(header.start)
    signed = file.read(header.end - header.start)
    signers = set[str]()
    for signature in found:
        if signature.covers_payload:
            file.seek(header.start)
            os.lseek(file.fileno(), header.start, os.SEEK_SET)
            signers |= verified_by(signature.packet, file, keys)
        elif _payload_is_right(file, header):
            signers |= verified_by(signature.packet, signed, keys)
    return signers


def _payload_is_right(file: BinaryIO, header: Header) -> bool:
    """Whether the payload matches the checksum in the header; without a checksum it does not count as signed."""
    digests, number = header.texts(_PAYLOAD_DIGEST), header.number(_PAYLOAD_ALGORITHM)
    algorithm = _ALGORITHMS.get(8 if number is None else number)
    if len(digests) != 1 or algorithm is None:
        return False
    file.seek(header.end)
    running = hashlib.new(algorithm, usedforsecurity=False)
    while piece := file.read(_PIECE):
        running.update(piece)
    return running.hexdigest() == digests[0].lower()


def dearmored(text: str) -> bytes:
    """Convert armoured keys to binary (RFC 9580, section 6).

    Raises:
        WorkFailed: they are not armoured keys.
    """
    keys = b""
    for block in text.split(_BEGIN)[1:]:
        stripped = "\n".join(line.strip() for line in block.partition(_END)[0].splitlines())
        lines = [line for line in stripped.partition("\n\n")[2].split() if not line.startswith("=")]
        try:
            key = base64.b64decode("".join(lines), validate=True)
        except binascii.Error:
            key = b""
        if not key:
            raise WorkFailed("The public keys cannot be used: they are no armoured OpenPGP keys.")
        keys += key
    return keys


def verified_by(signature: bytes, signed: bytes | IO[bytes], keys: bytes, *, in_force: bool = False) -> set[str]:
    """Return the fingerprints of the keys that made a valid signature, and of their primary keys.

    Args:
        signature: armoured or not.
        signed: the signed content; a file is read from its current offset.
        keys: binary public keys.
        in_force: whether to reject expired signatures and keys.

    Raises:
        WorkFailed: gpgv is not installed, or timed out.
    """
    program = shutil.which("gpgv")
    if program is None:
        raise WorkFailed("Signatures are checked by the program gpgv, which is missing (Debian: apt install gpgv).")
    with ExitStack() as stack:
        proof, keyring = (stack.enter_context(_in_memory(content)) for content in (signature, keys))
        command = [program, "--homedir", "/nonexistent", "--status-fd", "1"]
        command += ["--keyring", f"/proc/self/fd/{keyring}", f"/proc/self/fd/{proof}", "-"]
        source = stack.enter_context(_in_memory(signed)) if isinstance(signed, bytes) else signed
        try:
            ended = subprocess.run(  # noqa: S603 - constant arguments
                command, stdin=source, capture_output=True, timeout=_TIMEOUT, check=False, pass_fds=(proof, keyring)
            )
        except subprocess.TimeoutExpired:
            raise WorkFailed("gpgv did not end in time.") from None
    refused = (_REVOKED, *_EXPIRED) if in_force else _REVOKED
    signers = set[str]()
    # One valid signature is enough, as for dnf: while a key is replaced, lists are signed by the old and the new one.
    for lines in (part.splitlines() for part in ended.stdout.decode(errors="replace").split(_NEXT)):
        if not any(line.startswith(refused) for line in lines):
            valid = [line.removeprefix(_VALID).split() for line in lines if line.startswith(_VALID)]
            signers |= {fingerprint.lower() for words in valid for fingerprint in (words[0], words[-1])}
    return signers


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """Yield an in-memory file, for a program that only reads files."""
    fd = os.memfd_create("openpgp", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def claimed_signer(packet: bytes) -> str | None:
    """Return the signer that a packet claims: a key id or fingerprint in hexadecimal (RFC 9580, section 5.2)."""
    body = _body(packet)
    try:
        if body[0] == 3:  # noqa: PLR2004 - the version
            return body[7:15].hex() or None
        return _issuer(body) if body[0] == 4 else None  # noqa: PLR2004 - the version
    except (IndexError, struct.error):
        return None


def _body(packet: bytes) -> bytes:
    if len(packet) < 3 or not packet[0] & 0x80:  # noqa: PLR2004 - tag, length and something
        return b""
    if packet[0] & 0x40:
        if packet[0] & 0x3F != _SIGNATURE_PACKET:
            return b""
        return packet[1 + _length_octets(packet[1]) :]
    if (packet[0] >> 2) & 0x0F != _SIGNATURE_PACKET:
        return b""
    return packet[1 + (1, 2, 4, 0)[packet[0] & 3] :]


def _length_octets(first: int) -> int:
    if first < 192:  # noqa: PLR2004 - RFC 9580, section 4.2.1
        return 1
    return 2 if first < 255 else 5  # noqa: PLR2004 - as above


def _issuer(body: bytes) -> str | None:
    """Return the issuer in the subpackets of a version 4 signature, preferring the hashed ones."""
    position = 4
    for _ in ("hashed", "not hashed"):
        (length,) = struct.unpack_from(">H", body, position)
        key = _in_subpackets(body[position + 2 : position + 2 + length])
        if key:
            return key
        position += 2 + length
    return None


def _in_subpackets(area: bytes) -> str | None:
    position = 0
    while position < len(area):
        octets = _length_octets(area[position])
        length = int.from_bytes(area[position : position + octets].lstrip(b"\xff"))
        if octets == 2:  # noqa: PLR2004 - as above
            length = ((area[position] - 192) << 8) + area[position + 1] + 192
        content = area[position + octets : position + octets + length]
        if content and content[0] & 0x7F in _ISSUERS:
            return content[_ISSUERS[content[0] & 0x7F] :].hex()
        position += octets + max(length, 1)
    return None
