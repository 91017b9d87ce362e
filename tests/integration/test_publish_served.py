"""Published trees over HTTP."""

import contextlib
import email
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from pulpit.api.protocol import BoundedHttp
from pulpit.published.media_types import media_type
from pulpit.store import schema
from support import upstream as serving
from support.asgi import published_app, served
from support.mirror import Mirror, mirror
from support.published import known
from support.waiting import until

CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with serving.running() as upstream, mirror(tmp_path) as one:
        upstream.put("big.iso", CONTENT)
        upstream.put("folder/<b> & 'c'.html", b"<script>alert(1)</script>")
        upstream.put("paged/index.html", b"for people")
        upstream.put("paged/index.v1_json", b"{}")
        upstream.put("unpaged/index.html", b"a file like any other")
        upstream.put("packed.tar.gz", b"packed")
        upstream.manifest()
        one.create("zoo", upstream.url)
        assert one.sync("zoo").result == "success"
        assert one.publish("zoo").result == "success"
        yield one


@pytest.fixture
def port(here: Mirror) -> Iterator[int]:
    with served(published_app(here.context, "isos")) as port:
        yield port


def ask(
    port: int, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, f"/pulp/isos{path}", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_a_file_is_sent_whole_with_its_type(port: int) -> None:
    status, headers, body = ask(port, "/zoo/big.iso")

    assert (status, body) == (200, CONTENT)
    assert headers["content-type"] == "application/x-iso9660-image"
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["accept-ranges"] == "bytes"


def test_a_part_of_a_file_is_sent(port: int) -> None:
    status, headers, body = ask(port, "/zoo/big.iso", {"Range": "bytes=1000-1099"})

    assert (status, body) == (206, CONTENT[1000:1100])
    assert headers["content-range"] == f"bytes 1000-1099/{len(CONTENT)}"


def test_a_file_that_the_client_has_is_not_sent_again(port: int) -> None:
    _, headers, _ = ask(port, "/zoo/big.iso")

    for condition in ({"If-None-Match": headers["etag"]}, {"If-Modified-Since": headers["last-modified"]}):
        status, again, body = ask(port, "/zoo/big.iso", condition)
        assert (status, body, again["etag"]) == (304, b"", headers["etag"])
    assert ask(port, "/zoo/big.iso", {"If-None-Match": '"another"'})[0] == 200


def test_a_file_is_known_by_its_sha256(port: int) -> None:
    for path, content in (("/zoo/big.iso", CONTENT), ("/zoo/PULP_MANIFEST", ask(port, "/zoo/PULP_MANIFEST")[2])):
        assert ask(port, path)[1]["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'


def test_a_condition_that_fails_is_said(port: int) -> None:
    status, headers, _ = ask(port, "/zoo/big.iso", {"If-Match": '"another"'})
    assert (status, headers["etag"]) == (412, ask(port, "/zoo/big.iso")[1]["etag"])


def test_a_part_of_another_file_is_not_sent(port: int) -> None:
    asked = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert ask(port, "/zoo/big.iso", asked)[::2] == (200, CONTENT)
    status, headers, _ = ask(port, "/zoo/big.iso", {"Range": "bytes=99999999-"})
    assert (status, headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")


def test_several_parts_are_sent_as_one_message(port: int) -> None:
    status, headers, body = ask(port, "/zoo/big.iso", {"Range": "bytes=0-9, 1000-1009, -10"})

    assert (status, headers["content-length"]) == (206, str(len(body)))
    head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body)
    parts = [
        (part["Content-Range"], part.get_payload(decode=True)) for part in message.walk() if not part.is_multipart()
    ]
    size = len(CONTENT)
    assert parts == [
        (f"bytes 0-9/{size}", CONTENT[:10]),
        (f"bytes 1000-1009/{size}", CONTENT[1000:1010]),
        (f"bytes {size - 10}-{size - 1}/{size}", CONTENT[-10:]),
    ]


def test_a_folder_is_listed_as_json_for_whom_asks(port: int) -> None:
    status, headers, body = ask(port, "/zoo/", {"Accept": "application/json"})
    assert (status, headers["content-type"], headers["vary"]) == (200, "application/json", "Accept")
    found = [(one["name"], one["type"], one["size"]) for one in json.loads(body)["entries"]]
    assert ("folder", "folder", None) in found
    assert ("big.iso", "file", len(CONTENT)) in found
    assert found == sorted(found, key=lambda one: (one[1] != "folder", one[0]))
    assert ask(port, "/zoo/", {"Accept": "text/html,application/json"})[1]["content-type"].startswith("text/html")


def test_what_is_packed_is_sent_as_it_is(port: int) -> None:
    assert "content-encoding" not in ask(port, "/zoo/packed.tar.gz", {"Accept-Encoding": "gzip"})[1]


def test_a_client_that_goes_away_in_the_middle_leaves_no_file_open(port: int) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /pulp/isos/zoo/big.iso HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(100)
    until(lambda: opened() == 0, what="the files to be closed")


BIG = hashlib.sha256(CONTENT).hexdigest()


def opened() -> int:
    """How often the file is open in this process."""
    return sum(BIG in str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())


def test_a_client_that_does_not_read_is_given_up(here: Mirror) -> None:
    published = published_app(here.context, "isos", patience=0.5)
    with served(published, http=BoundedHttp) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /pulp/isos/zoo/big.iso HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: opened() == 1, what="the file to be opened")
        until(lambda: opened() == 0, what="the client to be given up")
        with contextlib.suppress(ConnectionResetError):
            assert len(b"".join(iter(lambda: client.recv(65536), b""))) < len(CONTENT)


def test_a_later_date_is_no_sign_that_the_client_has_it(port: int) -> None:
    assert ask(port, "/zoo/big.iso", {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})[0] == 200


def test_a_folder_is_listed_with_names_made_harmless(port: int) -> None:
    status, headers, body = ask(port, "/zoo/folder/")

    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"&lt;b&gt; &amp; &#x27;c&#x27;.html" in body
    assert b'href="./%3Cb%3E%20%26%20%27c%27.html"' in body


def test_a_page_in_two_forms_is_sent_as_the_client_likes_it(port: int) -> None:
    json = "application/vnd.pypi.simple.v1+json"

    plain, liked, named = ask(port, "/zoo/paged/"), ask(port, "/zoo/paged/", {"Accept": json}), json.replace("+", "%2B")

    assert (plain[0], plain[1]["content-type"], plain[2]) == (200, "text/html; charset=utf-8", b"for people")
    assert (liked[0], liked[1]["content-type"], liked[2]) == (200, json, b"{}")
    assert ask(port, f"/zoo/paged/?format={named}", {"Accept": "text/html"})[2] == b"{}"
    assert ask(port, "/zoo/paged/?format=xml")[0] == 406
    again = ask(port, "/zoo/paged/", {"Accept": json, "If-None-Match": liked[1]["etag"]})
    assert [answer[1]["vary"] for answer in (plain, liked, again)] == ["Accept"] * 3
    assert (again[0], again[2]) == (304, b"")


def test_a_page_in_one_form_is_a_file_of_its_folder(port: int) -> None:
    assert b"Index of" in ask(port, "/zoo/unpaged/")[2]


def test_a_folder_without_its_slash_is_found(port: int) -> None:
    status, headers, _ = ask(port, "/zoo")

    assert (status, headers["location"]) == (301, "./zoo/")
    assert ask(port, "/zoo?format=x")[1]["location"] == "./zoo/?format=x"


def test_what_an_upstream_wrote_runs_nothing(port: int) -> None:
    _, headers, body = ask(port, "/zoo/folder/%3Cb%3E%20%26%20%27c%27.html")

    assert body == b"<script>alert(1)</script>"
    assert headers["content-security-policy"] == "sandbox"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/zoo/nothing",
        "/zoo/%2e%2e/%2e%2e/pulpit.db",
        "/../pulpit.db",
        "/..%2f..%2fpulpit.db",
        "/zoo%2f..%2f..%2ftrees",
        "/zoo/big.iso/",
        "/zoo/big.iso%00",
        "/zoo/%0d%0aX-Injected:%201",
        "/zoo/" + "a" * 300,
        "/zoo/" + "a/" * 3000,
        "/zoo\\big.iso",
    ],
)
def test_nothing_else_is_found(port: int, path: str) -> None:
    assert ask(port, path)[0] == 404


