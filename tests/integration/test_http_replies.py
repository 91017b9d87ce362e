"""Replies as odd receivers send them, and connections as they keep and close them.

The status line decides; what comes behind it may be of any kind. Every reply here comes from a real socket.
"""

import asyncio
import contextlib
import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pycurl
import pytest
import trustme
from yarl import URL

from pulpit.clock import system_clock
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.http_connections import LONGEST_ANSWER, Connections, Exchange
from pulpit.delivery.notifiers.port import Delivered, Refused, Retry
from pulpit.net.addresses import ForbiddenAddress, WebhookGuard, parse_networks
from support.made_events import event
from support.webhooks import LOOPBACK, notifier, outcome, raw, run, sink, talking

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
DONE = Delivered(answer="204 No Content")


@pytest.mark.parametrize("seconds", [4, 30])
def test_an_answer_that_never_ends_counts_by_its_status(seconds: int) -> None:
    async def story() -> None:
        endless = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nwell"
        async with raw(endless, close=False) as url:
            assert await outcome(url, timeout=seconds) == Delivered(answer="200 OK\nwell")

    run(story)


def test_a_head_that_never_ends_counts_by_its_status_when_the_time_is_up() -> None:
    async def story() -> None:
        async with contextlib.AsyncExitStack() as stack:
            begun = (
                b"HTTP/1.1 200 OK\r\nContent-Le",
                b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nX",
                b"HTTP/1.1 100 Wait\r\n\r\n",
            )
            urls = [await stack.enter_async_context(raw(reply, close=False)) for reply in begun]
            assert await asyncio.gather(*(outcome(url, timeout=4) for url in urls)) == [
                Delivered(answer="200 OK"),
                Retry(reason=f"{urls[1]} answered 503 No.", after=timedelta(seconds=7)),
                Retry(reason=f"{urls[2]} did not answer within 4 seconds."),
            ]

    run(story)


OK = b"HTTP/1.1 200 OK\r\n"
WELL = b"Content-Length: 4\r\n\r\nwell"
ODD_HEADS = {
    "a header of 9 kB": OK + b"X-A: " + b"x" * 9000 + b"\r\n" + WELL,
    "150 headers": OK + b"".join(b"X-%d: a\r\n" % number for number in range(150)) + WELL,
    "a reason of 9 kB": b"HTTP/1.1 200 " + b"y" * 9000 + b"\r\n" + WELL,
    "no reason": b"HTTP/1.1 200\r\n" + WELL,
    "a Latin-1 name": OK + b"X-\xe9: a\r\n" + WELL,
    "a blank in a name": OK + b"X A: b\r\n" + WELL,
    "a blank before the colon": OK + b"X-A : b\r\n" + WELL,
    "a folded line": OK + b"X-A: b\r\n c\r\n" + WELL,
    "doubled lengths": OK + b"Content-Length: 4\r\n" + WELL,
    "a list of lengths": OK + b"Content-Length: 4, 4\r\n\r\nwell",
    "a length without end": OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nwell",
    "both framings": OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n",
    "chunks and trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\nX-T: 1\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 4\n\nwell",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nwell",
    "a letter that cannot be printed": OK + b"Pragma: no-cache\x03\r\n" + WELL,
    "blanks in a name": OK + b"X y Z: 1\r\n" + WELL,
    "100, 102 and 103 first": b"HTTP/1.1 100 Continue\r\n\r\n" * 3
    + b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    + OK
    + WELL,
    "more than was announced": OK + WELL + b"EXTRA",
    "two replies": (OK + WELL) * 2,
}


@pytest.mark.parametrize("step", [10**6, 7], ids=["at once", "in pieces"])
@pytest.mark.parametrize("reply", ODD_HEADS.values(), ids=ODD_HEADS.keys())
def test_b4_a_reply_with_an_odd_head_counts_by_its_status(reply: bytes, step: int) -> None:
    async def story() -> None:
        async with raw(reply, step=step if len(reply) < 20_000 else 10**6) as url:
            done = await outcome(url)
            assert isinstance(done, Delivered), done
            assert done.answer.endswith("\nwell")

    run(story)


WITHOUT_BODY = {
    "a header of 300 kB": OK + b"X-A: " + b"x" * 300_000 + b"\r\n" + WELL,
    "a line without a colon": OK + b"nonsense\r\n" + WELL,
    "a NUL": OK + b"X-A: b\x00c\r\n" + WELL,
    "lengths that differ": OK + b"Content-Length: 7\r\n" + WELL,
    "a negative length": OK + b"Content-Length: -1\r\n\r\nwell",
    "an unknown coding": OK + b"Transfer-Encoding: foo\r\n\r\nwell",
    "204 with a body": b"HTTP/1.1 204 No Content\r\n" + WELL,
    "205": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "chunks that are none": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "closed in the body": OK + b"Content-Length: 4000\r\n\r\n",
    "closed in the head": OK + b"Content-Le",
    "a head without end": OK + b"X-A: b\r\n" * 200_000,
    "packed, which nobody unpacks": OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
}


