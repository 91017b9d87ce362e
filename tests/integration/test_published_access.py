"""Access to published files: by protocol, password and client certificate; with curl, dnf and pip."""

import base64
import datetime as dt
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from pulpit.published.entitlements import lets_in
from support import upstream as serving
from support import yum
from support.server import API, Server, pulpit
from support.upstream import Upstream
from support.waiting import until

LOGIN, PASSWORD = "reader", "s3cret:wörd"
AUTH = {"basic_auth_username": LOGIN, "basic_auth_password": PASSWORD}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with serving.running() as one:
        one.put("a.iso", b"a" * 1000)
        one.manifest()
        yield one


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("plain") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secured")
    authority.cert_pem.write_to_path(str(folder / "server-ca.pem"))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    (folder / "server.pem").chmod(0o600)
    conf = f"[server]\nssl_certificate: {folder}/server.pem\nssl_key: {folder}/server.pem\n"
    with pulpit(folder / "data", conf, folder / "server-ca.pem") as server:
        yield server


def create(server: Server, upstream: Upstream, repo_id: str, **config: Any) -> None:
    """Make, sync and publish a repository of files."""
    body: dict[str, Any] = {"id": repo_id, "importer_type_id": "iso_importer"}
    body["importer_config"] = {"feed": upstream.url}
    distributor = {"distributor_id": "iso_distributor", "distributor_type_id": "iso_distributor", "auto_publish": True}
    body["distributors"] = [{**distributor, "distributor_config": config}]
    server.call("POST", f"{API}/repositories/", body)
    assert server.ended(server.sync(repo_id))["state"] == "finished"


def change(server: Server, repo_id: str, **config: Any) -> None:
    path = f"{API}/repositories/{repo_id}/distributors/iso_distributor/"
    answer = server.call("PUT", path, {"distributor_config": config})
    server.ended(answer["spawned_tasks"][0]["task_id"])


def curl(url: str, *options: str) -> int:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *options, url]
    return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout)


def listed(url: str, *options: str) -> list[str]:
    command = ["curl", "-s", "-H", "Accept: application/json", *options, url]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return [entry["name"] for entry in json.loads(answer)["entries"]]


def test_user_and_password_open_a_repository_and_nothing_else_does(plain: Server, upstream: Upstream) -> None:
    create(plain, upstream, "closed", relative_url="team/closed", **AUTH)
    create(plain, upstream, "open")
    url = f"{plain.url}/pulp/isos/team/closed/a.iso"

    assert curl(url) == 401
    assert curl(url, "-u", f"{LOGIN}:wrong") == 401
    assert curl(url, "-u", f"admin:{plain.password}") == 401
    assert curl(url, "-H", "Authorization: Basic !") == 401
    assert curl(url, "-u", f"{LOGIN}:{PASSWORD}") == 200
    assert curl(f"{plain.url}/pulp/isos/team/closed/", "-u", f"{LOGIN}:{PASSWORD}") == 200
    assert curl(f"{plain.url}/pulp/isos/team/closed/nothing") == 404
    assert curl(f"{plain.url}/pulp/isos/open/a.iso") == 200


def test_what_is_not_for_everybody_is_not_named_in_listings(plain: Server, upstream: Upstream) -> None:
    create(plain, upstream, "secret", relative_url="hidden/secret", **AUTH)
    create(plain, upstream, "seen", relative_url="shown/seen")

    names = listed(f"{plain.url}/pulp/isos/")
    assert "shown" in names
    assert "hidden" not in names
    assert curl(f"{plain.url}/pulp/isos/hidden/") == curl(f"{plain.url}/pulp/isos/hidden") == 404
    assert curl(f"{plain.url}/pulp/isos/shown") == 301


def test_a_password_is_kept_as_a_hash_and_never_shown(plain: Server, upstream: Upstream) -> None:
    create(plain, upstream, "hashed", **AUTH)
    path = f"{API}/repositories/hashed/distributors/iso_distributor/"
    change(plain, "hashed", basic_auth_password="another")
    config = plain.call("GET", path)["config"]

    assert (config["basic_auth_username"], config["basic_auth_password"]) == (LOGIN, "*****")
    change(plain, "hashed", basic_auth_password="*****")
    url = f"{plain.url}/pulp/isos/hashed/a.iso"
    until(lambda: curl(url, "-u", f"{LOGIN}:another") == 200, what="the new password to count")
    kept = b"".join(file.read_bytes() for file in plain.data_dir.glob("pulpit.db*"))
    assert b"another" not in kept
    assert PASSWORD.encode() not in kept
    assert b"scrypt$" in kept


