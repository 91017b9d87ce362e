"""Whether a client certificate grants access to a path.

As in Pulp 2, a client certificate may list its paths, in extensions `1.3.6.1.4.1.2312.9.2.<product>.1.6`; one with a
list grants no other path, and one without grants all repositories of its CA.
"""

import re
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

_ROOT: Final = "1.3.6.1.4.1.2312.9."
_PATH: Final = re.compile(r"1\.3\.6\.1\.4\.1\.2312\.9\.2\.\d+\.1\.6", re.ASCII)
_VARIABLE: Final = re.compile(r"\$\w+", re.ASCII)
_STRINGS: Final = frozenset({0x0C, 0x13, 0x16})  # UTF8String, PrintableString, IA5String
_LONG: Final = 0x80


def lets_in(der: bytes, authorities: str, path: str, now: datetime) -> bool:
    """Whether a certificate is signed by one of the CAs (PEM), is valid now, and covers a path.

    Args:
        der: the client's certificate.
        authorities: certificates of the CAs, which must have signed it directly.
        path: the requested path, below `/pulp/<kind>`.
        now: the time.
    """
    try:
        signers = _signers(der, authorities)
        certificate = x509.load_der_x509_certificate(der)
        chain = (*signers, certificate)
        in_time = all(link.not_valid_before_utc <= now <= link.not_valid_after_utc for link in chain)
        if not signers or not in_time:
            return False
        entitlements = [entry for entry in certificate.extensions if entry.oid.dotted_string.startswith(_ROOT)]
        paths = [_text(entry.value) for entry in entitlements if _PATH.fullmatch(entry.oid.dotted_string)]
        return not entitlements or any(_covers(allowed, path) for allowed in paths if allowed)
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _signers(der: bytes, authorities: str) -> tuple[x509.Certificate, ...]:
    """Return the first of the CAs that has signed the certificate, or none."""
    certificate = x509.load_der_x509_certificate(der)
    for authority in x509.load_pem_x509_certificates(authorities.encode()):
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return (authority,)
    return ()


def _covers(allowed: str, path: str) -> bool:
    """Whether a path lies at or below an allowed one, in which `$releasever` and the like stand for one folder."""
    pattern = "".join(
        f"/{'[^/]+' if _VARIABLE.fullmatch(part) else re.escape(part)}" for part in allowed.strip("/").split("/")
    )
    return re.match(rf"{pattern}(/|\Z)", f"/{path.strip('/')}") is not None


def _text(value: x509.ExtensionType) -> str:
    """Return the text of an extension that cryptography does not know: a DER string, or bare text."""
    raw = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
    if len(raw) > 1 and raw[0] in _STRINGS:
        raw = raw[2:] if raw[1] < _LONG else raw[2 + (raw[1] & ~_LONG) :]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""
