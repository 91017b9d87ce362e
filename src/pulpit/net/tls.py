# SPDX-License-Identifier: Apache-2.0
"""TLS contexts from certificate, key and CA files; errors as sentences.

Certificates expire while a server runs, so a context in use can load a new one: later handshakes use it, existing
connections keep the old one.
"""

import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError

_ROOT: Final = 0
_LONGEST: Final = 4 * 1024 * 1024
_BEGINS: Final = "-----BEGIN "
_CERTIFICATE: Final = _BEGINS + "CERTIFICATE-----"
_KEY: Final = "PRIVATE KEY-----"
_REASONS: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS.",
    "RECORD_LAYER_FAILURE": "it does not speak TLS.",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate.",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the client certificate.",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks another version of TLS.",
    "UNSUPPORTED_PROTOCOL": "it speaks another version of TLS.",
    "UNEXPECTED_EOF_WHILE_READING": "it broke off TLS.",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refused the handshake; it may want a client certificate.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateFiles:
    """A certificate chain and its private key, possibly in one file.

    `source` names the configuration keys for messages.
    """

    certificate: Path
    key: Path
    source: str

    def check(self) -> None:
        """Check the files.

        Raises:
            ConfigurationError: they cannot be read, others can read the key, or the two do not match.
        """
        self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def load(self, context: ssl.SSLContext) -> None:
        """Load them into a context, for every handshake from now on.

        Raises:
            ConfigurationError: as above; a context in use is unchanged.
        """
        self._require(self.certificate, _CERTIFICATE, "certificate")
        self._require(self.key, _KEY, "private key")
        # A key must be private to its owner; root may let a group read it, as distributions do.
        found = self.key.stat()
        allowed = stat.S_IRWXU | (stat.S_IRGRP if found.st_uid == _ROOT else 0)
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & ~allowed:
            raise ConfigurationError(self.source, f"others can read the key in {self.key}; run: chmod 600 {self.key}")
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._refuse_to_ask)
        except ssl.SSLError as error:
            reason = f"{self.certificate} and {self.key} cannot be used ({error.reason or error})."
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = f"the key in {self.key} is not the one of the certificate in {self.certificate}."
            raise ConfigurationError(self.source, reason) from None

    def renew(self, context: ssl.SSLContext) -> None:
        """Load them into a context in use, or leave it unchanged.

        Raises:
            ConfigurationError: they cannot be used now.
        """
        self.check()
        self.load(context)

    def _require(self, path: Path, mark: str, what: str) -> None:
        if mark not in read_pem(path, self.source):
            raise ConfigurationError(self.source, f"{path} holds no {what} in PEM.")

    def _refuse_to_ask(self) -> str:
        raise ConfigurationError(self.source, f"the key in {self.key} is locked by a passphrase; store it without one.")


def client_context(authorities: str | Path | None = None) -> ssl.SSLContext:
    """Return a client context that trusts the system's CAs, or those of a file or folder.

    Raises:
        OSError: the file or folder cannot be used.
    """
    if not authorities:
        return ssl.create_default_context()
    if Path(authorities).is_dir():
        return ssl.create_default_context(capath=authorities)
    return ssl.create_default_context(cafile=authorities)


def configured_context(
    authorities: Path | None, source: str, certificate: CertificateFiles | None = None
) -> ssl.SSLContext:
    """Return a client context for configured files, optionally with a client certificate.

    Args:
        authorities: a file or folder with CA certificates; null is the system's.
        source: the key or option that names it.
        certificate: the client certificate, if there is one.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    try:
        is_file = authorities is not None and not authorities.is_dir()
        if authorities is not None and is_file and _CERTIFICATE not in read_pem(authorities, source):
            raise ConfigurationError(source, f"{authorities} holds no certificate in PEM.")
        context = client_context(authorities)
    except OSError as error:
        raise ConfigurationError(source, f"{authorities} cannot be used ({error.strerror or error}).") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        certificate.load(context)
    return context


def section_context(section: str, cacert: str, clientcert: str) -> ssl.SSLContext:
    """Return the context of a section of the configuration that has these two keys; they are empty if not set.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    certificate = client_certificate(section, clientcert) if clientcert else None
    return configured_context(Path(cacert) if cacert else None, f"[{section}] cacert", certificate)


def client_certificate(section: str, clientcert: str) -> CertificateFiles:
    """Return the files behind the key `clientcert` of a section: one file holds the certificate and its key."""
    return CertificateFiles(certificate=Path(clientcert), key=Path(clientcert), source=f"[{section}] clientcert")


def trust_authorities(authorities: Path, source: str, context: ssl.SSLContext) -> None:
    """Let a context also trust the CAs in a file, or in a folder prepared by `openssl rehash`.

    Raises:
        ConfigurationError: a file contains none, or cannot be read.
    """
    if authorities.is_dir():
        context.load_verify_locations(capath=authorities)
        return
    if _CERTIFICATE not in read_pem(authorities, source):
        raise ConfigurationError(source, f"{authorities} holds no certificate in PEM.")
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise ConfigurationError(source, f"{authorities} cannot be used ({error.reason or error}).") from None


def in_words(error: ssl.SSLError) -> str:
    """Describe an error of a peer for users."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message.rstrip('.')}."
    return reason_in(str(error)) or f"TLS failed ({error.strerror or error})."


def reason_in(text: str) -> str | None:
    """Translate OpenSSL's reason code in an error's text."""
    return next((words for reason, words in _REASONS.items() if reason in text), None)


def read_pem(path: Path, source: str) -> str:
    """Read a PEM file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError as error:
        raise ConfigurationError(source, f"{path} cannot be read ({error.strerror}).") from None
