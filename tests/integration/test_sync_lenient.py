"""Upstreams that are odd but that curl and dnf read: they are mirrored, and no secret is sent to another server."""

import base64
import gzip
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from pulpit.content.feed import Feed, check
from pulpit.errors import InvalidValue
from support import upstream as serving
from support.mirror import IMPATIENT, IMPORTER, Mirror, mirror
from support.upstream import Answering, Behaviour, Upstream

SMALL, LARGE = b"small" * 10, b"large" * 1000
TOKEN = "t0ken~acl=/*&hmac=abcdef"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving.running() as one:
        one.put("small", SMALL)
        one.put("large", LARGE)
        one.manifest()
        yield one


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path, limits=IMPATIENT) as one:
        yield one


def test_a3_an_empty_list_empties_no_repository(upstream: Upstream, here: Mirror) -> None:
    here.create("zoo", upstream.url, {"remove_missing": True})
    assert here.sync("zoo").result == "success"
    upstream.put("PULP_MANIFEST", b"")

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.removed_count) == ("failed", 0)
    assert "--allow-empty" in str(outcome.error_message)
    assert here.names("zoo") == ["large", "small"]
    allowed = here.sync("zoo", {"allow_empty": True})
    assert (allowed.result, allowed.removed_count) == ("success", 2)


def test_a3_an_empty_list_for_an_empty_repository_is_no_fault(upstream: Upstream, here: Mirror) -> None:
    upstream.put("PULP_MANIFEST", b"")
    here.create("zoo", upstream.url, {"remove_missing": True})

    assert here.sync("zoo").result == "success"


def test_a3_a_list_that_names_others_may_take_the_place_of_all(upstream: Upstream, here: Mirror) -> None:
    here.create("zoo", upstream.url, {"remove_missing": True})
    here.sync("zoo")
    upstream.files.clear()
    upstream.put("new", b"new")
    upstream.manifest()

    assert here.sync("zoo").result == "success"
    assert here.names("zoo") == ["new"]


def test_a11_a_name_that_is_no_utf_8_is_left_out_and_named(upstream: Upstream, here: Mirror) -> None:
    here.create("zoo", upstream.url, {"remove_missing": True})
    here.sync("zoo")
    upstream.put("PULP_MANIFEST", upstream.files["PULP_MANIFEST"] + b"caf\xe9," + b"0" * 64 + b",4\n")

    outcome = here.sync("zoo")

    assert outcome.result == "success"
    assert outcome.details
    assert [entry["reason"] for entry in outcome.details["left_out"]] == ["is not written in UTF-8 (line 3)"]
    assert here.names("zoo") == ["large", "small"]


@pytest.mark.parametrize("way", ["key", "feed"])
def test_a12_a_token_goes_with_every_url_below_the_feed_and_nowhere_else(here: Mirror, way: str) -> None:
    with serving.running() as upstream, serving.running() as other:
        for name, content in (("small", SMALL), ("large", LARGE)):
            upstream.put(f"product/{name}?{TOKEN}", content)
            other.put(name, content)
        manifest = "".join(f"{serving.line(name, content)}\n" for name, content in (("small", SMALL), ("large", LARGE)))
        upstream.put(f"product/PULP_MANIFEST?{TOKEN}", manifest.encode())
        upstream.misbehave(f"product/large?{TOKEN}", serving.redirect(f"{other.url}large"))
        upstream.misbehave(f"product/small?{TOKEN}", serving.redirect("/elsewhere/small"))
        upstream.put("elsewhere/small", SMALL)
        url = f"{upstream.url}product/"
        if way == "key":
            here.create("zoo", url, {"query_auth_token": TOKEN})
        else:
            here.create("zoo", f"{url}?{TOKEN}")

        assert here.sync("zoo").result == "success"
        assert other.paths() == ["large"]
        assert "elsewhere/small" in upstream.paths()