def test_a_protection_counts_at_once_without_a_publish(plain: Server, upstream: Upstream) -> None:
    create(plain, upstream, "later")
    url = f"{plain.url}/pulp/isos/later/a.iso"
    assert curl(url) == 200

    change(plain, "later", **AUTH)

    until(lambda: curl(url) == 401, what="the protection")


def test_pulp_admin_says_who_is_served(plain: Server, upstream: Upstream, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the readers\n")
    secret.chmod(0o600)

    def admin(*words: str) -> None:
        program = str(Path(sys.executable).with_name("pulp-admin"))
        command = [program, "--url", plain.url, "--username", "admin", "--password", plain.password, "iso", "repo"]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    own = ("--repo-id", "told")
    admin("create", *own, "--feed", upstream.url, "--reader-user", LOGIN, "--reader-pass-file", str(secret))
    admin("sync", "run", *own)
    url = f"{plain.url}/pulp/isos/told/a.iso"
    assert curl(url) == 401
    assert curl(url, "-u", f"{LOGIN}:of the readers") == 200

    admin("update", *own, "--reader-user", "")

    until(lambda: curl(url) == 200, what="everybody to be served")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"basic_auth_username": "me"}, "user and password are needed together"),
        ({"basic_auth_username": "a:b", "basic_auth_password": "x"}, "colon"),
        ({"basic_auth_username": "me", "basic_auth_password": "x" * 1025}, "at most 1024 characters"),
        ({"ssl_auth_ca_cert": "-----BEGIN CERTIFICATE-----\nnonsense"}, "PEM file of certificates"),
    ],
)
def test_what_would_protect_nothing_is_refused(plain: Server, config: dict[str, Any], sentence: str) -> None:
    distributor = {"distributor_type_id": "iso_distributor", "distributor_config": config, "auto_publish": True}
    body = json.dumps({"id": "refused", "importer_type_id": "iso_importer", "distributors": [distributor]})
    command = ["curl", "-s", "-u", f"admin:{plain.password}", "-d", body, f"{plain.url}{API}/repositories/"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert sentence in answer.stdout


def test_dnf_knows_user_and_password(plain: Server, tmp_path: Path) -> None:
    reason = yum.tools("rpmbuild", "dnf")
    if reason:
        pytest.skip(reason)
    rpms = [yum.build(tmp_path, "bear", "4.1")]
    with serving.running() as feed:
        yum.serve(feed, yum.listed(yum.packages(rpms)), rpms)
        body: dict[str, Any] = {"id": "zoo", "importer_type_id": "yum_importer"}
        body["importer_config"] = {"feed": feed.url}
        distributor = {"distributor_id": "yum", "distributor_type_id": "yum_distributor", "auto_publish": True}
        body["distributors"] = [{**distributor, "distributor_config": AUTH}]
        plain.call("POST", f"{API}/repositories/", body)
        assert plain.ended(plain.sync("zoo"))["state"] == "finished"

    def packages(password: str) -> "subprocess.CompletedProcess[str]":
        command = ["dnf", "-q", "--noplugins", f"--repofrompath=zoo,{plain.url}/pulp/repos/zoo/", "--repo=zoo"]
        command += [f"--setopt=cachedir={tmp_path}/{password}", f"--setopt=logdir={tmp_path}", "--releasever=1"]
        command += ["--setopt=reposdir=/nonexistent", f"--setopt=zoo.username={LOGIN}", "--setopt=retries=1"]
        command += [f"--setopt=zoo.password={password}", "--refresh", "repoquery", "bear"]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert "bear-0:4.1-1.noarch" in packages(PASSWORD).stdout
    assert "bear" not in packages("wrong").stdout  # it passes over a repository that it may not have


def test_pip_knows_user_and_password(plain: Server, tmp_path: Path) -> None:
    wheel = tmp_path / "bear-4.1-py3-none-any.whl"
    program = "import sys,zipfile; z=zipfile.ZipFile(sys.argv[1],'w'); d='bear-4.1.dist-info/'; "
    program += "z.writestr(d+'METADATA','Metadata-Version: 2.1\\nName: bear\\nVersion: 4.1\\n'); "
    program += "z.writestr(d+'WHEEL','Wheel-Version: 1.0\\nTag: py3-none-any\\n'); z.writestr(d+'RECORD',''); z.close()"
    subprocess.run([sys.executable, "-c", program, str(wheel)], check=True, timeout=60)
    with serving.running() as feed:
        feed.put(wheel.name, wheel.read_bytes())
        feed.manifest()
        create(plain, feed, "wheels", basic_auth_username=LOGIN, basic_auth_password="secret")
    links = f"{plain.url.replace('://', f'://{LOGIN}:secret@')}/pulp/isos/wheels/"

    command = [sys.executable, "-m", "pip", "download", "-q", "--no-index", "--no-deps", "--disable-pip-version-check"]
    command += ["--find-links", links, "-d", str(tmp_path / "got"), "bear"]
    subprocess.run(command, check=True, timeout=100)

    assert (tmp_path / "got" / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(
    ("config", "statuses"),
    [
        ({}, (200, 200, 200)),
        ({"serve_http": True, "serve_https": False}, (200, 200, 403)),
        ({"serve_http": False, "serve_https": True}, (200, 403, 200)),
        ({"serve_http": False, "serve_https": False}, (403, 403, 403)),
    ],
)
def test_a_plain_server_of_this_machine_serves_what_a_protocol_allows(
    plain: Server, upstream: Upstream, config: dict[str, bool], statuses: tuple[int, int, int]
) -> None:
    """Asked directly, through a proxy over HTTP, and through one over HTTPS."""
    direct, by_proxy, by_secure_proxy = statuses
    repo_id = f"protocol-{len(config)}-{direct}-{by_proxy}-{by_secure_proxy}"
    create(plain, upstream, repo_id, **config)
    url = f"{plain.url}/pulp/isos/{repo_id}/a.iso"

    assert curl(url) == direct
    assert curl(url, "-H", "X-Forwarded-Proto: http") == by_proxy
    assert curl(url, "-H", "X-Forwarded-Proto: https") == by_secure_proxy
    assert curl(url, "-H", "Host: mirror.example.com") == by_proxy
    assert (repo_id in listed(f"{plain.url}/pulp/isos/")) == (direct == 200)


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"serve_http": True, "serve_https": False}, 200),
        ({"serve_http": False, "serve_https": True}, 200),
        ({"serve_http": False, "serve_https": False}, 403),
    ],
)
def test_a_server_that_speaks_https_alone_serves_what_any_protocol_allows(
    secured: Server, upstream: Upstream, config: dict[str, bool], status: int
) -> None:
    repo_id = f"secured-{config['serve_http']}-{config['serve_https']}"
    create(secured, upstream, repo_id, **config)
    ca = str(secured.data_dir.parent / "server-ca.pem")

    assert curl(f"{secured.url}/pulp/isos/{repo_id}/a.iso", "--cacert", ca) == status


