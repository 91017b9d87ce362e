"""Errata of one id, from uploads into several repositories: one text everywhere, published with what is held."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulpit.repositories.copies import copy_units
from pulpit.repositories.uploads import import_file
from support import dnf, yum
from support.yum import YumMirror

REASON = yum.tools("rpmbuild") or dnf.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

ID = "ZOO-2024:7"


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rpms")
    return {name: yum.build(folder, name, "1.0") for name in ("bear", "lion")}


@pytest.fixture
def here(tmp_path: Path, rpms: dict[str, Path]) -> Iterator[YumMirror]:
    """Two repositories: `zoo` has a bear, `park` a lion."""
    with yum.yum_mirror(tmp_path / "data") as one:
        for repo_id, name in (("zoo", "bear"), ("park", "lion")):
            one.create(repo_id, None)
            import_file(one.context, repo_id, "rpm", {}, {}, rpms[name])
        yield one


def listed(collection: str, *names: str, **module: str) -> dict[str, Any]:
    """A collection of an erratum's form; its packages have other file names than the published ones, as some have."""
    parts = {"epoch": None, "version": "1.0", "release": "1", "arch": "noarch"}
    packages = [{"name": name, "filename": f"{name}.rpm", **parts} for name in names]
    return {"name": collection, "packages": packages} | ({"module": module} if module else {})


def upload(
    here: YumMirror, repo_id: str, title: str, *collections: dict[str, Any], everywhere: bool = True, **form: Any
) -> None:
    nothing = here.context.data_dir / "nothing"
    nothing.touch()
    metadata = {"title": title, "pkglist": list(collections), **form}
    import_file(here.context, repo_id, "erratum", {"id": ID}, metadata, nothing, everywhere=everywhere)


def title_of(here: YumMirror, repo_id: str) -> str | None:
    (held,) = here.held(repo_id, "erratum")
    title: str | None = held.unit.metadata["title"]
    return title


def packages_of(here: YumMirror, repo_id: str) -> dict[str, list[str]]:
    (held,) = here.held(repo_id, "erratum")
    return {part["name"]: [package["name"] for package in part["packages"]] for part in held.unit.metadata["pkglist"]}


def shared(here: YumMirror) -> None:
    """Let both repositories hold the erratum."""
    upload(here, "zoo", "first", listed("beasts", "bear"), version="1", updated="2024-01-02 03:04:05 UTC")
    copy_units(here.context, "zoo", "park", ["erratum"], lambda _: True, {})


def test_a_newer_upload_changes_the_erratum_wherever_it_is(here: YumMirror) -> None:
    shared(here)
    before = here.publish("park")

    upload(here, "zoo", "second", listed("beasts", "bear", "lion"), version="2", updated="2024-01-02 03:04:05")

    assert [title_of(here, repo_id) for repo_id in ("zoo", "park")] == ["second", "second"]
    assert here.held("zoo", "erratum")[0].unit.id == here.held("park", "erratum")[0].unit.id
    assert (before.result, here.publish("park").result) == ("success", "success")


@pytest.mark.parametrize(
    ("form", "is_taken"),
    [
        ({"version": "3", "updated": "2024-01-01"}, False),
        ({"version": "1", "updated": "2024-01-02 03:04:05"}, False),
        ({"version": "2"}, True),
        ({"version": "1", "updated": "2024-01-03"}, True),
        ({"version": "1", "updated": "1704300000"}, True),
        ({"version": "?", "updated": "yesterday"}, False),
    ],
)
def test_the_text_of_the_newest_stays(here: YumMirror, form: dict[str, Any], is_taken: bool) -> None:
    shared(here)

    upload(here, "zoo", "second", listed("beasts", "bear"), **form)

    assert title_of(here, "zoo") == ("second" if is_taken else "first")


def test_packages_are_joined_by_the_name_of_their_collection(here: YumMirror) -> None:
    upload(here, "park", "park", listed("beasts", "lion"), version="1")
    upload(here, "zoo", "zoo", listed("beasts", "bear"), listed("birds", "crow"), version="2")
    assert packages_of(here, "park") == {"beasts": ["bear", "lion"], "birds": ["crow"]}

    upload(here, "zoo", "again", listed("beasts", "bear"), version="3")
    assert packages_of(here, "zoo") == {"beasts": ["bear"], "birds": ["crow"]}

    upload(here, "zoo", "old", listed("beasts", "lion"), version="1")
    assert packages_of(here, "zoo") == {"beasts": ["bear", "lion"], "birds": ["crow"]}


def test_an_upload_of_a_user_of_one_repository_stays_there(here: YumMirror) -> None:
    shared(here)

    upload(here, "zoo", "second", listed("beasts", "bear"), version="2", everywhere=False)

    assert [title_of(here, repo_id) for repo_id in ("zoo", "park")] == ["second", "first"]


def test_errata_are_published_with_the_packages_that_are_held(here: YumMirror) -> None:
    upload(here, "zoo", "both", listed("beasts", "bear", "lion"), listed("birds", "crow"), version="1")
    copy_units(here.context, "zoo", "park", ["erratum"], lambda _: True, {})
    copy_units(here.context, "zoo", "park", ["rpm"], lambda _: True, {})
    for repo_id, names in (("zoo", ["bear"]), ("park", ["bear", "lion"])):
        assert here.publish(repo_id).result == "success"
        (text,) = [text for path, text in here.published(repo_id).items() if "updateinfo" in path]
        found = gzip.decompress(text).decode()
        assert [name for name in ("bear", "lion", "crow") if f'name="{name}"' in found] == names
        assert "birds" not in found


def test_an_erratum_of_nothing_that_is_held_is_not_published(here: YumMirror) -> None:
    upload(here, "park", "none", listed("beasts", "bear"), version="1")

    assert here.publish("park").result == "success"

    with yum.web_server(here.root("park")) as url:
        assert dnf.read(url).found["advisories"] == []
    assert len(here.held("park", "erratum")) == 1