def test_a12_a_token_is_in_no_sentence_and_no_memory(here: Mirror) -> None:
    with serving.running() as upstream:
        upstream.put(f"p/PULP_MANIFEST?{TOKEN}", f"{serving.line('gone', b'x')}\n".encode())
        here.create("zoo", f"{upstream.url}p/?{TOKEN}")

        outcome = here.sync("zoo")

        assert f"{upstream.url}p/gone was answered with 404" in str(outcome.error_message)
        upstream.put(f"p/gone?{TOKEN}", b"x")
        assert here.sync("zoo").result == "success"
        for text in (outcome, here.reports, here.importer("zoo").scratchpad):
            assert "t0ken" not in str(text)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://updates.example.com/product/?abc", "abc"),
        ("https://updates.example.com/product/?exp=1~acl=/*~hmac=2", "exp=1~acl=/*~hmac=2"),
        ("http://mirrorlist.example.com/?release=7&arch=x86_64", None),
        ("https://mirrors.example.com/metalink?repo=a&arch=b", None),
    ],
)
def test_a12_a_token_is_told_from_the_query_of_a_list_of_mirrors(url: str, token: str | None) -> None:
    feed = Feed.of({"feed": url})
    assert feed is not None
    assert feed.token == token
    assert feed.url == (url.partition("?")[0] if token else url)


@pytest.mark.parametrize("token", ["", "a b", "a#b", "a\nb", "ä", 7])
def test_a12_what_is_no_query_is_no_token(token: object) -> None:
    with pytest.raises(InvalidValue):
        check({"query_auth_token": token})


LOCATIONS = [
    "/signed/%2Fa%3Ab%7Ec%2b?sig=%2Fa%2bb%3D%7e&x=~!$'()*,;:@",
    "/signed/a+b%20c//d?plus=a+b",
    "/signed/%e2%82%ac?q=%E2%82%AC%zz",
    "/signed/%41%5B%5d?",
]


@pytest.mark.parametrize("size", ["small", "large", "PULP_MANIFEST"])
@pytest.mark.parametrize("location", LOCATIONS)
def test_a10_a_redirect_is_followed_to_the_very_bytes(
    upstream: Upstream, here: Mirror, location: str, size: str
) -> None:
    seen: list[str] = []

    def serve(answering: Answering) -> None:
        seen.append(answering.path)
        answering.answer(200, upstream.files[size])

    upstream.misbehave(size, serving.redirect(location))
    upstream.otherwise = serve
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert seen == [location]


def encoded(content: bytes, *, really: bool) -> Behaviour:
    body = gzip.compress(content) if really else content
    return lambda answering: answering.answer(200, body, {"Content-Encoding": "gzip"})


@pytest.mark.parametrize("really", [True, False])
@pytest.mark.parametrize("name", ["small", "large", "PULP_MANIFEST"])
def test_a16_a_body_that_is_packed_unasked_or_only_labelled_so_is_read(
    upstream: Upstream, here: Mirror, name: str, *, really: bool
) -> None:
    upstream.misbehave(name, encoded(upstream.files[name], really=really))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert len(here.stored()) == 2


def test_a16_a_file_that_is_itself_packed_is_kept_as_it_is(upstream: Upstream, here: Mirror) -> None:
    packed = gzip.compress(LARGE)
    upstream.put("packed.gz", packed)
    upstream.manifest()
    upstream.misbehave("packed.gz", serving.body(packed, {"Content-Encoding": "gzip"}))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert hashlib.sha256(packed).hexdigest() in {path.name for path in here.stored()}


def test_a16_a_body_that_swells_without_end_is_refused(upstream: Upstream, here: Mirror) -> None:
    upstream.misbehave("large", serving.body(gzip.compress(b"\0" * 50_000_000), {"Content-Encoding": "gzip"}))
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert str(outcome.error_message).startswith(f"{upstream.url}large ")


