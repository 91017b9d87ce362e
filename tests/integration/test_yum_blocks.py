"""Package lists derived from the previous ones equal those of a publish from scratch."""

import gzip
import hashlib
import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import createrepo_c as cr
import pytest

from pulpit.content.rpm import blocks
from pulpit.repositories.promotion import Promotion, promote
from pulpit.store import holdings, publications
from support import upstream as serving
from support import yum
from support.upstream import Upstream
from support.yum import YumMirror, listed, serve

COUNT = 200
STEPS = 8


def package(number: int, epoch: int, summary: str = "A package") -> Any:
    """A package that nobody will install; those of one number and several epochs have one file name."""
    one = cr.Package()
    one.name, one.arch, one.epoch, one.version, one.release = f"p{number}", "noarch", str(epoch), "1", "2"
    one.pkgId = hashlib.sha256(content(number, epoch)).hexdigest()
    one.checksum_type, one.size_package = "sha256", len(content(number, epoch))
    one.location_href = f"{epoch}/p{number}-1-2.noarch.rpm"
    one.summary, one.description, one.rpm_license, one.url = summary, "Not much.", "MIT", ""
    one.files = [("", f"/usr/share/p{number}/", "file")]
    one.changelogs = [("Nobody <nobody@example.org>", 1_700_000_000, f"- change of {number}")]
    return one


def content(number: int, epoch: int) -> bytes:
    return b"package %d of epoch %d" % (number, epoch)


OFFERED = [*((number, 0) for number in range(COUNT)), *((number, 1) for number in range(0, COUNT, 9))]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with serving.running() as one:
        yield one


@pytest.fixture
def here(tmp_path: Path, upstream: Upstream) -> Iterator[YumMirror]:
    """Two repositories of the same packages, of which one is published."""
    with yum.yum_mirror(tmp_path / "data") as one:
        serve(upstream, listed([package(*offered) for offered in OFFERED]))
        for number, epoch in OFFERED:
            upstream.put(f"{epoch}/p{number}-1-2.noarch.rpm", content(number, epoch))
        for repo_id in ("zoo", "other"):
            one.create(repo_id, upstream.url)
            assert one.sync(repo_id).result == "success"
        assert one.publish("zoo").result == "success"
        yield one


def listing(here: YumMirror) -> dict[str, str]:
    """What is published, by path; but for the one file that tells the time."""
    found = {path: hashlib.sha256(data).hexdigest() for path, data in here.published("zoo").items()}
    del found["repodata/repomd.xml"]
    return found


def remove(here: YumMirror, which: random.Random) -> None:
    held = sorted(one.unit.id for one in here.held("zoo"))
    with here.context.database.write() as tx:
        gone = which.sample(held, k=min(which.choice([1, 1, 2, 40]), len(held) - 1))
        holdings.let_go(tx, "zoo", gone, now=here.context.clock(), recorder=here.context.recorder)


def put_back(here: YumMirror, which: random.Random) -> None:
    held = {one.unit.id for one in here.held("zoo")}
    away = sorted((one.unit for one in here.held("other") if one.unit.id not in held), key=lambda unit: unit.id)
    chosen = which.sample(away, k=min(which.choice([1, 1, 2, 40]), len(away)))
    slots = [here.context.slot(unit.type_id, unit.key) for unit in chosen]
    with here.context.database.write() as tx:
        holdings.lock_artifacts(tx)
        holdings.hold(tx, "zoo", chosen, slots, now=here.context.clock(), recorder=here.context.recorder)


def change_elsewhere(here: YumMirror, which: random.Random, upstream: Upstream) -> None:
    """Let another repository learn what is now other in packages that this one holds too."""
    summaries = {offered: f"Changed {which.random()}" for offered in which.sample(OFFERED, k=3)}
    serve(upstream, listed([package(*offered, summaries.get(offered, "A package")) for offered in OFFERED]))
    assert here.sync("other").result == "success"


