"""Odd yum repositories from seeds: what dnf installs from the upstream is mirrored, and dnf installs it from us.

A short run is part of the suite. `PULPIT_YUM_SECONDS=600` makes a long one, `PULPIT_YUM_SEED=7` begins with a seed; one
that fails is printed with what is odd about it.
"""

import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import dnf, odd_yum, yum
from support import upstream as serving

SECONDS = float(os.environ.get("PULPIT_YUM_SECONDS", "15"))
SEED = int(os.environ.get("PULPIT_YUM_SEED", "0"))
REASON = yum.tools("rpmbuild") or dnf.missing()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
    pytest.mark.timeout(SECONDS + 120),
]


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return [
        yum.build(folder, "bear", "4.1"),
        yum.build(folder, "bear", "4.2~rc1"),
        yum.build(folder, "bear", "4.2", further="Epoch: 2\nProvides: animal = 3\n"),
        yum.build(folder, "camel", "1.0", further="Requires: bear >= 4.1\nRecommends: honey\nConflicts: lion < 2\n"),
        yum.build(folder, "lib++", "1.0+git", further="Obsoletes: lib < 1\nSupplements: bear\n"),
        yum.build(folder, "bear", "4.1", source=True),
    ]


@pytest.fixture(scope="module")
def reader() -> Iterator[dnf.Reader]:
    with dnf.Reader() as running:
        yield running


def test_what_dnf_installs_from_an_odd_upstream_it_installs_from_us(
    rpms: list[Path], reader: dnf.Reader, tmp_path: Path
) -> None:
    ends, read, refused = time.monotonic() + SECONDS, 0, 0
    for seed in itertools.count(SEED):
        if time.monotonic() > ends:
            break
        usable = _holds(seed, rpms, reader, tmp_path / str(seed))
        read, refused = read + usable, refused + (not usable)
    sys.stdout.write(f"{read} odd upstreams that dnf reads, {refused} that it does not, from seed {SEED} on\n")
    assert read


def _holds(seed: int, rpms: list[Path], reader: dnf.Reader, folder: Path) -> bool:
    """Whether dnf could read the upstream; what must hold is asserted."""
    with serving.running() as upstream, serving.running() as elsewhere, yum.yum_mirror(folder) as here:
        made = odd_yum.put(seed, rpms, upstream, elsewhere)
        story = f"seed {seed}: {'; '.join(made.notes)}"
        theirs = reader.read(f"{upstream.url}zoo/", download=True)
        here.create("zoo", f"{upstream.url}zoo/")
        outcome = here.sync("zoo")
        assert outcome.result == "success" or outcome.error_message, story
        if theirs.error:
            return False
        everything = all(broken is False for broken in theirs.found["broken"].values())
        assert outcome.result == "success" or not everything, f"{story}\n{outcome.error_message}"
        published = here.publish("zoo", {"force_full": True})
        assert published.result == "success", f"{story}\n{published.error_message}"
        with yum.web_server(here.root("zoo")) as url:
            ours = reader.read(url, download=True)
        assert ours.error == "", f"{story}\n{ours.error}"
        assert ours.installable >= theirs.installable, f"{story}\n{theirs.installable - ours.installable}"
        _say_the_same(theirs, ours, story)
        return True


def _say_the_same(theirs: dnf.Seen, ours: dnf.Seen, story: str) -> None:
    """The published lists say what those of the upstream say, or more where those lacked something."""
    for nevra in theirs.installable:
        (mine,) = ours.found["packages"][nevra]
        listed = theirs.found["packages"][nevra]
        assert any(mine["summary"] == theirs["summary"] for theirs in listed), f"{story}\n{nevra}"
        for part in ("requires", "provides", "files", "changelogs"):
            said = [set(map(str, theirs[part])) for theirs in listed]
            assert any(set(map(str, mine[part])) >= one for one in said), f"{story}\n{nevra} {part}"
    for part in ("groups", "environments", "modules", "advisories"):
        assert all(entry in ours.found[part] for entry in theirs.found[part]), f"{story}\n{part}"
