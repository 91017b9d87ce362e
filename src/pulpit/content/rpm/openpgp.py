"""OpenPGP as far as others' signatures need it: keys out of their armour, whom a signature names, and its proof."""

import base64
import binascii
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Final

from pulpit.errors import WorkFailed

_TIMEOUT: Final = 300.0
"""Seconds that gpgv may take; it reads the whole of a package."""
_BEGIN: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END: Final = "-----END PGP PUBLIC KEY BLOCK-----"
_SIGNATURE_PACKET: Final = 2
_ISSUERS: Final = {16: 1, 33: 2}
"""Subpackets that name the signer, and where in them: a key id, and a version with a fingerprint."""
_VALID: Final = "[GNUPG:] VALIDSIG "
_REVOKED: Final = "[GNUPG:] REVKEYSIG "


def dearmored(text: str) -> bytes:
    """The binary keys of armoured ones (RFC 9580, section 6).

    Raises:
        WorkFailed: they are none.
    """
    keys = b""
    for block in text.split(_BEGIN)[1:]:
        _, _, body = block.partition(_END)[0].replace("\r\n", "\n").partition("\n\n")
        lines = [line for line in body.split() if not line.startswith("=")]
        try:
            keys += base64.b64decode("".join(lines), validate=True)
        except binascii.Error:
            raise WorkFailed("gpgkey cannot be used: it is no armoured OpenPGP key.") from None
    return keys


def signers(signature: bytes, signed: bytes | IO[bytes], keys: bytes) -> set[str]:
    """The fingerprints of the keys, and of the main keys that they belong to, that made a right signature.

    Args:
        signature: armoured or not.
        signed: what it should cover; a file is read from where it stands.
        keys: binary public keys.

    Raises:
        WorkFailed: there is no gpgv to ask, or it does not end.
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
            ended = subprocess.run(  # noqa: S603 - our own words
                command, stdin=source, capture_output=True, timeout=_TIMEOUT, check=False, pass_fds=(proof, keyring)
            )
        except subprocess.TimeoutExpired:
            raise WorkFailed("gpgv did not end in time.") from None
    lines = ended.stdout.decode(errors="replace").splitlines()
    if ended.returncode != 0 or any(line.startswith(_REVOKED) for line in lines):
        return set()
    words = [line.removeprefix(_VALID).split() for line in lines if line.startswith(_VALID)]
    return {fingerprint.lower() for found in words for fingerprint in (found[0], found[-1])}


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A file that never reaches a disk, for a program that reads only such."""
    fd = os.memfd_create("openpgp", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def signer(packet: bytes) -> str | None:
    """Whose signature a packet says it is: a key id or fingerprint in hexadecimal (RFC 9580, section 5.2)."""
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