def busy(retry_after: str, status: int = 503) -> Behaviour:
    left = [1]

    def behave(answering: Answering) -> None:
        left[0] -= 1
        if left[0] >= 0:
            answering.answer(status, b"later", {"Retry-After": retry_after})
        else:
            answering.serve(answering.path.lstrip("/"))

    return behave


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", ["1", "0.5", " 1 ", "date"])
def test_b17_a_server_says_when_it_may_be_asked_again(
    upstream: Upstream, here: Mirror, retry_after: str, status: int
) -> None:
    if retry_after == "date":
        retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    upstream.misbehave("small", busy(retry_after, status))
    here.create("zoo", upstream.url)
    began = time.monotonic()

    assert here.sync("zoo").result == "success"
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("retry_after", ["-5", "soon", "1e9", "99999999999", "nan", "inf", "1 2"])
def test_b17_nobody_waits_for_ever(upstream: Upstream, here: Mirror, retry_after: str) -> None:
    upstream.misbehave("small", busy(retry_after))
    here.create("zoo", upstream.url)

    assert here.impatient(longest_wait=0.2).sync("zoo").result == "success"


def heads(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> Behaviour:
    def behave(answering: Answering) -> None:
        content = answering.upstream.files[answering.path.lstrip("/")]
        length = b"Content-Length: %d" % len(content)
        answering.wfile.write(b"\r\n".join([status, length, *lines, b"", content]))

    return behave


ODD_HEADS = {
    "a header of 60 kB": heads(b"X: " + b"x" * 60_000),
    "150 headers": heads(*(b"X-%d: y" % number for number in range(150))),
    "a reason of 9 kB": heads(status=b"HTTP/1.1 200 " + b"r" * 9000),
    "no reason": heads(status=b"HTTP/1.1 200"),
    "a name in Latin-1": heads(b"X-\xe4: y"),
    "a value in Latin-1": heads(b"X: \xe4\xff"),
    "a name with a blank": heads(b"X Y: z"),
    "HTTP/1.0": heads(status=b"HTTP/1.0 200 OK"),
    "an early hint": lambda answering: (
        answering.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        heads()(answering),
    )[0],
}


@pytest.mark.parametrize("name", ["small", "large", "PULP_MANIFEST"])
@pytest.mark.parametrize("case", ODD_HEADS)
def test_b4_an_odd_head_is_read_as_curl_reads_it(upstream: Upstream, here: Mirror, case: str, name: str) -> None:
    upstream.misbehave(name, ODD_HEADS[case])
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success", here.reports[-1][IMPORTER]
    assert upstream.paths().count(name) == 1


def test_c12_a_feed_on_this_machine_leads_to_no_other_address_of_it(upstream: Upstream, here: Mirror) -> None:
    with serving.running(host="127.0.0.2") as inside:
        inside.put("small", SMALL)
        for place in (f"{inside.url}small", "http://169.254.169.254/latest", "http://[::ffff:127.0.0.2]/"):
            upstream.misbehave("small", serving.redirect(place))
            here.create(f"zoo{len(place)}", upstream.url)

            assert "leads where it must not" in str(here.sync(f"zoo{len(place)}").error_message)
        assert inside.paths() == []


@pytest.mark.parametrize("content_range", ["500-1999/5000", "bytes 0-1999/5000", "bytes */5000", "", "nonsense"])
def test_a_part_that_does_not_say_where_it_belongs_is_asked_for_anew(
    upstream: Upstream, here: Mirror, content_range: str
) -> None:
    """Nexus once left the unit out of `Content-Range`; others send another part than they were asked for."""
    left = [1]

    def behave(answering: Answering) -> None:
        left[0] -= 1
        if left[0] == 0:
            serving.truncated(LARGE, 4000)(answering)
        elif "Range" in answering.headers:
            answering.answer(206, LARGE[4000:], {"Content-Range": content_range} if content_range else {})
        else:
            answering.answer(200, LARGE)

    upstream.misbehave("large", behave)
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"


def both_lengths(answering: Answering) -> None:
    content = answering.upstream.files[answering.path.lstrip("/")]
    answering.send_response(200)
    answering.send_header("Content-Length", str(len(content)))
    answering.send_header("Transfer-Encoding", "chunked")
    answering.end_headers()
    answering.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))


