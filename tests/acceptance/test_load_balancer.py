"""Two servers on one PostgreSQL and one object store, behind HAProxy and nginx as in docs/operations.md."""

import contextlib
import csv
import http.client
import http.cookiejar
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from support import postgresql as pg
from support import upstream as serving
from support.ports import free_port
from support.processes import listens
from support.server import API, Server
from support.shared import Shared, beside, shared_by
from support.waiting import until

DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
BALANCERS = {"haproxy": HAPROXY, "nginx": NGINX}
LARGE = bytes(range(256)) * 12_000
"""More than is fetched at once for a reader: it is streamed."""
PROXY = "127.0.0.2"
"""The balancer's address, which the servers do not believe unless it is named."""
DRAIN_S = 8
FILES = {"small.iso": b"small", "large.iso": LARGE}

pytestmark = pytest.mark.skipif(bool(pg.why_not()), reason=str(pg.why_not()))


@dataclass(kw_only=True)
class Balanced:
    """A balancer before two servers, and its readers."""

    kind: str
    port: int
    context: ssl.SSLContext
    authority: Path
    servers: list[Server]
    folder: Path
    wrong: list[str] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    """Answers to readers, by server."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, timeout: float = 60, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        line = http.client.HTTPSConnection("localhost", self.port, context=self.context, timeout=timeout)
        with contextlib.closing(line):
            line.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = line.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the REST API as the administrator."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        status, _, text = self.ask(method, path, data, Authorization=self.servers[0].basic)
        assert status < 300, (method, path, status, text)
        return json.loads(text or b"null")

    def read_until(self, over: threading.Event) -> None:
        """Read files, whole, in part and conditionally, over one connection as long as it lasts."""
        line = http.client.HTTPSConnection("localhost", self.port, context=self.context, timeout=60)
        with contextlib.closing(line):
            while not over.is_set():
                for name, content in FILES.items():
                    for part in ("", "bytes=10-19"):
                        line.request("GET", f"/pulp/isos/zoo/{name}", headers={"Range": part} if part else {})
                        answer = line.getresponse()
                        body = answer.read()
                        wanted = (206, content[10:20]) if part and len(content) > 10 else (200, content)
                        if (answer.status, body) != wanted and not (part and answer.status == 416):
                            self.wrong.append(f"{name} {part}: {answer.status} {body[:200]!r}")
                        self.served[answer.headers["X-Served"] or ""] += 1


@contextlib.contextmanager
def readers(balanced: Balanced, count: int = 3) -> Iterator[None]:
    """Read all the while; no reader may see an error."""
    over, failed = threading.Event(), list[BaseException]()

    def read() -> None:
        try:
            balanced.read_until(over)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(120)
    assert (failed, balanced.wrong) == ([], [])


def configuration(kind: str, folder: Path, port: int, behind: list[int]) -> Path:
    """The blocks of the documentation, with other ports and paths."""
    section = DOCS.read_text(encoding="utf-8").partition("### nginx in front")[2].partition("\n## ")[0]
    blocks = [block.partition("\n")[2] for block in section.split("```")[1::2]]
    (proxy,) = (block for block in blocks if block.startswith("server {"))
    (haproxy,) = (block for block in blocks if block.startswith("defaults"))
    (servers,) = (block for block in blocks if block.startswith("upstream"))
    text = haproxy if kind == "haproxy" else servers + proxy
    for number, (host, there) in enumerate(zip(("10.0.0.11", "10.0.0.12"), behind, strict=True)):
        assert f"{host}:24880" in text, number
        text = text.replace(f"{host}:24880", f"127.0.0.1:{there}" + (f" source {PROXY}" if kind == "haproxy" else ""))
    if kind == "haproxy":
        text = text.replace(":8443", f"127.0.0.1:{port}").replace("/etc/haproxy/", f"{folder}/")
        text = text.replace("inter 2s", "inter 500ms") + "    http-response set-header X-Served %s\n"
        path = folder / "haproxy.cfg"
        path.write_text(f"global\n    stats socket {folder}/stats\n{text}")
        return path
    further = 'proxy_set_header Connection ""; proxy_connect_timeout 5s; proxy_next_upstream error timeout http_503;'
    for setting in further.split("; "):
        assert setting.rstrip(";") in section
    further += f" proxy_bind {PROXY}; add_header X-Served $upstream_addr always;"
    text = text.replace("proxy_pass http://127.0.0.1:24880;", f"proxy_pass http://servers; {further}")
    text = text.replace("8443", f"127.0.0.1:{port}").replace("/etc/nginx/", f"{folder}/")
    text = text.replace("mirror.example.com", "localhost")
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{text} }}\n"
    )
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared_by("object store", tmp_path_factory.mktemp("shared")) as shared:
        yield shared


@pytest.fixture(scope="module")
def servers(shared: Shared) -> Iterator[list[Server]]:
    """Two servers with a published repository that is for HTTPS alone, as Pulp 2's client creates it."""
    further = f"[server]\ndrain: {DRAIN_S}\ntrusted_proxies: {PROXY}\n"
    one = Server(shared.folder / "one", shared.conf + further)
    with serving.running() as feed, contextlib.ExitStack() as stack:
        for name, content in FILES.items():
            feed.put(name, content)
        feed.manifest()
        stack.callback(one.kill)
        one.start()
        two = beside(shared, one, further=further)
        stack.callback(two.kill)
        two.start()
        distributor = {
            "distributor_id": "iso_distributor",
            "distributor_type_id": "iso_distributor",
            "auto_publish": True,
        }
        body = {"id": "zoo", "importer_type_id": "iso_importer", "importer_config": {"feed": feed.url}}
        distributors = [{**distributor, "distributor_config": {"serve_http": False, "serve_https": True}}]
        one.call("POST", f"{API}/repositories/", {**body, "distributors": distributors})
        assert one.ended(one.sync("zoo"))["state"] == "finished"
        yield [one, two]


