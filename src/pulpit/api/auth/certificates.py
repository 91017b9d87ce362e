"""Client certificates for logins: `pulp-admin login` stores one and uses it instead of the password for a week.

Pulpit is its own CA for them; the CA's key and certificate are created when they are first needed. A certificate names
a login and contains a digest of the password hash, so it becomes invalid when the password changes or the user is
deleted.
"""

import contextlib
import hashlib
import hmac
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pulpit.clock import Clock
from pulpit.errors import AuthenticationFailed
from pulpit.store.users import User

FILE_NAME: Final = "client-ca.pem"
LIFETIME: Final = timedelta(days=7)
"""As Pulp 2's default."""

_CA_LIFETIME: Final = timedelta(days=3650)
_CLOCK_SKEW: Final = timedelta(minutes=5)
_KEY_BITS: Final = 2048
_AUTHORITY: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pulpit client authority")])
_USAGES: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class BadCertificate(AuthenticationFailed):
    """The client certificate does not, or no longer, belong to a user."""

    code = "PLP0029"
    auth_error_code = "invalid_ssl_certificate"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Authority:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate


class ClientCertificates:
    """Issues and verifies users' certificates with the CA of one data folder."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._path: Final = data_dir / FILE_NAME
        self._clock: Final = clock

    def authority_file(self) -> Path:
        """The file with the CA's certificate, with which a TLS server verifies client certificates."""
        self._authority()
        return self._path

    def issue(self, user: User) -> tuple[str, str]:
        """Create a key and a certificate for a user, both as PEM."""
        authority = self._authority()
        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        name = x509.Name(
            [
                # A common name has at most 64 characters (RFC 5280, ub-common-name).
                x509.NameAttribute(NameOID.COMMON_NAME, user.login[:64]),
                x509.NameAttribute(NameOID.USER_ID, user.login),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, _tie(user)),
            ]
        )
        builder = _builder(name, key, authority.certificate.public_key(), self._clock(), LIFETIME)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(authority.key, hashes.SHA256())
        )
        return _pem(key), certificate.public_bytes(serialization.Encoding.PEM).decode()

    def login_of(self, der: bytes) -> str:
        """Return the login that a certificate names; `check` decides whether it still belongs to the user.

        Raises:
            BadCertificate: it is not ours, or has expired.
        """
        with _unreadable_is_bad():
            certificate = x509.load_der_x509_certificate(der)
            certificate.verify_directly_issued_by(self._authority().certificate)
            now = self._clock()
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise BadCertificate("The client certificate has expired; log in again.")
            return _attribute(certificate, NameOID.USER_ID)

    def check(self, der: bytes, user: User | None) -> User:
        """Return the user if the certificate is still theirs.

        Raises:
            BadCertificate: the user is gone, or has changed the password since.
        """
        with _unreadable_is_bad():
            tie = _attribute(x509.load_der_x509_certificate(der), NameOID.ORGANIZATIONAL_UNIT_NAME)
        if user is None or not hmac.compare_digest(tie, _tie(user)):
            raise BadCertificate("The client certificate does not count any more; log in again.")
        return user

    def _authority(self) -> _Authority:
        try:
            pem = self._path.read_bytes()
        except FileNotFoundError:
            self._make_authority()
            pem = self._path.read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise BadCertificate(f"The file {FILE_NAME} holds no RSA key.")
        return _Authority(key=key, certificate=x509.load_pem_x509_certificate(pem))

    def _make_authority(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        builder = _builder(_AUTHORITY, key, key.public_key(), self._clock(), _CA_LIFETIME)
        key_usage = x509.KeyUsage(**{usage: usage in ("key_cert_sign", "crl_sign") for usage in _USAGES})
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _write_once(self._path, _pem(key).encode() + certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, key: rsa.RSAPrivateKey, issuer_key: object, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    if not isinstance(issuer_key, rsa.RSAPublicKey):
        raise TypeError(issuer_key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_AUTHORITY)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _tie(user: User) -> str:
    """Return what ties a certificate to this user with this password."""
    return hashlib.sha256(f"{user.object_id} {user.password_hash}".encode()).hexdigest()


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    [attribute] = certificate.subject.get_attributes_for_oid(oid)
    return str(attribute.value)


def _pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@contextlib.contextmanager
def _unreadable_is_bad() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, InvalidSignature):
        raise BadCertificate("The client certificate is none of this server's.") from None


def _write_once(path: Path, content: bytes) -> None:
    """Write a file atomically; if it exists already, that one is kept."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