def test_a_client_certificate_of_the_repositorys_authority_opens_it(
    secured: Server, upstream: Upstream, tmp_path: Path
) -> None:
    mine, foreign = trustme.CA(), trustme.CA()
    create(secured, upstream, "entitled", ssl_auth_ca_cert=mine.cert_pem.bytes().decode(), serve_http=True)
    create(secured, upstream, "foreign", ssl_auth_ca_cert=foreign.cert_pem.bytes().decode())
    cert, other, unknown = tmp_path / "mine.pem", tmp_path / "other.pem", tmp_path / "unknown.pem"
    mine.issue_cert("consumer@example.org").private_key_and_cert_chain_pem.write_to_path(str(cert))
    foreign.issue_cert("consumer@example.org").private_key_and_cert_chain_pem.write_to_path(str(other))
    trustme.CA().issue_cert("stranger@example.org").private_key_and_cert_chain_pem.write_to_path(str(unknown))
    url, ca = f"{secured.url}/pulp/isos/entitled/a.iso", str(secured.data_dir.parent / "server-ca.pem")

    until(lambda: curl(url, "--cacert", ca, "--cert", str(cert)) == 200, what="the authority to be known")
    assert curl(url, "--cacert", ca) == 403
    until(lambda: curl(url, "--cacert", ca, "--cert", str(other)) == 403, what="the other one, too")
    assert curl(url, "--cacert", ca, "--cert", str(unknown)) == 0  # TLS refuses it
    assert curl(f"{secured.url}/pulp/isos/foreign/a.iso", "--cacert", ca, "--cert", str(cert)) == 403
    assert curl(f"{secured.url}{API}/repositories/", "--cacert", ca, "--cert", str(cert)) == 401
    assert {"entitled", "foreign"} & set(listed(f"{secured.url}/pulp/isos/", "--cacert", ca)) == set()