@pytest.fixture(params=["haproxy", "nginx"])
def balanced(request: pytest.FixtureRequest, servers: list[Server], tmp_path: Path) -> Iterator[Balanced]:
    program = BALANCERS[request.param]
    if not Path(program).exists():
        pytest.skip(f"{request.param} is not installed")
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "mirror.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    path = configuration(request.param, tmp_path, port, [server.port for server in servers])
    options = ["-db", "-f", str(path)] if request.param == "haproxy" else ["-c", str(path), "-e", str(tmp_path / "e")]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, *options], stdout=output, stderr=output)
    try:
        until(lambda: listens(port) or process.poll() is not None, what=request.param)
        assert process.poll() is None, log.read_text()
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        yield Balanced(
            kind=request.param,
            port=port,
            context=context,
            authority=tmp_path / "ca.pem",
            servers=servers,
            folder=tmp_path,
        )
    finally:
        process.terminate()
        process.wait(60)


def name(balanced: Balanced, server: Server) -> str:
    """What the balancer calls a server."""
    if balanced.kind == "nginx":
        return f"127.0.0.1:{server.port}"
    return "one" if server is balanced.servers[0] else "two"


def is_used(balanced: Balanced, server: Server) -> None:
    """Wait until readers are sent to a server (again)."""
    before = balanced.served[name(balanced, server)]
    until(lambda: balanced.served[name(balanced, server)] > before + 5, what="the balancer to use a server")


def test_no_reader_notices_that_servers_are_restarted_one_after_the_other(balanced: Balanced) -> None:
    with readers(balanced):
        for server in balanced.servers:
            is_used(balanced, server)
            assert server.stop() == 0, server.said
            server.start()
            is_used(balanced, server)


class Visitor:
    """A browser without scripts."""

    def __init__(self, balanced: Balanced) -> None:
        self.url = balanced.url
        handler = urllib.request.HTTPSHandler(context=balanced.context)
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(handler, urllib.request.HTTPCookieProcessor(self.cookies))
        self.served: Counter[str] = Counter()

    def get(self, path: str, fields: dict[str, str] | None = None) -> tuple[str, str]:
        """Where a page or a form leads, and its text."""
        data = urllib.parse.urlencode(fields).encode() if fields else None
        with self.opener.open(f"{self.url}/ui{path}", data, timeout=60) as answer:
            self.served[answer.headers["X-Served"]] += 1
            return urllib.parse.urlsplit(answer.url).path, answer.read().decode()

    def send(self, path: str, of: str, **fields: str) -> tuple[str, str]:
        token = self.get(of)[1].partition('name="form_token" value="')[2].partition('"')[0]
        return self.get(path, {"form_token": token, **fields})


