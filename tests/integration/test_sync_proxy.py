"""A real proxy between Pulpit and its upstream: tinyproxy, with plain requests and with CONNECT."""

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from support import upstream as serving
from support import yum
from support.mirror import Mirror, mirror
from support.ports import free_port, own_address
from support.processes import listens
from support.upstream import Upstream
from support.waiting import until

FILES = {"small.iso": b"s" * 1000, "large.iso": b"l" * 300_000}


@dataclass(frozen=True)
class Proxy:
    """A proxy that lets in whoever says the word."""

    port: int
    log: Path

    def config(self, **further: Any) -> dict[str, Any]:
        login = {"proxy_username": "keeper", "proxy_password": "s3cret"}
        return {"proxy_host": "127.0.0.1", "proxy_port": self.port, **login, **further}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    missing = yum.tools("tinyproxy")
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("proxy")
    one = Proxy(free_port(), folder / "log")
    conf = folder / "conf"
    own = f'Port {one.port}\nListen 127.0.0.1\nLogFile "{one.log}"\n'
    conf.write_text(f"{own}Timeout 60\nBasicAuth keeper s3cret\nLogLevel Connect\n")
    with subprocess.Popen(["tinyproxy", "-d", "-c", str(conf)], stdout=subprocess.DEVNULL) as running:
        try:
            until(lambda: listens(one.port), what="the proxy")
            yield one
        finally:
            running.terminate()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path) as one:
        yield one.impatient(stall_timeout=10.0, answer_timeout=10.0, connect_timeout=10.0)


def fill(upstream: Upstream) -> None:
    for name, content in FILES.items():
        upstream.put(name, content)
    upstream.manifest()


def test_every_request_goes_by_the_proxy(here: Mirror, proxy: Proxy) -> None:
    with serving.running() as upstream:
        fill(upstream)
        here.create("zoo", upstream.url, proxy.config())

        assert here.sync("zoo").result == "success"
        assert len(here.stored()) == len(FILES)
        assert len(upstream.asked) == 3
        assert all("tinyproxy" in headers["Via"] for _, headers in upstream.asked)


def test_an_encrypted_upstream_is_reached_by_a_tunnel_that_the_proxy_cannot_look_into(
    here: Mirror, proxy: Proxy
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with serving.running(tls=context) as upstream:
        fill(upstream)
        here.create("zoo", upstream.url, proxy.config(ssl_ca_cert=authority.cert_pem.bytes().decode()))

        assert here.sync("zoo").result == "success"
        assert len(here.stored()) == len(FILES)
        assert not any("Via" in headers or "Proxy-Authorization" in headers for _, headers in upstream.asked)
        assert f"CONNECT {upstream.url.removeprefix('https://').strip('/')}" in proxy.log.read_text()


def test_a_proxy_that_wants_another_word_is_said(here: Mirror, proxy: Proxy) -> None:
    with serving.running() as upstream:
        fill(upstream)
        here.create("zoo", upstream.url, proxy.config(proxy_password="another"))

        outcome = here.sync("zoo")

        assert outcome.result == "failed"
        assert "was answered with 401" in str(outcome.error_message)
        assert "another" not in str(outcome.error_message)
        assert upstream.asked == []


def test_a_proxy_that_is_not_there_is_said(here: Mirror) -> None:
    with serving.running() as upstream:
        fill(upstream)
        here.create("zoo", upstream.url, {"proxy_host": "127.0.0.1", "proxy_port": free_port()})

        outcome = here.sync("zoo")

        assert outcome.result == "failed"
        assert "could not be connected to" in str(outcome.error_message)
        assert upstream.asked == []


def test_c12_a_proxy_on_this_machine_is_no_way_into_it(here: Mirror, proxy: Proxy) -> None:
    address = own_address()
    with serving.running() as inside, serving.running(host=address) as outside:
        inside.put("secret", b"secret")
        outside.put("PULP_MANIFEST", f"{serving.line('secret', b'secret')}\n".encode())
        for number, place in enumerate((inside.url, inside.url.replace("127.0.0.1", "localhost"))):
            outside.misbehave("secret", serving.redirect(f"{place}secret"))
            here.create(f"zoo{number}", outside.url, proxy.config())

            assert "leads where it must not" in str(here.sync(f"zoo{number}").error_message)
        assert inside.paths() == []
