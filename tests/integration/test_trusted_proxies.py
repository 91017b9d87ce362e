"""Whose `X-Forwarded-*` headers a server believes."""

import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support import upstream
from support.server import API, Server, pulpit


def filled(server: Server, feed: str) -> None:
    """A repository for HTTPS alone."""
    distributor = {"distributor_type_id": "iso_distributor", "auto_publish": True}
    distributors = [{**distributor, "distributor_config": {"serve_http": False, "serve_https": True}}]
    body = {"id": "zoo", "importer_type_id": "iso_importer", "importer_config": {"feed": feed}}
    server.call("POST", f"{API}/repositories/", {**body, "distributors": distributors})
    assert server.ended(server.sync("zoo"))["state"] == "finished"


@pytest.fixture(scope="module")
def feed() -> Iterator[str]:
    with upstream.running() as upstream_:
        upstream_.put("a.iso", b"a")
        upstream_.manifest()
        yield upstream_.url


def status(server: Server, source: str, **headers: str) -> int:
    """How a request from an address of this machine is answered."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60, source_address=(source, 0))
    with closing(line):
        forwarded = {f"X-Forwarded-{name}": text for name, text in headers.items()}
        line.request("GET", "/pulp/isos/zoo/a.iso", headers=forwarded)
        return line.getresponse().status


def test_a_proxy_is_believed_if_it_is_named(tmp_path: Path, feed: str) -> None:
    with pulpit(tmp_path / "data", "[server]\ntrusted_proxies: 127.0.0.2, 127.0.1.0/24\n") as server:
        filled(server, feed)
        for source, believed in (("127.0.0.2", 200), ("127.0.1.7", 200), ("127.0.0.3", 403), ("127.0.0.1", 403)):
            assert status(server, source, Proto="https", For="192.0.2.1") == believed, source
            assert status(server, source, Proto="http", For="192.0.2.1") == 403


def test_ipv4_at_a_socket_for_both_versions_is_ipv4(tmp_path: Path, feed: str) -> None:
    with pulpit(tmp_path / "data", "[server]\nhost: ::ffff:127.0.0.1\n") as server:
        filled(server, feed)
        assert status(server, "127.0.0.1", Proto="https", For="192.0.2.1") == 200
        assert status(server, "127.0.0.2", Proto="https", For="192.0.2.1") == 403