@pytest.mark.parametrize("reply", WITHOUT_BODY.values(), ids=WITHOUT_BODY.keys())
def test_b4_what_comes_behind_a_status_of_success_changes_nothing(reply: bytes) -> None:
    async def story() -> None:
        async with raw(reply) as url:
            assert isinstance(await outcome(url), Delivered)

    run(story)


def test_b4_odd_heads_of_other_statuses_keep_their_meaning() -> None:
    async def story() -> None:
        async with raw(b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nnonsense\r\n" + WELL) as url:
            assert await outcome(url) == Retry(reason=f"{url} answered 429 Slow.", after=timedelta(seconds=3))
        async with raw(b"HTTP/1.1 422 No\r\nnonsense\r\n" + WELL) as url:
            assert isinstance(await outcome(url), Refused)
        async with raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n") as url:
            assert isinstance(await outcome(url), Retry)

    run(story)


NO_HTTP = {
    "lines before": b"\r\n\r\n" + OK + WELL,
    "HTTP/0.9 in text": b"HTTP/0.9 200 OK\r\n" + WELL,
    "HTTP/2 in text": b"HTTP/2 200 \r\n" + WELL,
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x50",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80",
    "four digits": b"HTTP/1.1 2000 OK\r\n" + WELL,
    "words": b"HTTP/1.1 OK 200\r\n" + WELL,
    "interim replies without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 60_000,
}


@pytest.mark.parametrize("reply", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_b4_what_has_no_status_is_tried_again(reply: bytes) -> None:
    async def story() -> None:
        async with raw(reply) as url:
            assert await outcome(url) == Retry(reason=f"{url} answered something that is not HTTP.")

    run(story)


def test_b4_a_connection_is_kept_over_odd_heads_and_given_up_where_they_disagree() -> None:
    async def story() -> None:
        async with raw(OK + b"X-\xe9: a\r\n" + WELL, close=False, again=True) as url, notifier(url=url) as hook:
            outcomes = await hook.deliver([event(number) for number in range(1, 5)])
            assert outcomes == [Delivered(answer="200 OK\nwell")] * 4

    run(story)


def test_a_body_of_gigabytes_is_not_read() -> None:
    async def story() -> None:
        sent = 0

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"Content-Length: 4000000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
                    sent += 65536
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            done = await outcome(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert isinstance(done, Delivered)
        assert len(done.answer) < LONGEST_ANSWER + 10
        assert sent < 64 * 1024 * 1024

    run(story)


# Connections


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read a request, and return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return head


def test_a_request_that_a_dying_connection_swallowed_is_sent_again_over_a_new_one() -> None:
    came: list[tuple[int, bytes]] = []

    async def talk(connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(1 if connection == 1 else 9):
            came.append((connection, await request(reader)))
            writer.write(NO_CONTENT)
        came.append((connection, await request(reader)))  # closed with the second request in hand

    async def story() -> None:
        async with talking(talk) as url, notifier(url=url) as hook:
            assert await hook.deliver([event(1), event(2)]) == [DONE, DONE]
        assert [connection for connection, _ in came] == [1, 1, 2]
        assert b"pulpit-number: 2\r\n" in came[1][1]
        assert b"pulpit-number: 2\r\n" in came[2][1]

    run(story)


def test_however_many_kept_connections_were_closed_at_once_the_next_event_goes_out() -> None:
    several, came = 12, asyncio.Barrier(12)

    async def talk(connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        if connection <= several:
            await came.wait()
        writer.write(NO_CONTENT)

    async def story() -> None:
        async with talking(talk) as url, notifier(url=url) as hook:
            outcomes = await asyncio.gather(*(hook.deliver([event(number)]) for number in range(several)))
            assert outcomes == [[DONE]] * several
            assert await hook.deliver([event(several)]) == [DONE]

    run(story)


def test_a_new_connection_that_is_closed_without_a_reply_is_a_failure_at_once() -> None:
    connections = 0

    async def talk(connection: int, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections = connection
        await request(reader)

    async def story() -> None:
        async with talking(talk) as url:
            assert await outcome(url) == Retry(reason=f"{url} closed the connection without an answer.")
        assert connections == 1

    run(story)


@pytest.mark.parametrize(
    "farewell",
    [
        b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        NO_CONTENT,
        b"\r\n",
    ],
    ids=["408", "400", "204", "an empty line"],
)
def test_what_an_idle_connection_says_is_no_reply_to_the_next_event(farewell: bytes) -> None:
    delivered, said = asyncio.Event(), asyncio.Event()

    async def talk(connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(NO_CONTENT)
        if connection == 1:
            await delivered.wait()
            writer.write(farewell)
            await writer.drain()
            said.set()
            await reader.read()

    async def story() -> None:
        async with talking(talk) as url, notifier(url=url) as hook:
            assert await hook.deliver([event(1)]) == [DONE]
            delivered.set()
            await said.wait()
            assert await hook.deliver([event(2)]) == [DONE]

    run(story)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 204 No Content\r\n\r\n",
        NO_CONTENT + b"trailing bytes",
        NO_CONTENT + b"\r\n",
        NO_CONTENT * 2,
        b"HTTP/1.1 100 Continue\r\n\r\n" + NO_CONTENT,
    ],
    ids=["close", "HTTP/1.0", "trailing bytes", "a trailing line", "a reply too many", "100 first"],
)
def test_a_reply_belongs_to_its_own_event(reply: bytes) -> None:
    numbers: list[str] = []

    async def talk(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await request(reader)).decode()
            numbers.append(head.partition("pulpit-number: ")[2].partition("\r\n")[0])
            writer.write(reply)

    async def story() -> None:
        async with talking(talk) as url, notifier(url=url) as hook:
            assert await hook.deliver([event(number) for number in range(1, 6)]) == [DONE] * 5
        assert numbers == ["1", "2", "3", "4", "5"]

    run(story)


@pytest.mark.parametrize(("status", "kind"), [(200, Delivered), (413, Refused), (503, Retry)])
def test_a_reply_before_the_body_was_read_counts(status: int, kind: type) -> None:
    async def talk(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Now\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        await reader.read()  # until the client hangs up: a close here would reset the reply away

    async def story() -> None:
        async with talking(talk) as url:
            assert isinstance(await outcome(url, timeout=20), kind)

    run(story)


def test_a_large_body_arrives_whole_and_without_being_asked_for() -> None:
    heads: list[bytes] = []

    async def talk(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request(reader))
        writer.write(NO_CONTENT)

    async def story() -> None:
        async with talking(talk) as url, notifier(url=url) as hook:
            assert await hook.deliver([event(payload={"text": "x" * 6_000_000})]) == [DONE]
        assert b"expect:" not in heads[0].lower()

    run(story)


def test_a_header_without_a_value_is_sent_all_the_same() -> None:
    async def story() -> None:
        async with sink() as far:
            assert isinstance(await outcome(far.url, headers={"X-Empty": "", "X-Blank": " "}), Delivered)
        assert (far.calls[0].headers["X-Empty"], far.calls[0].headers["X-Blank"]) == ("", "")

    run(story)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def story() -> None:
        async with sink() as far:
            assert isinstance(await outcome(far.url), Delivered)

    run(story)


def test_a_tunnel_that_ends_behind_the_proxys_consent_is_no_delivery() -> None:
    async def story() -> None:
        for consent in (b"HTTP/1.1 200 Connection established\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + NO_CONTENT):
            async with raw(consent) as proxy:
                done = await outcome("https://hooks.example/", proxy=proxy)
                assert isinstance(done, Retry), done

    run(story)


def test_a_connection_is_not_shared_with_a_listener_that_trusts_less(tmp_path: Path) -> None:
    authority, ca = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def story() -> None:
        kind = Http(system_clock, allow=LOOPBACK)
        async with sink(context) as far:
            try:
                trusting, strict = kind.open({"url": far.url, "ca_path": str(ca)}), kind.open({"url": far.url})
                assert isinstance((await trusting.deliver([event(1)]))[0], Delivered)
                (refused,) = await strict.deliver([event(2)])
                assert isinstance(refused, Retry)
                assert "is not trusted" in refused.reason
                assert isinstance((await trusting.deliver([event(3)]))[0], Delivered)
            finally:
                await kind.close()
        assert len({call.peer for call in far.calls}) == 1

    run(story)


def test_the_address_that_was_tried_is_what_a_failure_is_about() -> None:
    async def story() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            url = f"http://localhost:{bound.getsockname()[1]}"  # ::1 is forbidden, 127.0.0.1 refuses
            refused = await outcome(url, allow=parse_networks("127.0.0.0/8"))
            assert refused == Retry(reason=f"No connection to {url}: Connection refused.")

    run(story)


def test_closing_ends_what_is_on_its_way() -> None:
    async def story() -> None:
        kind = Http(system_clock, allow=LOOPBACK)
        async with raw(None, close=False) as url:
            sending = asyncio.create_task(kind.open({"url": url}).deliver([event()]))
            await asyncio.sleep(0)
            await kind.close()
            with pytest.raises(asyncio.CancelledError):
                await sending

    run(story)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1"])
def test_no_socket_is_made_for_a_forbidden_address(address: str) -> None:
    async def story() -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        far = pycurl.CurlSockAddr(family, socket.SOCK_STREAM, 0, (address, 80))
        with contextlib.closing(Connections(WebhookGuard())) as connections:
            exchange = Exchange(URL("http://hooks.example"), connections, asyncio.get_running_loop().create_future(), 0)
            assert exchange.open_socket(0, far) == pycurl.SOCKET_BAD
            assert isinstance(exchange.failed, ForbiddenAddress)

    run(story)