def test_head_and_other_methods(port: int) -> None:
    status, headers, body = ask(port, "/zoo/big.iso", method="HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(CONTENT)), b"")
    assert ask(port, "/zoo/big.iso", method="PUT")[0] == 405


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PULP_MANIFEST", "text/plain"),
        ("a.tar.gz", "application/gzip"),
        ("a.xml.zst", "application/zstd"),
        ("a.rpm", "application/x-rpm"),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_types_of_files(name: str, expected: str) -> None:
    assert media_type(name) == expected


def test_one_pulpit_mirrors_another_and_sees_that_nothing_changed(port: int, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with mirror(tmp_path / "second") as second:
        second.create("copy", f"http://127.0.0.1:{port}/pulp/isos/zoo/")
        assert second.sync("copy").added_count == 6
        again = second.sync("copy")
        assert (again.result, again.added_count) == ("success", 0)


def test_a_small_file_that_is_asked_for_again_is_sent_as_the_first_time_until_it_is_another(
    here: Mirror, port: int
) -> None:
    path = "/zoo/packed.tar.gz"
    first = ask(port, path)
    assert first[::2] == (200, b"packed")
    again = ask(port, path)
    for answer in (first, again):
        answer[1].pop("date")
    assert again == first
    assert ask(port, path, method="HEAD")[::2] == (200, b"")
    assert ask(port, path, {"Range": "bytes=1-2"})[::2] == (206, b"ac")
    assert ask(port, path, {"If-None-Match": first[1]["etag"]})[0] == 304

    with serving.running() as upstream:
        upstream.put("packed.tar.gz", b"packed anew")
        upstream.manifest()
        here.create("other", upstream.url)
        assert here.sync("other").result == "success"
        published_at(here, "other", "zoo")
    until(lambda: ask(port, path)[2] == b"packed anew", what="the other file")


def test_what_another_server_showed_a_moment_ago_is_no_404(here: Mirror) -> None:
    stale, other = known(here.context), known(here.context)
    assert stale.locate("isos", "zoo/big.iso")
    with serving.running() as upstream:
        upstream.put("new.iso", b"new")
        upstream.manifest()
        here.create("other", upstream.url)
        assert here.sync("other").result == "success"
        published_at(here, "other", "zoo")
    assert other.locate("isos", "zoo/new.iso")
    assert stale.locate("isos", "zoo/new.iso")
    assert stale.locate("isos", "zoo/big.iso") is None


def published_at(here: Mirror, repo_id: str, place: str) -> None:
    """Publish a repository and have another place show that."""
    assert here.publish(repo_id).result == "success"
    with here.context.database.write() as tx:
        place_columns, publication = schema.places.c, schema.publications.c
        number = tx.connection.execute(
            select(publication.id).where(publication.repo_id == repo_id).order_by(publication.number.desc())
        ).scalar()
        moved = update(schema.places).where(place_columns.path == f"isos/{place}")
        tx.connection.execute(moved.values(publication_id=number))
