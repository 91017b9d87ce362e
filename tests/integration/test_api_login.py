"""`login` of the original client: a certificate over TLS instead of a password."""

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from pulpit.api.app import create_app
from pulpit.api.protocol import CertifiedHttp
from pulpit.api.services import Services
from pulpit.store import users
from support.api import V2, basic, services
from support.asgi import served
from support.waiting import PATIENCE


@dataclass(frozen=True, kw_only=True)
class Server:
    port: int
    services: Services
    folder: Path

    def ask(
        self, method: str, path: str, *, headers: dict[str, str], certificate: Path | None = None
    ) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(self.folder / "server-ca.pem"))
        if certificate is not None:
            context.load_cert_chain(certificate)
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=context)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def log_in(self, login: str) -> Path:
        """Do what the client does: put key and certificate into one file."""
        status, body = self.ask("POST", f"{V2}/actions/login/", headers=basic(login))
        assert status == 200
        both = json.loads(body)
        path = self.folder / f"{login}-cert.pem"
        path.write_text(both["key"] + both["certificate"])
        return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "server-ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    (tmp_path / "server.pem").chmod(0o600)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with services(data_dir) as provided:
        tls = {
            "http": CertifiedHttp,
            "ssl_certfile": tmp_path / "server.pem",
            "ssl_ca_certs": str(provided.certificates.authority_file()),
            "ssl_cert_reqs": ssl.CERT_OPTIONAL,
        }
        with served(create_app(provided), host="localhost", **tls) as port:
            yield Server(port=port, services=provided, folder=tmp_path)


def test_the_certificate_does_instead_of_the_password(server: Server) -> None:
    certificate = server.log_in("admin")
    assert server.ask("GET", f"{V2}/events/", headers={}, certificate=certificate) == (200, "[]")
    assert server.ask("GET", f"{V2}/events/", headers={})[0] == 401
    assert (server.services.data_dir / "client-ca.pem").stat().st_mode & 0o777 == 0o600


def test_the_certificate_has_its_users_rights_and_a_password_counts_more(server: Server) -> None:
    certificate = server.log_in("reader")
    status, body = server.ask("DELETE", f"{V2}/users/admin/", headers={}, certificate=certificate)
    assert (status, json.loads(body)["auth_error_code"]) == (401, "permission_denied")
    status, body = server.ask("GET", f"{V2}/events/", headers=basic("admin", "wrong"), certificate=certificate)
    assert (status, json.loads(body)["auth_error_code"]) == (401, "invalid_username_or_password")


@pytest.mark.parametrize("change", ["password", "deletion"])
def test_the_certificate_ends_with_the_password_and_with_the_user(server: Server, change: str) -> None:
    certificate = server.log_in("reader")
    with server.services.database.write() as tx:
        if change == "password":
            users.change(tx, "reader", password_hash="scrypt$2$8$1$AA==$AA==")
        else:
            users.remove(tx, "reader")
    status, body = server.ask("GET", f"{V2}/events/", headers={}, certificate=certificate)
    assert (status, json.loads(body)["auth_error_code"]) == (401, "invalid_ssl_certificate")


def test_a_certificate_of_somebody_else_is_not_even_connected(server: Server) -> None:
    path = server.folder / "foreign.pem"
    trustme.CA().issue_cert("admin").private_key_and_cert_chain_pem.write_to_path(path)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        server.ask("GET", f"{V2}/events/", headers={}, certificate=path)
