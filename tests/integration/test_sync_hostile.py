"""Upstreams that fail, send false data or attack: the sync fails with a reason and does no harm."""

import asyncio
import contextlib
import gzip
import hashlib
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pulpit.repositories.sync import SyncOutcome, sync
from support import upstream as serving
from support.mirror import IMPATIENT, IMPORTER, Mirror, mirror
from support.upstream import Behaviour, Upstream, line

GOOD = b"good content"
SHA = "0" * 64


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path, limits=IMPATIENT) as one:
        yield one


BAD_FILES: dict[str, tuple[Callable[[Upstream], Behaviour], str]] = {
    "a wrong checksum": (lambda _: serving.body(b"x" * 4000), "has another sha256 checksum than announced"),
    "a short file": (lambda _: serving.body(b"b" * 3999), "has 3999 bytes instead of 4000"),
    "a long file": (lambda _: serving.body(b"b" * 4001), "is larger than the 4000 bytes"),
    "nothing": (lambda _: serving.status(404), "was answered with 404"),
    "a broken server": (lambda _: serving.status(500), "was answered with 500"),
    "a redirect loop": (lambda upstream: serving.redirect(upstream.url + "bad"), "redirects more than 5 times"),
    "a redirect to a file": (
        lambda _: serving.redirect("file:///etc/passwd"),
        "redirects to something that is no HTTP URL",
    ),
    "a stall": (lambda _: serving.stall(b"b" * 4000, 10), "stalled: nothing came for 0.5 seconds"),
    "a drip": (lambda _: serving.drip(b"b" * 4000, pause=0.1), "came slower than 1000 bytes per second"),
    "a hang-up": (lambda _: serving.truncated(b"b" * 4000, 100), "ended too early"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_fails_alone(upstream: Upstream, here: Mirror, case: str) -> None:
    make, reason = BAD_FILES[case]
    upstream.put("old", b"old content")
    upstream.manifest()
    here.create("zoo", upstream.url, {"remove_missing": True})
    assert here.sync("zoo").result == "success"
    here.publish("zoo")
    before = here.published("zoo")

    upstream.put("bad", b"b" * 4000)
    upstream.put("good", GOOD)
    del upstream.files["old"]
    upstream.manifest()
    upstream.misbehave("bad", make(upstream))
    outcome = here.sync("zoo")

    assert (outcome.result, outcome.added_count, outcome.removed_count) == ("failed", 1, 0)
    assert outcome.error_message is not None
    assert outcome.error_message.startswith(f"{upstream.url}bad {reason}")
    assert outcome.details == {
        "failed_count": 1,
        "errors": [{"name": "bad", "url": f"{upstream.url}bad", "error": outcome.error_message}],
    }
    last = here.reports[-1][IMPORTER]
    assert last["state"] == "isos_failed"
    assert last["iso_error_messages"] == [{"name": "bad", "error": outcome.error_message}]
    assert here.names("zoo") == ["good", "old"]
    assert here.published("zoo") == before
    here.stored()

    del upstream.behaviours["bad"]
    healed = here.sync("zoo")
    assert (healed.result, healed.added_count, healed.removed_count) == ("success", 1, 1)
    assert here.leftovers() == []


BAD_NAMES = {
    "../outside": "leads out of its folder",
    "a/../../outside": "leads out of its folder",
    "/etc/cron.d/outside": "is absolute",
    "folder/": "has an empty part",
    "": "is empty",
    "bell\x07": "contains control characters",
    "new\u2028line": "contains control characters",
    "n" * 2000: "is longer than 1024 bytes",
    "n" * 300: "has a part of more than 255 bytes",
    "PULP_MANIFEST": "is reserved for the manifest",
    "PULP_MANIFEST/a": "is reserved for the manifest",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_must_not_be_used_is_left_out_and_named(upstream: Upstream, here: Mirror, name: str) -> None:
    upstream.put("good", GOOD)
    upstream.manifest(line("good", GOOD), line(name, GOOD))
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.error_message is None
    assert outcome.details is not None
    (left_out,) = outcome.details["left_out"]
    assert left_out["reason"] == f"{BAD_NAMES[name]} (line 2)"
    assert left_out["name"].isprintable()
    assert upstream.paths() == ["PULP_MANIFEST", "good"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_manifest_without_any_usable_name_is_refused(upstream: Upstream, here: Mirror, name: str) -> None:
    upstream.manifest(line(name, GOOD))
    here.create("zoo", upstream.url)
    before = everything(here.data_dir.parent)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert BAD_NAMES[name] in str(outcome.error_message)
    assert "(line 1)" in str(outcome.error_message)
    assert str(outcome.error_message).isprintable()
    assert here.reports[-1][IMPORTER]["state"] == "manifest_failed"
    assert upstream.paths() == ["PULP_MANIFEST"]
    ours = {here.data_dir / name for name in ("content", "content/incoming", "downloads")}
    assert everything(here.data_dir.parent) - before <= ours


BAD_MANIFESTS = {
    "one name for two files": (
        f"a,{SHA},1\na,{'1' * 64},1\n",
        "checksums or sizes (line 2)",
    ),
    "one name with two sizes": (
        f"a,{SHA},1\na,{SHA},2\n",
        "checksums or sizes (line 2)",
    ),
    "no manifest at all": ("<html>hello</html>\n", "line 1 is not `name,SHA-256,size`"),
    "no checksum": ("a,,1\n", "line 1 is not"),
    "another checksum": (f"a,{'0' * 32},1\n", "line 1 gives a checksum by MD5"),
    "a negative size": (f"a,{SHA},-1\n", "line 1 gives '-1' as the file's size"),
    "a huge number": (f"a,{SHA},{'9' * 5000}\n", "line 1 gives '999"),
    "a huge size": (f"a,{SHA},{10**15}\n", "is larger than"),
    "digits of another script": (f"a,{SHA},\u0663\n", "line 1 gives"),
    "an open quote": (f'"a,{SHA},1\n', "line 1 is not"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_manifest_that_lies_is_refused(upstream: Upstream, here: Mirror, case: str) -> None:
    text, reason = BAD_MANIFESTS[case]
    upstream.put("PULP_MANIFEST", text.encode())
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert reason in str(outcome.error_message)
    assert here.reports[-1][IMPORTER]["error_message"] == outcome.error_message


def test_a_manifest_in_another_encoding_is_refused(upstream: Upstream, here: Mirror) -> None:
    upstream.put("PULP_MANIFEST", f"a,{SHA},1\n".encode("utf-16"))
    here.create("zoo", upstream.url)

    assert "line 1 is not" in str(here.sync("zoo").error_message)


def test_a_manifest_without_end_is_cut_off(upstream: Upstream, here: Mirror) -> None:
    upstream.put("PULP_MANIFEST", b"a" * 100_000)
    here.create("zoo", upstream.url)

    outcome = here.impatient(manifest_bytes=50_000).sync("zoo")

    assert (
        outcome.error_message == f"{upstream.url}PULP_MANIFEST is larger than the 50000 bytes that are read of a list."
    )
    assert here.leftovers() == []


def test_too_many_files_are_refused(upstream: Upstream, here: Mirror) -> None:
    upstream.manifest(*(f"{number},{SHA},1" for number in range(11)))
    here.create("zoo", upstream.url)

    assert "names more than 10 files" in str(here.impatient(entries=10).sync("zoo").error_message)


@pytest.mark.parametrize("case", ["missing", "redirect loop", "stall", "not HTTP"])
def test_a_manifest_that_does_not_come(upstream: Upstream, here: Mirror, case: str) -> None:
    def other_protocol(answering: serving.Answering) -> None:
        answering.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        answering.hang_up()

    misbehaviour: dict[str, Behaviour] = {
        "missing": serving.status(404),
        "redirect loop": serving.redirect(upstream.url + "PULP_MANIFEST"),
        "stall": serving.stall(b"a" * 100, 5),
        "not HTTP": other_protocol,
    }
    upstream.misbehave("PULP_MANIFEST", misbehaviour[case])
    here.create("zoo", upstream.url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert str(outcome.error_message).startswith(f"{upstream.url}PULP_MANIFEST ")
    assert here.reports[-1][IMPORTER]["state"] == "manifest_failed"


def test_a_server_that_is_not_there(here: Mirror) -> None:
    with serving.running() as gone:
        url = gone.url
    here.create("zoo", url)

    outcome = here.sync("zoo")

    assert outcome.result == "failed"
    assert "could not be connected to" in str(outcome.error_message)


def test_a_repository_without_a_feed(here: Mirror) -> None:
    here.create("zoo", None)

    outcome = here.sync("zoo")

    assert (outcome.result, outcome.error_message) == ("failed", "The repository zoo has no feed to sync from.")


def test_credentials_of_a_feed_never_show(upstream: Upstream, here: Mirror) -> None:
    here.create("zoo", upstream.url.replace("http://", "http://admin:secret@"))

    outcome = here.sync("zoo")

    assert "404" in str(outcome.error_message)
    assert "secret" not in f"{outcome} {here.reports}"


def test_a_download_that_broke_off_is_gone_on_with(upstream: Upstream, here: Mirror) -> None:
    content = bytes(range(256)) * 4000
    upstream.put("big", content)
    upstream.manifest()
    upstream.misbehave("big", serving.truncated(content, 500_000, times=1))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"

    ranges = [headers.get("Range") for path, headers in upstream.asked if path == "big"]
    assert ranges[0] is None
    assert 0 < int(str(ranges[1]).removeprefix("bytes=").removesuffix("-")) <= 500_000


def test_a_later_sync_goes_on_where_an_earlier_one_failed(upstream: Upstream, here: Mirror) -> None:
    content = bytes(range(256)) * 4000
    upstream.put("big", content)
    upstream.manifest()
    upstream.misbehave("big", serving.truncated(content, 500_000, times=2))
    here.create("zoo", upstream.url)
    assert here.impatient(tries=1).sync("zoo").result == "failed"
    upstream.behaviours.clear()
    upstream.forget()

    assert here.sync("zoo").result == "success"

    assert any("Range" in headers for _, headers in upstream.asked)


def test_a_beginning_that_is_wrong_is_thrown_away(upstream: Upstream, here: Mirror) -> None:
    content = b"right" * 1000
    upstream.put("big", content)
    upstream.manifest()
    upstream.misbehave("big", serving.truncated(b"wrong" * 1000, 2000, times=1))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"

    assert [path.read_bytes() for path in here.stored()] == [content]


def test_a_server_without_ranges_is_asked_for_everything_again(upstream: Upstream, here: Mirror) -> None:
    content = b"right" * 1000
    upstream.put("big", content)
    upstream.manifest()
    upstream.supports_ranges = False
    upstream.misbehave("big", serving.truncated(content, 2000, times=1))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"
    assert here.reports[-1][IMPORTER]["finished_bytes"] == len(content)


def test_a_server_that_stumbles_is_asked_again(upstream: Upstream, here: Mirror) -> None:
    upstream.put("a", GOOD)
    upstream.manifest()
    upstream.misbehave("a", serving.status(503, times=1))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").result == "success"


def test_a_feed_that_changes_meanwhile_fails_and_is_healed_by_the_next_sync(upstream: Upstream, here: Mirror) -> None:
    upstream.put("a", b"first")
    upstream.manifest()

    def change(answering: serving.Answering) -> None:
        upstream.put("a", b"later")
        upstream.manifest()
        answering.serve("a")

    upstream.misbehave("a", change)
    here.create("zoo", upstream.url)

    assert "has another sha256 checksum" in str(here.sync("zoo").error_message)
    assert here.sync("zoo").result == "success"


def test_a_dead_upstream_is_given_up(upstream: Upstream, here: Mirror) -> None:
    upstream.manifest(*(f"{number},{hashlib.sha256(str(number).encode()).hexdigest()},1" for number in range(300)))
    here.create("zoo", upstream.url)

    outcome = here.impatient(failures_in_a_row=20).sync("zoo")

    assert "files in a row failed, the last one so: " in str(outcome.error_message)
    assert len(upstream.paths()) < 100


def test_a_cancelled_sync_leaves_whole_batches_and_can_be_repeated(upstream: Upstream, here: Mirror) -> None:
    opened, arrived = threading.Event(), threading.Event()
    upstream.put("slow", GOOD)
    upstream.put("fast", b"fast")
    upstream.manifest()
    upstream.misbehave("slow", serving.gate(GOOD, opened, arrived))
    here.create("zoo", upstream.url)
    patient = replace(here.context.limits, answer_timeout=30.0, stall_timeout=30.0)
    context = replace(here.context, limits=patient)

    async def begin_and_cancel() -> SyncOutcome:
        running = asyncio.ensure_future(sync(context, "zoo", None, here.reports.append))
        await asyncio.to_thread(arrived.wait, 10)
        running.cancel()
        return await running

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(begin_and_cancel())

    assert here.reports[-1][IMPORTER]["state"] == "cancelled"
    opened.set()
    upstream.behaviours.clear()
    assert here.sync("zoo").result == "success"
    assert here.names("zoo") == ["fast", "slow"]
    assert here.leftovers() == []


def everything(top: Path) -> set[Path]:
    return {path for path in top.rglob("*") if not path.name.startswith("pulpit.db")}


def test_a_disk_that_fills_up_is_said_and_harms_nothing(upstream: Upstream, here: Mirror) -> None:
    upstream.put("small", GOOD)
    upstream.manifest()
    here.create("zoo", upstream.url)
    assert here.sync("zoo").result == "success"
    upstream.put("big", b"x" * 3_000_000)
    upstream.manifest()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        outcome = here.sync("zoo")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert outcome.result == "failed"
    assert outcome.error_message == "The disk is full: The file 'big' could not be written. Make room and try again."
    assert here.names("zoo") == ["small"]
    assert here.sync("zoo").result == "success"


ODD_MANIFESTS = {
    "a byte order mark and line ends of Windows": "\ufeff{a}\r\n{b}\r\n",
    "comments and blank lines": "# name,checksum,size\n{a}\n\n   \n#\n{b}",
    "names as `find` writes them": "./{a}\n./{b}\n",
    "itself": "{a}\n{b}\nPULP_MANIFEST,{sha},1\n",
    "a line twice": "{a}\n{b}\n{a}\n",
    "a file in a file": "{a}\n{b}\na.iso/c,{sha},1\n",
    "a name that is no UTF-8": "{a}\n{b}\n\udce4,{sha},1\n",
    "checksums in capitals and blanks": "{a}\n{B}\n",
}


@pytest.mark.parametrize("packed", [lambda text: text, gzip.compress])
@pytest.mark.parametrize("case", ODD_MANIFESTS)
def test_an_odd_manifest_is_read(upstream: Upstream, here: Mirror, case: str, packed: Callable[[bytes], bytes]) -> None:
    upstream.put("a.iso", GOOD)
    upstream.put("sub folder/100%, ü.iso", GOOD)
    b = line("sub folder/100%, ü.iso", GOOD)
    name, digest, size = b.rsplit(",", 2)
    text = ODD_MANIFESTS[case].format(a=line("a.iso", GOOD), b=b, B=f"{name}, {digest.upper()} , {size} ", sha=SHA)
    upstream.put("PULP_MANIFEST", packed(text.encode(errors="surrogateescape")))
    here.create("zoo", upstream.url)

    assert here.sync("zoo").error_message is None
    assert sorted(here.names("zoo")) == ["a.iso", "sub folder/100%, ü.iso"]