def test_what_asks_for_certificates_is_never_served_without_tls_of_ours(plain: Server, upstream: Upstream) -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    create(plain, upstream, "guarded", ssl_auth_ca_cert=pem, serve_http=True, serve_https=True)
    url = f"{plain.url}/pulp/isos/guarded/a.iso"

    assert curl(url) == 403
    assert curl(url, "-H", "X-Forwarded-Proto: https") == 403
    assert "guarded" not in listed(f"{plain.url}/pulp/isos/")


def test_a_certificate_that_names_paths_opens_no_other() -> None:
    authority = trustme.CA()
    pem = authority.cert_pem.bytes().decode()
    now = dt.datetime.now(dt.UTC)
    bare = authority.issue_cert("a@example.org")
    der = x509.load_pem_x509_certificate(bare.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)
    assert lets_in(der, pem, "/zoo/a.iso", now)
    assert not lets_in(der, pem, "/zoo/a.iso", now + dt.timedelta(days=365_000))
    assert not lets_in(der, trustme.CA().cert_pem.bytes().decode(), "/zoo/a.iso", now)
    assert not lets_in(b"garbage", pem, "/zoo/a.iso", now)

    entitled = _with_paths(authority, "/content/$releasever/zoo", "/isos/bear")
    assert lets_in(entitled, pem, "/content/9/zoo/a.iso", now)
    assert lets_in(entitled, pem, "/isos/bear/", now)
    for path in ("/content/9/zoology/a.iso", "/content/zoo/a.iso", "/isos/bears/a", "/", "/x/content/9/zoo/a"):
        assert not lets_in(entitled, pem, path, now)
    assert not lets_in(_with_paths(authority), pem, "/zoo/a.iso", now)


def _with_paths(authority: trustme.CA, *paths: str) -> bytes:
    """An entitlement certificate; without paths one of a kind that is not understood."""
    signer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = authority._private_key
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(signer.subject).issuer_name(signer.subject)
    builder = builder.public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    for number, path in enumerate(paths):
        oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.2312.9.2.{number}.1.6")
        value = b"\x0c" + bytes([len(path)]) + path.encode()
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    if not paths:
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.2312.9.7")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, base64.b64decode("AAAA")), critical=False)

    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_a_small_file_again_and_again_on_one_connection_keeps_to_http(plain: Server, upstream: Upstream) -> None:
    create(plain, upstream, "again")
    path = "/pulp/isos/again/a.iso"
    assert curl(f"{plain.url}{path}") == 200  # from now on it is ready
    plainly: dict[str, str] = {}
    asked = [
        ("GET", path, plainly, 200),
        ("GET", path, plainly, 200),
        ("GET", f"{path}?x=y", plainly, 200),
        ("HEAD", path, plainly, 200),
        ("GET", path, {"Range": "bytes=0-9"}, 206),
        ("GET", path, {"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 200),
        ("POST", path, {"Content-Length": "0"}, 405),
        ("GET", "/pulp/isos/again/b.iso", plainly, 404),
        ("GET", "/pulp//isos/again/a.iso", plainly, 200),
        ("GET", "/pulp/isos/again/%61.iso", plainly, 200),
        ("GET", "/pulp/api/v2/status/", plainly, 200),
        ("GET", path, {"Connection": "close"}, 200),
    ]
    lines = []
    for method, target, headers, _ in asked:
        further = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        lines.append(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{further}\r\n")
    with socket.create_connection(("127.0.0.1", plain.port), timeout=60) as client:
        client.sendall("".join(lines).encode())  # all at once, so that each waits for the one before it
        sent = b""
        while piece := client.recv(65536):
            sent += piece
    answers = re.split(rb"(?=HTTP/1\.1 \d\d\d )", sent)[1:]
    assert [int(answer.split()[1]) for answer in answers] == [status for *_, status in asked]
    wholes = [answer for answer in answers if answer.endswith(b"\r\n\r\n" + b"a" * 1000)]
    assert len(wholes) == 7
    heads = [sorted(answer.partition(b"\r\n\r\n")[0].split(b"\r\n")) for answer in wholes]
    for head in heads:
        told = [line for line in head if not line.startswith((b"date", b"connection"))]
        assert told == [line for line in heads[0] if not line.startswith((b"date", b"connection"))]
        assert len([line for line in head if line.startswith(b"date: ")]) == 1
