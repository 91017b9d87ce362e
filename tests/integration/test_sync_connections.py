"""Ways to reach an upstream: TLS, client certificates, logins, proxies, limits of speed and number."""

import base64
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support import upstream as serving
from support.mirror import Mirror, mirror
from support.ports import own_address
from support.upstream import Answering, Upstream


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path) as one:
        yield one.impatient(stall_timeout=5.0, answer_timeout=5.0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def fill(upstream: Upstream) -> None:
    upstream.put("a.iso", b"content")
    upstream.manifest()


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def secure(authority: trustme.CA, *, client_certificate: bool = False, host: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


def test_a_certificate_of_the_configured_authority_is_trusted(here: Mirror, authority: trustme.CA) -> None:
    with serving.running(tls=secure(authority)) as upstream:
        fill(upstream)
        here.create("zoo", upstream.url, {"ssl_ca_cert": pem(authority)})

        assert here.sync("zoo").result == "success"


def test_a_strange_certificate_is_refused_unless_asked(here: Mirror, authority: trustme.CA) -> None:
    with serving.running(tls=secure(authority)) as upstream:
        fill(upstream)
        here.create("zoo", upstream.url)
        here.create("careless", upstream.url, {"ssl_validation": False})

        assert "has a certificate that is not trusted" in str(here.sync("zoo").error_message)
        assert here.sync("careless").result == "success"


def test_a_client_certificate_is_shown(here: Mirror, authority: trustme.CA) -> None:
    client = authority.issue_cert("client.example")
    with serving.running(tls=secure(authority, client_certificate=True)) as upstream:
        fill(upstream)
        config = {
            "ssl_ca_cert": pem(authority),
            "ssl_client_cert": client.cert_chain_pems[0].bytes().decode(),
            "ssl_client_key": client.private_key_pem.bytes().decode(),
        }
        here.create("zoo", upstream.url, config)
        here.create("nobody", upstream.url, {"ssl_ca_cert": pem(authority)})

        assert here.sync("zoo").result == "success"
        assert here.sync("nobody").result == "failed"


@pytest.mark.parametrize("named", [False, True])
def test_a12_a_client_certificate_is_shown_to_another_host_only_where_the_operator_names_it(
    here: Mirror, authority: trustme.CA, named: bool
) -> None:
    client, address = authority.issue_cert("client.example"), own_address()
    demanding = secure(authority, client_certificate=True, host=address)
    with serving.running() as feed, serving.running(tls=demanding, host=address) as elsewhere:
        fill(elsewhere)
        feed.put("PULP_MANIFEST", elsewhere.files["PULP_MANIFEST"])
        port = elsewhere.url.rpartition(":")[2]
        feed.misbehave("a.iso", serving.redirect(f"https://{address}:{port}a.iso"))
        config = {
            "ssl_ca_cert": pem(authority),
            "ssl_client_cert": client.cert_chain_pems[0].bytes().decode(),
            "ssl_client_key": client.private_key_pem.bytes().decode(),
            "ssl_client_cert_hosts": ["mirror.example.org", address] if named else None,
        }
        here.create("zoo", feed.url, config)
        outcome = here.sync("zoo")
    assert (outcome.result, elsewhere.paths()) == (("success", ["a.iso"]) if named else ("failed", []))


def test_certificates_that_cannot_be_used_are_named(here: Mirror) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nxxxx\n-----END CERTIFICATE-----\n"
    here.create("zoo", "https://localhost:1/", {"ssl_ca_cert": broken})
    here.create("farm", "https://localhost:1/", {"ssl_client_cert": broken})

    assert str(here.sync("zoo").error_message).startswith("ssl_ca_cert cannot be used")
    assert str(here.sync("farm").error_message).startswith("ssl_client_cert and ssl_client_key cannot be used")


def test_an_encrypted_upstream_cannot_send_elsewhere_in_clear(here: Mirror, authority: trustme.CA) -> None:
    with serving.running() as plain, serving.running(tls=secure(authority)) as upstream:
        fill(plain)
        upstream.misbehave("PULP_MANIFEST", serving.redirect(plain.url + "PULP_MANIFEST"))
        here.create("zoo", upstream.url, {"ssl_ca_cert": pem(authority)})

        assert "which is not encrypted" in str(here.sync("zoo").error_message)


def test_a_login_is_sent(here: Mirror) -> None:
    with serving.running() as upstream:
        fill(upstream)
        here.create("zoo", upstream.url, {"basic_auth_username": "me", "basic_auth_password": "p\u00e4ss"})

        assert here.sync("zoo").result == "success"
        expected = "Basic " + base64.b64encode("me:p\u00e4ss".encode()).decode()
        assert {headers.get("Authorization") for _, headers in upstream.asked} == {expected}


def test_a_login_is_not_sent_to_another_server(here: Mirror) -> None:
    with serving.running() as upstream, serving.running() as other:
        fill(upstream)
        fill(other)
        upstream.misbehave("a.iso", serving.redirect(other.url + "a.iso"))
        here.create("zoo", upstream.url, {"basic_auth_username": "me", "basic_auth_password": "secret"})

        assert here.sync("zoo").result == "success"
        assert [headers.get("Authorization") for _, headers in other.asked] == [None]


def test_a_proxy_is_asked(here: Mirror) -> None:
    with serving.running() as upstream, serving.running() as proxy:
        fill(upstream)
        asked: list[str | None] = []

        def forward(answering: Answering) -> None:
            asked.append(answering.headers.get("Proxy-Authorization"))
            with urllib.request.urlopen(answering.path, timeout=60) as answer:
                answering.answer(200, answer.read())

        for path in ("PULP_MANIFEST", "a.iso"):
            proxy.misbehave(upstream.url + path, forward)
        port = int(proxy.url.rsplit(":", 1)[1].strip("/"))
        config = {"proxy_host": "127.0.0.1", "proxy_port": port, "proxy_username": "me", "proxy_password": "secret"}
        here.create("zoo", upstream.url, config)

        assert here.sync("zoo").result == "success"
        assert asked == ["Basic " + base64.b64encode(b"me:secret").decode()] * 2


def test_speed_is_limited(here: Mirror) -> None:
    with serving.running() as upstream:
        upstream.put("a.iso", b"x" * 200_000)
        upstream.manifest()
        here.create("zoo", upstream.url, {"max_speed": 400_000})
        began = time.monotonic()

        assert here.sync("zoo").result == "success"
        assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_downloads_than_allowed_run_at_once(here: Mirror, most: int) -> None:
    lock = threading.Lock()
    running = [0, 0]

    def count(answering: Answering) -> None:
        with lock:
            running[0] += 1
            running[1] = max(running)
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        answering.serve(answering.path.lstrip("/"))

    with serving.running() as upstream:
        for number in range(8):
            upstream.put(f"{number}.iso", str(number).encode())
            upstream.misbehave(f"{number}.iso", count)
        upstream.manifest()
        here.create("zoo", upstream.url, {"max_downloads": most})

        assert here.sync("zoo").result == "success"
    assert running[1] == most


@pytest.mark.parametrize("place", ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://169.254.169.254/"])
def test_an_upstream_elsewhere_leads_not_into_this_machine(here: Mirror, place: str) -> None:
    address = own_address()
    with serving.running() as inside, serving.running(host=address) as outside:
        fill(inside)
        port = inside.url.rpartition(":")[2].strip("/")
        outside.misbehave("PULP_MANIFEST", serving.redirect(place.format(port=port) + "PULP_MANIFEST"))
        here.create("zoo", outside.url)

        record = here.sync("zoo")
        assert record.result == "failed"
        assert "leads where it must not" in (record.error_message or "")
        assert inside.paths() == []