def go_back(here: YumMirror, which: random.Random) -> None:
    with here.context.database.read() as connection:
        number = which.choice(publications.of_repository(connection, "zoo")).number
    order = Promotion(repo_id="zoo", number=number, path="repos/zoo", protect=False)
    show = promote(replace(here.context, task_id=f"back {which.random()}"), order)
    with here.context.database.write() as tx:
        show(tx)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_changed_the_lists_are_those_of_a_publish_from_nothing(
    seed: int, here: YumMirror, upstream: Upstream
) -> None:
    which = random.Random(seed)  # noqa: S311 - nothing secret
    for _ in range(STEPS):
        for _ in range(which.choice([1, 1, 3])):
            step = which.choice(["remove", "remove", "put back", "put back", "elsewhere", "back"])
            if step == "elsewhere":
                change_elsewhere(here, which, upstream)
            else:
                {"remove": remove, "put back": put_back, "back": go_back}[step](here, which)
        override = which.choice([None, None, None, {"checksum_type": "sha1"}])
        here.publish("zoo", override)  # or nothing, if another repository alone has changed
        remove(here, which)
        assert here.publish("zoo", override).result == "success"
        made_of_the_last = listing(here)

        assert here.publish("zoo", {**(override or {}), "force_full": True}).result == "success"

        assert made_of_the_last == listing(here)


def test_one_package_less_leaves_most_blocks_as_they_lie_packed(
    here: YumMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = list[int]()
    again = blocks.ListWriter.again

    def counted(self: blocks.ListWriter, earlier: blocks.Opened, numbers: list[int]) -> None:
        taken.extend(numbers)
        again(self, earlier, numbers)

    monkeypatch.setattr(blocks.ListWriter, "again", counted)
    with here.context.database.write() as tx:
        gone = [max(one.unit.id for one in here.held("zoo"))]
        holdings.let_go(tx, "zoo", gone, now=here.context.clock(), recorder=here.context.recorder)
    keys = [one.unit.id for one in here.held("zoo")]

    assert here.publish("zoo").result == "success"

    assert len(taken) >= 3 * (len(list(blocks.cut(keys))) - 1)


def test_a_list_is_one_gzip_member_whatever_it_was_made_of(here: YumMirror) -> None:
    which = random.Random(1)  # noqa: S311 - nothing secret
    remove(here, which)
    assert here.publish("zoo").result == "success"

    root = here.root("zoo")
    for path in root.glob("repodata/*.xml.gz"):
        reader = zlib.decompressobj(wbits=31)
        plain = reader.decompress(path.read_bytes())
        assert reader.eof
        assert not reader.unused_data
        assert plain == gzip.decompress(path.read_bytes())
    repomd = cr.Repomd(str(root / "repodata/repomd.xml"))
    for record in repomd.records:
        packed = (root / record.location_href).read_bytes()
        plain = gzip.decompress(packed)
        assert (record.size, record.checksum) == (len(packed), hashlib.sha256(packed).hexdigest())
        assert (record.size_open, record.checksum_open) == (len(plain), hashlib.sha256(plain).hexdigest())
    paths = {record.type: str(root / record.location_href) for record in repomd.records}
    read = cr.PackageIterator(
        primary_path=paths["primary"], filelists_path=paths["filelists"], other_path=paths["other"]
    )
    found = list(read)
    assert len(found) == len(here.held("zoo"))
    assert all((root / one.location_href).is_file() and one.files and one.changelogs for one in found)


def test_a_last_list_that_is_lost_or_spoiled_is_made_anew(here: YumMirror) -> None:
    for spoil in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-100] + bytes(100))):
        primary = next(path for path in here.published("zoo") if path.endswith("primary.xml.gz"))
        sha256 = hashlib.sha256(here.published("zoo")[primary]).hexdigest()
        remove(here, random.Random(2))  # noqa: S311 - nothing secret
        spoil(here.data_dir / "content" / sha256[:2] / sha256)

        assert here.publish("zoo").result == "success"
        found = listing(here)

        assert here.publish("zoo", {"force_full": True}).result == "success"
        assert found == listing(here)


def test_what_another_repository_learnt_of_a_package_is_in_the_next_lists(here: YumMirror, upstream: Upstream) -> None:
    change_elsewhere(here, random.Random(3), upstream)  # noqa: S311 - nothing secret
    assert here.publish("zoo").result == "skipped"
    with here.context.database.write() as tx:
        gone = [max(one.unit.id for one in here.held("zoo"))]
        holdings.let_go(tx, "zoo", gone, now=here.context.clock(), recorder=here.context.recorder)

    assert here.publish("zoo").result == "success"

    primary = next(data for path, data in here.published("zoo").items() if path.endswith("primary.xml.gz"))
    assert gzip.decompress(primary).count(b"<summary>Changed ") == 3
