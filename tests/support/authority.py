"""A certificate authority for one test, with its certificates as files."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """Hands out certificates into a folder; keys are for their owner alone, as they should be."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *hosts: str, expired: bool = False, common_name: str | None = None) -> Path:
        """A file with a key and its certificate for some hosts; one of that name is replaced."""
        before = datetime.now(UTC) - timedelta(days=1)
        leaf = self._authority.issue_cert(
            *(hosts or ("127.0.0.1", "localhost")),
            common_name=common_name,
            not_before=before - timedelta(days=9) if expired else None,
            not_after=before if expired else None,
        )
        path = self._folder / f"{name}.pem"
        path.unlink(missing_ok=True)
        leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
        return path

    def server(self, certificate: Path) -> ssl.SSLContext:
        """How a server speaks TLS with a certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        return context

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        """How a client speaks TLS that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context