def test_a_login_an_upload_and_the_feed_need_no_sticky_sessions(balanced: Balanced) -> None:
    visitor = Visitor(balanced)
    login = {"login": "admin", "password": balanced.servers[0].password}
    assert visitor.send("/login", "/login", **login)[0] == "/ui/"
    for _ in range(6):
        assert visitor.get("/tasks")[0] == "/ui/tasks"
    assert len(visitor.served) == 2, "the balancer uses both"
    (cookie,) = (cookie for cookie in visitor.cookies if cookie.secure)
    assert visitor.send("/logout", "/tasks")[0] == "/ui/login"
    for _ in range(4):  # a copy of the cookie is of no use, at either server
        status, headers, _ = balanced.ask("GET", "/ui/tasks", Cookie=f"{cookie.name}={cookie.value}")
        assert (status, headers["location"].partition("?")[0]) == (303, "/ui/login")

    tail = [str(Path(sys.executable).with_name("pulpit")), "tail", "--after", "0", "--count", "4"]
    tail += ["--url", balanced.url, "--ca-path", str(balanced.authority), *("--username", "admin")]
    tail += ["--password", balanced.servers[0].password]
    done = subprocess.run(tail, capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stdout.splitlines()) == 4, done.stderr

    upload = balanced.call("POST", f"{API}/content/uploads/")["upload_id"]
    for offset, piece in ((0, b"by foot"), (3, b"hand"), (7, b" and foot")):
        balanced.call("PUT", f"{API}/content/uploads/{upload}/{offset}/", piece)
    key = {"name": f"{balanced.kind}.iso"}
    body = {"upload_id": upload, "unit_type_id": "iso", "unit_key": key}
    begun = balanced.call("POST", f"{API}/repositories/zoo/actions/import_upload/", body)
    balanced.servers[1].ended(begun["spawned_tasks"][0]["task_id"])
    published = balanced.call("POST", f"{API}/repositories/zoo/actions/publish/", {"id": "iso_distributor"})
    balanced.servers[1].ended(published["spawned_tasks"][0]["task_id"])
    for _ in range(4):
        until(
            lambda: balanced.ask("GET", f"/pulp/isos/zoo/{key['name']}")[::2] == (200, b"by hand and foot"),
            what="the publication",
        )


def test_a_server_that_is_killed_or_frozen_is_left_out(balanced: Balanced) -> None:
    """What it was responding to is lost, and then no reader notices."""
    victim = balanced.servers[1]
    left = name(balanced, balanced.servers[0])
    strikes = [(victim.kill, victim.start)]
    if balanced.kind == "haproxy":  # nginx notices only when its patience ends
        strikes.append((victim.freeze, victim.thaw))
    for strike, mend in strikes:
        strike()
        try:
            if balanced.kind == "haproxy":
                until(lambda: "DOWN" in states(balanced), what="HAProxy to leave it out")
            until(lambda: {served(balanced) for _ in range(6)} == {left}, what="the balancer to use the other")
            with readers(balanced):
                is_used(balanced, balanced.servers[0])
        finally:
            mend()
        until(lambda: served(balanced) == name(balanced, victim), what="the balancer to use it again")


def states(balanced: Balanced) -> list[str]:
    """HAProxy's view of the servers."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(f"{balanced.folder}/stats")
        line.sendall(b"show stat\n")
        with line.makefile() as answer:
            rows = list(csv.DictReader(answer))
    return [row["status"] for row in rows if row["# pxname"] == "servers" and row["svname"] != "BACKEND"]


def served(balanced: Balanced) -> str:
    """Which server responds now; empty if a reader would have seen an error."""
    try:
        status, headers, _ = balanced.ask("GET", "/pulp/isos/zoo/small.iso", timeout=5)
    except (OSError, http.client.HTTPException):
        return ""
    return headers.get("x-served", "") if status == 200 else ""
