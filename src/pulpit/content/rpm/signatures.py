"""Signatures: of `repomd.xml` by gpgv, and whose key signed a package, read from its header.

What is read of a package is who claims to have signed it; that its bytes are those of the signed list makes it so.
"""

import base64
import binascii
import shutil
import struct
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pulpit.content.limits import KIB
from pulpit.content.port import BadFeed
from pulpit.errors import WorkFailed

MOST_SIGNATURE: Final = 256 * KIB
_TIMEOUT: Final = 30.0
_BEGIN: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END: Final = "-----END PGP PUBLIC KEY BLOCK-----"

_LEAD: Final = 96
_HEADER_MAGIC: Final = b"\x8e\xad\xe8\x01"
_INDEX: Final = struct.Struct(">IIII")
_MOST_ENTRIES: Final = 1024
_MOST_STORE: Final = 4096 * KIB
_SIGNATURE_TAGS: Final = frozenset({267, 268, 1002, 1005})  # DSAHEADER, RSAHEADER, PGP, GPG
_SIGNATURE_PACKET: Final = 2
_ISSUERS: Final = {16: 1, 33: 2}
"""Subpackets that name the signer, and where in them: a key id, and a version with a fingerprint."""


def check_repomd(document: Path, signature: Path, public_keys: str, keyring: Path) -> None:
    """Refuse a `repomd.xml` that none of the keys signed; `keyring` is a path to write the keys to.

    Raises:
        BadFeed: it was not.
        WorkFailed: there is no gpgv to ask.
    """
    program = shutil.which("gpgv")
    if program is None:
        raise WorkFailed("repo_gpgcheck needs the program gpgv (Debian: apt install gpgv).")
    keyring.write_bytes(_dearmored(public_keys))
    command = [program, "--homedir", str(keyring.parent), "--keyring", str(keyring), str(signature), str(document)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False)  # noqa: S603 - our own words
    except subprocess.TimeoutExpired:
        raise WorkFailed("gpgv did not end in time.") from None
    if ended.returncode != 0:
        raise BadFeed("repomd.xml is refused: none of the keys of gpgkey signed it.")


def _dearmored(text: str) -> bytes:
    """The binary keys of armoured ones (RFC 9580, section 6)."""
    keys = b""
    for block in text.split(_BEGIN)[1:]:
        _, _, body = block.partition(_END)[0].replace("\r\n", "\n").partition("\n\n")
        lines = [line for line in body.split() if not line.startswith("=")]
        try:
            keys += base64.b64decode("".join(lines), validate=True)
        except binascii.Error:
            raise WorkFailed("gpgkey cannot be used: it is no armoured OpenPGP key.") from None
    return keys


def package_flaw(path: Path, allowed: Collection[str]) -> str | None:
    """Why a package's signature is not enough, as the end of a sentence, or `None`.

    `allowed` are the ends of key ids or fingerprints; without any, every signature is enough.
    """
    with path.open("rb") as file:
        signers = set(signers_of(file))
    if not signers:
        return "is not signed"
    wanted = tuple(one.lower().removeprefix("0x") for one in allowed)
    if wanted and not any(_same(signer, one) for signer in signers for one in wanted):
        return f"is signed by {', '.join(sorted(signers))}, which is none of the allowed keys"
    return None


def signers_of(file: BinaryIO) -> Iterator[str]:
    """The key ids (or fingerprints) in a package's signature header, in hexadecimal; none if it is no package."""
    file.seek(_LEAD)
    head = file.read(16)
    if len(head) < 16 or head[:4] != _HEADER_MAGIC:  # noqa: PLR2004 - the size of a header's head
        return
    count, size = struct.unpack(">II", head[8:])
    if count > _MOST_ENTRIES or size > _MOST_STORE:
        return
    index, store = file.read(count * _INDEX.size), file.read(size)
    if len(index) < count * _INDEX.size:
        return
    for tag, _kind, offset, length in _INDEX.iter_unpack(index):
        if tag in _SIGNATURE_TAGS:
            signer = _signer(store[offset : offset + length])
            if signer:
                yield signer


def _same(signer: str, wanted: str) -> bool:
    return signer.endswith(wanted) or wanted.endswith(signer)


def _signer(packet: bytes) -> str | None:
    """Whose signature an OpenPGP packet is (RFC 9580, section 5.2)."""
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
    """The issuer in the subpackets of a version 4 signature, those that are hashed first."""
    position = 4
    for _ in ("hashed", "not hashed"):
        (length,) = struct.unpack_from(">H", body, position)
        found = _in_subpackets(body[position + 2 : position + 2 + length])
        if found:
            return found
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