def non_authoritative(answering: Answering) -> None:
    answering.answer(203, answering.upstream.files[answering.path.lstrip("/")])


def until_the_end(answering: Answering) -> None:
    answering.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + answering.upstream.files[answering.path.lstrip("/")])
    answering.hang_up()


def with_a_cookie(answering: Answering) -> None:
    if "seen=1" in answering.headers.get("Cookie", ""):
        answering.serve(answering.path.lstrip("/"))
    else:
        answering.answer(302, b"", {"Set-Cookie": "seen=1; Path=/", "Location": answering.path})


def same_length_twice(answering: Answering) -> None:
    content = answering.upstream.files[answering.path.lstrip("/")]
    length = b"Content-Length: %d\r\n" % len(content)
    answering.wfile.write(b"HTTP/1.1 200 OK\r\n" + length + length + b"\r\n" + content)


@pytest.mark.parametrize("name", ["small", "large", "PULP_MANIFEST"])
@pytest.mark.parametrize(
    "odd",
    [both_lengths, non_authoritative, until_the_end, with_a_cookie, same_length_twice],
    ids=lambda odd: odd.__name__,
)
def test_an_odd_answer_is_read_as_curl_reads_it(upstream: Upstream, here: Mirror, odd: Behaviour, name: str) -> None:
    upstream.misbehave(name, odd)
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success", here.reports[-1][IMPORTER]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("elsewhere/x", "/elsewhere/x"),
        ("?q=%2F", "/large?q=%2F"),
        ("./a/../b%2e", "/b%2e"),
        ("/a/../x", "/x"),
        ("/a b", "/a%20b"),
        ("/\xe4", "/%E4"),
        ("/x#fragment", "/x"),
        ("//127.0.0.1:{port}/x%2f", "/x%2f"),
        ("HTTP://127.0.0.1:{port}?q", "/?q"),
    ],
)
def test_a10_a_location_in_any_form_is_resolved(upstream: Upstream, here: Mirror, location: str, target: str) -> None:
    seen: list[str] = []

    def serve(answering: Answering) -> None:
        seen.append(answering.path)
        answering.answer(200, LARGE)

    def send(answering: Answering) -> None:
        if "?" in answering.path:
            serve(answering)
        else:
            answering.answer(307, b"", {"Location": location.format(port=upstream.url.split(":")[2].strip("/"))})

    upstream.misbehave("large", send)
    upstream.otherwise = serve
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert seen == [target]


@pytest.mark.parametrize(
    "location",
    ["http://[bad/", "http://h:x/", "http://:80/", "http:///x", "http://h:99999/", "ftp://h/x", "x:"],
)
@pytest.mark.parametrize("name", ["small", "PULP_MANIFEST"])
def test_a_redirect_to_what_is_no_url_is_one_sentence(
    upstream: Upstream, here: Mirror, location: str, name: str
) -> None:
    upstream.misbehave(name, serving.redirect(location))
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert str(outcome.error_message).startswith(f"{upstream.url}{name} ")


def test_the_login_of_a_url_goes_with_all_below_it_and_is_kept_nowhere(upstream: Upstream, here: Mirror) -> None:
    upstream.misbehave("large", serving.redirect(f"{upstream.url}elsewhere"))
    upstream.put("elsewhere", LARGE)
    here.create("zoo", upstream.url.replace("://", "://me:p%C3%A4ss%40@"))

    assert here.sync("zoo").result == "success"
    sent = {headers.get("Authorization") for _, headers in upstream.asked}
    assert sent == {"Basic " + base64.b64encode("me:p\u00e4ss@".encode()).decode()}
    assert "ss%40" not in f"{here.reports}{here.importer('zoo').scratchpad}"
