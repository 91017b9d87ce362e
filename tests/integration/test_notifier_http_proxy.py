"""Webhooks through a real proxy: tinyproxy, asked in absolute form and for a tunnel."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.http_config import configured_proxy
from pulpit.delivery.notifiers.port import Delivered, Outcome, Retry
from pulpit.errors import ConfigurationError
from pulpit.net.addresses import parse_networks
from support import yum
from support.made_events import event
from support.ports import free_port
from support.processes import listens
from support.waiting import until
from support.webhooks import sink

LOOPBACK = parse_networks("127.0.0.0/8")
LOGIN = {"proxy_username": "keeper", "proxy_password": "s3cret-word"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    missing = yum.tools("tinyproxy")
    if missing:
        pytest.skip(missing)
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    conf, log = folder / "conf", folder / "log"
    conf.write_text(
        f'Port {port}\nListen 127.0.0.1\nLogFile "{log}"\nBasicAuth keeper s3cret-word\nLogLevel Connect\nTimeout 60\n'
    )
    with subprocess.Popen(["tinyproxy", "-d", "-c", str(conf)], stdout=subprocess.DEVNULL) as running:
        try:
            until(lambda: listens(port), what="the proxy")
            yield f"http://127.0.0.1:{port}", log
        finally:
            running.terminate()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


async def outcome(config: dict[str, Any], **options: Any) -> Outcome:
    kind = Http(system_clock, **options)
    try:
        (done,) = await kind.open(config).deliver([event()])
        return done
    finally:
        await kind.close()


def test_b19_a_listener_goes_through_its_proxy(proxy: tuple[str, Path]) -> None:
    url, log = proxy

    async def story() -> None:
        async with sink() as far:
            done = await outcome({"url": f"{far.url}/x", "proxy": url, **LOGIN}, allow=LOOPBACK)
            assert done == Delivered(answer="200 OK")
            assert far.calls[0].path == "/x"
            assert "Proxy-Authorization" not in far.calls[0].headers
            assert "Request (file descriptor" in log.read_text()

    run(story)


def test_b19_https_goes_through_a_tunnel(proxy: tuple[str, Path], tmp_path: Path) -> None:
    authority, ca = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def story() -> None:
        async with sink(context) as far:
            config = {"url": far.url, "proxy": proxy[0], "ca_path": str(ca), **LOGIN}
            assert await outcome(config, allow=LOOPBACK) == Delivered(answer="200 OK")
            assert "Proxy-Authorization" not in far.calls[0].headers
            refused = await outcome({**config, "proxy_password": "wrong-word"}, allow=LOOPBACK)
            assert isinstance(refused, Retry)
            assert refused.reason.startswith(f"The proxy does not let the request through to {far.url}: it answered 40")

    run(story)


def test_b19_the_servers_proxy_needs_no_permission_and_a_listener_may_go_past_it(proxy: tuple[str, Path]) -> None:
    configured = configured_proxy(proxy[0].replace("://", "://keeper:s3cret-word@"))

    async def story() -> None:
        async with sink() as far:
            name = far.url.replace("127.0.0.1", "localhost")
            assert await outcome({"url": name}, proxy=configured) == Delivered(answer="200 OK")
            direct = await outcome({"url": name, "proxy": "none"}, proxy=configured)
            assert isinstance(direct, Retry)
            assert "webhook_allow" in direct.reason

    run(story)


def test_b19_a_listeners_own_proxy_is_judged_by_the_guard() -> None:
    async def story() -> None:
        for host in ("localhost", "127.0.0.1"):
            done = await outcome({"url": "http://hooks.example/", "proxy": f"http://{host}:3128"})
            assert isinstance(done, Retry)
            assert "webhook_allow" in done.reason
            assert "hooks.example" not in done.reason

    run(story)


def test_b19_a_proxy_that_is_not_there_or_repeats_the_login_gives_no_secret_away() -> None:
    async def story() -> None:
        port = free_port()
        proxied = {"url": "http://hooks.example/", "proxy": f"http://127.0.0.1:{port}", **LOGIN}
        assert await outcome(proxied, allow=LOOPBACK) == Retry(
            reason=f"No connection to the proxy 127.0.0.1:{port}: Connection refused."
        )
        async with sink() as far:
            far.says(502, "keeper:s3cret-word a2VlcGVyOnMzY3JldC13b3Jk")
            done = await outcome({**proxied, "proxy": far.url}, allow=LOOPBACK)
        assert isinstance(done, Retry)
        assert "s3cret-word" not in done.reason
        assert "a2VlcGVyOnMzY3JldC13b3Jk" not in done.reason

    run(story)


@pytest.mark.parametrize(
    "text",
    [
        "proxy:3128",
        "https://proxy",
        "http://joe:s3cr/et@proxy:1",
        "http://joe:s3cret@proxy:x",
        "http://proxy/path?s3cret",
    ],
)
def test_b19_a_configured_proxy_that_cannot_be_used_is_named_and_not_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[server\] webhook_proxy: it ") as caught:
        configured_proxy(text)
    assert "s3cr" not in str(caught.value)
