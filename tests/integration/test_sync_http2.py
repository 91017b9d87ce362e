"""An upstream that speaks HTTP/2, as most do today: nginx with TLS."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from support.mirror import Mirror, mirror
from support.ports import free_port
from support.processes import listens
from support.upstream import line
from support.waiting import until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
FILES = {f"{number:03}.bin": (b"%d" % number) * (3 if number % 20 else 200_000) for number in range(200)}

pytestmark = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed (Debian: nginx-light)")


@dataclass(frozen=True)
class Nginx:
    url: str
    authority: str
    log: Path


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    with tempfile.TemporaryDirectory(prefix="pulpit-nginx-") as folder:  # its workers may be another user
        yield from running(Path(folder))


def running(folder: Path) -> Iterator[Nginx]:
    port, authority = free_port(), trustme.CA()
    (folder / "files" / "elsewhere").mkdir(parents=True)
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    for name, content in FILES.items():
        (folder / "files" / name).write_bytes(content)
    shutil.move(folder / "files" / "007.bin", folder / "files" / "elsewhere" / "a~+b")
    (folder / "files" / "PULP_MANIFEST").write_text("".join(f"{line(*file)}\n" for file in FILES.items()))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ log_format own '$server_protocol $status $request_uri'; access_log {folder}/access.log own;\n"
        f"client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;\n"
        f"uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n"
        f"server {{ listen 127.0.0.1:{port} ssl http2; root {folder}/files; keepalive_requests 50;\n"
        f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;\n"
        "location = /007.bin { return 302 /elsewhere/a%7e%2bb?x=%2f; } } }\n"
    )
    for path in (folder, folder / "files", folder / "files" / "elsewhere"):
        path.chmod(0o755)
    with subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-e", folder / "error.log"]) as server:
        try:
            until(lambda: listens(port), what="nginx")
            yield Nginx(f"https://localhost:{port}/", authority.cert_pem.bytes().decode(), folder / "access.log")
        finally:
            server.terminate()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    (tmp_path / "data").mkdir()
    with mirror(tmp_path / "data") as one:
        yield one


def test_everything_comes_over_http_2_and_a_redirect_keeps_its_bytes(nginx: Nginx, here: Mirror) -> None:
    here.create("zoo", nginx.url, {"ssl_ca_cert": nginx.authority})

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.added_count) == ("success", len(FILES)), outcome.error_message
    assert {path.name for path in here.stored()} == {hashlib.sha256(content).hexdigest() for content in FILES.values()}
    asked = nginx.log.read_text().splitlines()
    assert {entry.split()[0] for entry in asked} == {"HTTP/2.0"}
    assert "HTTP/2.0 200 /elsewhere/a%7e%2bb?x=%2f" in asked
    assert len(asked) == len(FILES) + 2
