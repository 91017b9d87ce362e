"""Certificates in files: every problem is one sentence."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pulpit.errors import ConfigurationError
from pulpit.net.tls import CertificateFiles, in_words, reason_in
from support.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files(certificate: Path, key: Path) -> CertificateFiles:
    return CertificateFiles(certificate=certificate, key=key, source="[server] ssl_certificate, ssl_key")


def refused(certificate: Path, key: Path, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        files(certificate, key).check()
    assert "\n" not in str(caught.value)


def test_a_certificate_and_its_key_are_taken_from_one_file_or_two(authority: Authority, tmp_path: Path) -> None:
    both = authority.issue("both")
    files(both, both).check()
    alone = tmp_path / "alone.pem"
    alone.write_text("".join(part for part in both.read_text().partition("-----BEGIN CERTIFICATE-----")[1:]))
    files(alone, both).check()


def test_each_fault_has_its_sentence(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    refused(tmp_path / "absent", one, "absent cannot be read")
    refused(authority.file, authority.file, "holds no private key")
    refused(one, other, "is not the one of the certificate")
    empty = tmp_path / "empty"
    empty.write_text("")
    refused(empty, one, "holds no certificate")
    broken = tmp_path / "broken"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    refused(broken, one, "cannot be used")


def test_a_key_that_others_can_read_is_refused(authority: Authority) -> None:
    path = authority.issue("one")
    for mode in (0o604, 0o620, 0o644):
        path.chmod(mode)
        refused(path, path, "chmod 600")
    path.chmod(0o400)
    files(path, path).check()


def test_a_locked_key_is_not_asked_for_at_the_terminal(authority: Authority, tmp_path: Path) -> None:
    path = authority.issue("one")
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    locked.chmod(0o600)
    refused(path, locked, "locked by a passphrase")


def test_a_renewal_that_fails_leaves_the_context_as_it_was(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = authority.issue("one")
    files(path, path).load(context)
    with pytest.raises(ConfigurationError):
        files(path, authority.issue("other")).renew(context)
    assert handshake(context, authority.client()) == ("DNS", "localhost")


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """Shake hands in memory and return the last name in the certificate."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    right = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (left, right):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = left.getpeercert()
    assert certificate
    return certificate["subjectAltName"][-1]  # type: ignore[return-value] # pairs of names


def test_what_a_peer_does_wrong_is_told() -> None:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1000)")
    assert in_words(error) == "it does not speak TLS."
    assert in_words(ssl.SSLError(1, "something else")).startswith("TLS failed (")
    assert reason_in("nothing of it") is None
