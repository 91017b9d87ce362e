"""The nginx configuration of docs/operations.md, with other ports and paths, in front of a server."""

import http.client
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from support import upstream as serving
from support.ports import free_port
from support.processes import listens
from support.server import API, Server, pulpit
from support.waiting import until

DOCS = Path(__file__).resolve().parents[2] / "docs"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
CONTENT = b"content of a file\n" * 100_000

pytestmark = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed (Debian: nginx-light)")


@dataclass(frozen=True, kw_only=True)
class Front:
    """A server with nginx before it."""

    server: Server
    port: int
    authority: Path

    def ask(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        context = ssl.create_default_context(cafile=self.authority)
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=60)
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    with serving.running() as upstream, pulpit(folder / "data") as server:
        upstream.put("a.iso", CONTENT)
        upstream.manifest()
        for repo_id, config in (("secure", {"serve_http": False}), ("open", {"serve_https": False}), ("both", {})):
            _create(server, upstream.url, repo_id, config)
        nginx = subprocess.Popen([NGINX, "-c", _configured(folder, port, server.port), "-e", folder / "error.log"])
        try:
            until(lambda: listens(port), what="nginx")
            yield Front(server=server, port=port, authority=folder / "ca.pem")
        finally:
            nginx.terminate()
            nginx.wait(60)


def _create(server: Server, feed: str, repo_id: str, config: dict[str, Any]) -> None:
    distributor = {"distributor_type_id": "iso_distributor", "auto_publish": True, "distributor_config": config}
    body: dict[str, Any] = {"id": repo_id, "importer_type_id": "iso_importer", "importer_config": {"feed": feed}}
    body |= {"distributors": [distributor], "notes": {"_repo-type": "iso-repo"}}
    server.call("POST", f"{API}/repositories/", body)
    assert server.ended(server.sync(repo_id))["state"] == "finished"


def _configured(folder: Path, port: int, behind: int) -> Path:
    text = (DOCS / "operations.md").read_text(encoding="utf-8").partition("### nginx in front")[2]
    block = text.split("```")[1]
    for old, new in (
        ("8443", f"127.0.0.1:{port}"),
        ("mirror.example.com", "localhost"),
        ("24880", str(behind)),
        ("/etc/nginx/", f"{folder}/"),
    ):
        assert old in block
        block = block.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{block} }}\n"
    )
    return config


def test_files_come_through_with_their_tags_and_parts(front: Front) -> None:
    status, headers, body = front.ask("/pulp/isos/both/a.iso")
    assert (status, body) == (200, CONTENT)
    assert front.ask("/pulp/isos/both/a.iso", If_None_Match=headers["etag"])[0] == 304
    assert front.ask("/pulp/isos/both/a.iso", Range="bytes=10-19")[::2] == (206, CONTENT[10:20])
    assert front.ask("/pulp/isos/both")[1]["location"] == "./both/"
    assert b"a.iso" in front.ask("/pulp/isos/both/")[2]


def test_a_repository_is_served_over_the_protocol_that_nginx_speaks(front: Front) -> None:
    assert front.ask("/pulp/isos/secure/a.iso")[0] == 200
    assert front.ask("/pulp/isos/open/a.iso")[0] == 403
    listed = json.loads(front.ask("/pulp/isos/", Accept="application/json")[2])
    assert [entry["name"] for entry in listed["entries"]] == ["both", "secure"]


def test_pulp_admin_and_the_feed_of_events_work_through_it(front: Front, tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("pulp-admin"))
    command = [program, "--url", f"https://localhost:{front.port}", "--ca-path", str(front.authority)]
    command += ["--username", "admin", "--password", front.server.password, "iso", "repo", "list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "secure" in done.stdout

    tail = [str(Path(sys.executable).with_name("pulpit")), "tail", "--after", "0", "--count", "4", *command[1:9]]
    done = subprocess.run(tail, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 4, done.stderr
