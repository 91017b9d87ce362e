"""The http notifier against real receivers on loopback."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from standardwebhooks import Webhook

from pulpit import __version__
from pulpit.clock import system_clock
from pulpit.delivery import headers as event_headers
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.http_connections import LONGEST_ANSWER
from pulpit.delivery.notifiers.port import Delivered, Gone, Outcome, Refused, Retry
from pulpit.net.addresses import parse_networks
from support.made_events import event
from support.webhooks import LOOPBACK, Call, Sink, notifier, outcome, raw, run, sink


def test_posts_the_body_with_all_headers() -> None:
    async def story() -> None:
        happened = event(7, repo_id="zoo & söhne", result="success")
        async with sink() as far, notifier(url=f"{far.url}/hook?key=1") as hook:
            assert await hook.deliver([happened]) == [Delivered(answer="200 OK")]
        (call,) = far.calls
        assert (call.method, call.path, call.body) == ("POST", "/hook?key=1", happened.body.encode())
        wanted = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"Pulpit/{__version__}",
            "ce-specversion": "1.0",
            "ce-id": happened.id,
            "ce-source": "/pulpit/test",
            "ce-type": "repo.sync.finish",
            "ce-time": "2026-05-04T12:00:00.250000Z",
            "ce-subject": "zoo%20&%20s%C3%B6hne",
            "pulpit-number": "7",
            "pulpit-repo-number": "7",
        }
        assert {name: call.headers.get(name) for name in wanted} == wanted
        assert "webhook-id" not in call.headers
        assert "Authorization" not in call.headers

    run(story)


def test_signs_for_the_new_secret_and_the_old_one() -> None:
    async def story() -> None:
        new, old, happened = event_headers.new_secret(), event_headers.new_secret(), event()
        async with sink() as far, notifier(url=far.url, secret=new, old_secret=old) as hook:
            await hook.deliver([happened])
        (call,) = far.calls
        for secret in (new, old):
            assert Webhook(secret).verify(call.body, dict(call.headers))["event_type"] == "repo.sync.finish"
        assert call.headers["webhook-id"] == happened.id

    run(story)


def test_sends_credentials_and_headers_of_the_listener() -> None:
    async def story() -> None:
        async with sink() as far:
            await outcome(far.url, username="joe", password="s3cret", headers={"X-Team": "release", "user-agent": "me"})
            await outcome(far.url, username="joe")
        first, second = far.calls
        assert first.headers["Authorization"] == "Basic am9lOnMzY3JldA=="
        assert first.headers["X-Team"] == "release"
        assert first.headers.getall("User-Agent") == ["me"]
        assert "Authorization" not in second.headers

    run(story)


def test_goes_in_order_over_one_connection_and_stops_at_the_first_failure() -> None:
    async def story() -> None:
        def third_fails(call: Call) -> web.Response:
            return web.Response(status=503 if call.headers["pulpit-number"] == "3" else 204)

        async with sink() as far, notifier(url=far.url) as hook:
            far.answer = third_fails
            outcomes = await hook.deliver([event(number) for number in range(1, 6)])
        assert [type(one) for one in outcomes] == [Delivered, Delivered, Retry]
        assert [call.headers["pulpit-number"] for call in far.calls] == ["1", "2", "3"]
        assert len({call.peer for call in far.calls}) == 1

    run(story)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Delivered),
        (201, Delivered),
        (204, Delivered),
        (300, Retry),
        (302, Retry),
        (303, Retry),
        (304, Retry),
        (400, Refused),
        (401, Retry),
        (403, Retry),
        (404, Retry),
        (407, Retry),
        (408, Retry),
        (409, Refused),
        (410, Gone),
        (422, Refused),
        (425, Retry),
        (429, Retry),
        (500, Retry),
        (503, Retry),
    ],
)
def test_the_status_decides(status: int, kind: type[Outcome]) -> None:
    async def story() -> None:
        async with sink() as far:
            far.says(status)
            assert type(await outcome(far.url)) is kind

    run(story)


def test_waits_as_long_as_the_receiver_wishes() -> None:
    async def story() -> None:
        async with sink() as far:
            far.says(429, "slow down", {"Retry-After": "17"})
            assert await outcome(far.url) == Retry(
                reason=f"{far.url} answered 429 Too Many Requests: slow down", after=timedelta(seconds=17)
            )

    run(story)


def test_an_answer_is_kept_in_part_and_in_plain_characters() -> None:
    async def story() -> None:
        async with sink() as far:
            far.says(200, "all\x1b[31m well\r\n" + "x" * 100_000)
            done = await outcome(far.url)
        assert isinstance(done, Delivered)
        assert done.answer.startswith("200 OK\nall [31m well xxx")
        assert len(done.answer) <= LONGEST_ANSWER + 10

    run(story)


def test_a10_path_and_query_go_out_as_they_were_written() -> None:
    async def story() -> None:
        async with sink() as far:
            for path in ("/a%2Fb%3a%7e%2b+~?sig=%2F%3D&x=%7E", "/ü?q=ü", "/a//b/../c/"):
                assert isinstance(await outcome(far.url + path), Delivered)
        asked = [call.path for call in far.calls]
        assert asked == ["/a%2Fb%3a%7e%2b+~?sig=%2F%3D&x=%7E", "/%C3%BC?q=%C3%BC", "/a//b/../c/"]

    run(story)


def test_a_receiver_that_repeats_the_request_gives_no_secret_away() -> None:
    async def story() -> None:
        secret = event_headers.new_secret()

        def echo(call: Call) -> web.Response:
            return web.Response(status=500, text=f"{dict(call.headers)} {secret} hunter22")

        async with sink() as far:
            far.answer = echo
            config: dict[str, Any] = {
                "secret": secret,
                "username": "joe",
                "password": "hunter22",
                "headers": {"X-Token": "tok-123"},
            }
            failed = await outcome(f"{far.url}/?token=abc", **config)
        assert isinstance(failed, Retry)
        for hidden in (secret, "hunter22", "tok-123", "am9lOmh1bnRlcjIy", "token=abc"):
            assert hidden not in failed.reason

    run(story)


def test_a_receiver_that_hangs_is_left_in_time() -> None:
    async def story() -> None:
        async with raw(None, close=False) as url:
            assert await outcome(url, timeout=1) == Retry(reason=f"{url} did not answer within 1 seconds.")

    run(story)


def test_refused_connections_closed_ones_and_nonsense_are_retried() -> None:
    async def story() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            assert await outcome(url) == Retry(reason=f"No connection to {url}: Connection refused.")
        async with raw(None) as url:
            assert await outcome(url) == Retry(reason=f"{url} closed the connection without an answer.")
        async with raw(b"220 mail.example ESMTP\r\n") as url:
            assert await outcome(url) == Retry(reason=f"{url} answered something that is not HTTP.")

    run(story)


def test_an_unknown_name_is_retried() -> None:
    async def story() -> None:
        failed = await outcome("http://nowhere.invalid/")
        assert isinstance(failed, Retry)
        assert failed.reason.startswith("The name of http://nowhere.invalid cannot be resolved (")

    run(story)


def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    async def story() -> None:
        async with raw(b"HTTP/1.1 204 No Content\r\n\r\n") as url, notifier(url=url) as hook:
            for number in (1, 2, 3):  # the receiver closes after each answer without saying so
                assert await hook.deliver([event(number)]) == [Delivered(answer="204 No Content")]

    run(story)


# Redirects


def redirecting(far: Sink, status: int, location: str) -> None:
    def answer(call: Call) -> web.Response:
        if call.path == "/old":
            return web.Response(status=status, headers={"Location": location})
        return web.Response(text="here")

    far.answer = answer


def test_redirects_are_not_followed_unless_wished() -> None:
    async def story() -> None:
        async with sink() as far:
            redirecting(far, 307, "/new")
            unfollowed = await outcome(f"{far.url}/old")
            assert isinstance(unfollowed, Retry)
            assert f"it redirects to {far.url}/new, and this is not followed" in unfollowed.reason
            assert [call.path for call in far.calls] == ["/old"]

    run(story)


def test_b18_a_page_of_maintenance_costs_no_event_and_gives_no_token_away() -> None:
    async def story() -> None:
        async with raw(
            b"HTTP/1.1 302 Found\r\nLocation: https://sorry.example/T0KEN?key=K3Y\r\nRetry-After: 60\r\n\r\n"
        ) as url:
            assert await outcome(f"{url}/T0KEN?key=K3Y") == Retry(
                reason=f"{url} answered 302 Found: it redirects to https://sorry.example, and this is not followed.",
                after=timedelta(seconds=60),
            )
        async with raw(b"HTTP/1.1 304 Not Modified\r\n\r\n") as url:
            assert await outcome(url) == Retry(
                reason=f"{url} answered 304 Not Modified: it redirects elsewhere, and this is not followed."
            )

    run(story)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_followed_redirect_repeats_the_post(status: int) -> None:
    async def story() -> None:
        async with sink() as far:
            redirecting(far, status, "/new")
            assert await outcome(f"{far.url}/old", redirects=True) == Delivered(answer="200 OK\nhere")
        first, second = far.calls
        assert (second.method, second.path, second.body) == ("POST", "/new", first.body)

    run(story)


def test_see_other_is_never_taken_for_a_delivery() -> None:
    async def story() -> None:
        async with sink() as far:
            redirecting(far, 303, "/new")
            assert isinstance(await outcome(f"{far.url}/old", redirects=True), Retry)

    run(story)


def test_credentials_stay_with_the_one_they_were_given_to() -> None:
    async def story() -> None:
        async with sink() as far, sink() as stranger:
            redirecting(far, 308, f"{stranger.url}/new")
            config: dict[str, Any] = {
                "username": "joe",
                "password": "pw",
                "headers": {"X-Token": "t"},
                "redirects": True,
            }
            assert isinstance(await outcome(f"{far.url}/old", **config), Delivered)
        assert "X-Token" in far.calls[0].headers
        assert not {"X-Token", "Authorization"} & stranger.calls[0].headers.keys()

    run(story)


def test_a_circle_of_redirects_ends() -> None:
    async def story() -> None:
        async with sink() as far:
            redirecting(far, 307, "/old")
            assert isinstance(await outcome(f"{far.url}/old", redirects=True), Retry)
            assert len(far.calls) == 6

    run(story)


@pytest.mark.parametrize("location", ["", "ftp://127.0.0.1/x", "http://joe:pw@127.0.0.1/", "http://[::1", "//"])
def test_a_redirect_to_nowhere_is_tried_again(location: str) -> None:
    async def story() -> None:
        async with sink() as far:
            redirecting(far, 307, location)
            assert isinstance(await outcome(f"{far.url}/old", redirects=True), Retry)

    run(story)


# The guard


def forbidden(one: Outcome) -> bool:
    return isinstance(one, Retry) and "is no public address" in one.reason and "webhook_allow" in one.reason


def test_loopback_is_only_reached_when_allowed() -> None:
    async def story() -> None:
        async with sink() as far:
            port = far.url.rpartition(":")[2]
            for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"):  # noqa: S104 - as a destination
                assert forbidden(await outcome(f"http://{host}:{port}/", allow=())), host
            for host in ("127.1", "2130706433", "0x7f.1", "0177.0.0.1"):  # other spellings of 127.0.0.1
                assert isinstance(await outcome(f"http://{host}:{port}/", allow=()), Retry), host
            assert far.calls == []

    run(story)


def test_a_name_is_reached_at_those_of_its_addresses_that_are_allowed() -> None:
    async def story() -> None:
        async with sink() as far:
            url = far.url.replace("127.0.0.1", "localhost")
            assert isinstance(await outcome(url, allow=parse_networks("127.0.0.1")), Delivered)
            assert forbidden(await outcome(url, allow=parse_networks("10.0.0.0/8")))
        assert len(far.calls) == 1

    run(story)


def test_a_redirect_does_not_lead_past_the_guard() -> None:
    async def story() -> None:
        async with sink() as far:
            redirecting(far, 307, "http://127.0.0.2:" + far.url.rpartition(":")[2] + "/new")
            blocked = await outcome(f"{far.url}/old", allow=parse_networks("127.0.0.1"), redirects=True)
            assert forbidden(blocked)
            assert [call.path for call in far.calls] == ["/old"]

    run(story)


# TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_a_certificate_of_the_given_authority_is_trusted_and_no_other(authority: trustme.CA, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))

    async def story() -> None:
        async with sink(server_side(authority, "localhost")) as far:
            assert isinstance(await outcome(far.url, ca_path=str(path)), Delivered)
            stranger = await outcome(far.url)
            assert isinstance(stranger, Retry)
            assert stranger.reason.startswith(f"The certificate of {far.url} is not trusted: ")
        async with sink(server_side(authority, "other.example")) as far:
            misnamed = await outcome(far.url, ca_path=str(path))
            assert isinstance(misnamed, Retry)
            assert "is not trusted: " in misnamed.reason
            assert "'localhost'" in misnamed.reason

    run(story)


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl, which names the files of such a folder, is not there"
)
def test_a_folder_of_authorities_is_trusted_in_place_of_the_systems(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, timeout=100)

    async def story() -> None:
        async with sink(server_side(authority, "localhost")) as far:
            assert isinstance(await outcome(far.url, ca_path=str(tmp_path)), Delivered)

    run(story)


def test_tls_with_something_else_and_a_lost_ca_file_are_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with sink() as far:
            url = far.url.replace("http:", "https:")
            failed = await outcome(url)
            assert isinstance(failed, Retry)
            assert failed.reason.startswith(f"TLS with {url} failed (")
            lost = await outcome(url, ca_path=str(tmp_path / "none.pem"))
            assert isinstance(lost, Retry)
            assert lost.reason == f"ca_path {tmp_path}/none.pem cannot be used (No such file or directory)."

    run(story)


@contextlib.contextmanager
def asking_for_certificates(authority: trustme.CA, version: ssl.TLSVersion) -> Iterator[str]:
    """A receiver that takes events only from clients with a certificate of the authority, and tells others why not."""
    context = server_side(authority, "localhost")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version

    def answer(line: ssl.SSLSocket) -> None:
        try:
            line.do_handshake()
            line.recv(65536)
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except ssl.SSLError:
            line.shutdown(socket.SHUT_WR)
            while line.recv(65536):  # closing before would overtake the alert
                pass

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                line = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                with line, contextlib.suppress(OSError):
                    answer(line)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"https://localhost:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join(60)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_receiver_that_asks_for_a_certificate_gets_the_listeners(
    authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "ours", "strangers")}
    authority.cert_pem.write_to_path(str(paths["ca"]))
    for name, of in (("ours", authority), ("strangers", trustme.CA())):
        of.issue_cert("pulpit.example").private_key_and_cert_chain_pem.write_to_path(str(paths[name]))
        paths[name].chmod(0o600)
    ca = str(paths["ca"])

    async def story(url: str) -> None:
        assert isinstance(await outcome(url, ca_path=ca, client_cert_path=str(paths["ours"])), Delivered)
        without, stranger, lost = (
            await outcome(url, ca_path=ca),
            await outcome(url, ca_path=ca, client_cert_path=str(paths["strangers"])),
            await outcome(url, ca_path=ca, client_cert_path=str(tmp_path / "none.pem")),
        )
        assert isinstance(without, Retry)
        assert without.reason.startswith(f"TLS with {url} failed (")
        assert without.reason.endswith("); it may want a client certificate (client_cert_path).")
        assert isinstance(stranger, Retry)
        assert stranger.reason == f"TLS with {url} failed (unknown ca)."
        assert isinstance(lost, Retry)
        assert lost.reason.startswith(f"client_cert_path {tmp_path}/none.pem cannot be used (")

    with asking_for_certificates(authority, version) as url:
        run(lambda: story(url))


def test_a_client_certificate_is_for_the_listeners_own_receiver_alone(authority: trustme.CA, tmp_path: Path) -> None:
    ca, ours = tmp_path / "ca.pem", tmp_path / "ours.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("pulpit.example").private_key_and_cert_chain_pem.write_to_path(str(ours))
    ours.chmod(0o600)

    async def story(elsewhere: str) -> None:
        async with sink(server_side(authority, "localhost")) as far:
            far.says(307, headers={"Location": elsewhere})
            failed = await outcome(far.url, ca_path=str(ca), client_cert_path=str(ours), redirects=True)
            assert isinstance(failed, Retry)
            assert failed.reason.startswith(f"TLS with {elsewhere} failed (certificate required)")

    with asking_for_certificates(authority, ssl.TLSVersion.TLSv1_3) as url:
        run(lambda: story(url))


def test_a_connection_made_with_a_certificate_is_not_used_for_listeners_without(
    authority: trustme.CA, tmp_path: Path
) -> None:
    ca, ours = tmp_path / "ca.pem", tmp_path / "ours.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("pulpit.example").private_key_and_cert_chain_pem.write_to_path(str(ours))
    context = server_side(authority, "localhost")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    async def story() -> None:
        async with sink(context) as far:
            kind = Http(system_clock, allow=LOOPBACK, source="/pulpit/test")
            trusted = {"url": far.url, "ca_path": str(ca)}
            listeners = [kind.open({**trusted, "client_cert_path": str(ours)}), kind.open(trusted)]
            try:
                assert [type((await listener.deliver([event()]))[0]) for listener in listeners] == [Delivered, Retry]
                assert [type((await listener.deliver([event()]))[0]) for listener in listeners] == [Delivered, Retry]
            finally:
                for listener in listeners:
                    await listener.close()
                await kind.close()
            assert len({call.peer for call in far.calls}) == 1, "the connection was kept"

    run(story)


def test_a_stored_configuration_that_cannot_be_used_says_so() -> None:
    async def story() -> None:
        async with notifier(url="gopher://x") as hook:
            (failed,) = await hook.deliver([event()])
        assert isinstance(failed, Retry)
        assert "must begin with http:// or https://" in failed.reason

    run(story)
