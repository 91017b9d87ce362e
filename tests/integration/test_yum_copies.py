"""Recursive copies: members of groups, packages of errata, and required packages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulpit.errors import InvalidValue, UnsupportedValue
from pulpit.repositories.copies import copy_units
from support import upstream as serving
from support import yum
from support.yum import COMPS, MODULES, UPDATEINFO, YumMirror, listed, packages, serve

pytestmark = pytest.mark.skipif(yum.tools("rpmbuild") is not None, reason=str(yum.tools("rpmbuild")))

RECURSIVE = {"recursive": True}
CONSERVATIVE = {"recursive_conservative": True}


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rpms")

    def built(name: str, version: str, *further: str) -> Path:
        return yum.build(folder, name, version, further="".join(f"{line}\n" for line in further))

    return [
        built("bear", "4.1"),
        built("bear", "4.2", "Requires: honey", "Requires: /bin/nothing", "Recommends: ant"),
        built("camel", "1.0", "Requires: bear < 4.2"),
        built("honey", "1", "Requires(pre): bee >= 1", "Provides: food = 2"),
        built("honey", "2", "Requires: bee", "Provides: food = 3"),
        built("bee", "0.5"),
        built("bee", "1.0", "Requires: honey"),
        built("lion", "1", "Requires: food = 2", "Requires: (ant if camel)", "Requires: (ant or bee)"),
        built("eagle", "1", "Requires: /usr/share/zoo/ant", "Requires: (bee and lion)"),
        built("ant", "1"),
        built("gnu", "1"),
    ]


@pytest.fixture
def here(tmp_path: Path, rpms: list[Path]) -> Iterator[YumMirror]:
    """A mirror `zoo`, and an empty repository `farm`."""
    with serving.running() as upstream, yum.yum_mirror(tmp_path / "data") as one:
        serve(upstream, listed(packages(rpms), updateinfo=UPDATEINFO, group=COMPS, modules=MODULES), rpms)
        one.create("zoo", upstream.url)
        assert one.sync("zoo").result == "success"
        one.create("farm", None)
        yield one


def copy(here: YumMirror, type_id: str, options: dict[str, Any], **named: str) -> list[str]:
    """Copy the units of a type whose keys are such; returns what is held then."""
    copied = copy_units(
        here.context,
        "zoo",
        "farm",
        [type_id],
        lambda held: all(held.unit.key.get(part) == value for part, value in named.items()),
        options,
    )
    assert {unit.id for unit in copied} <= {held.unit.id for held in here.held("farm")}
    return [nevra.removesuffix(".noarch").rpartition("-")[0] for nevra in here.nevras("farm")]


@pytest.mark.parametrize("options", [{}, {"recursive": False, "recursive_conservative": None}])
def test_without_the_option_only_the_chosen_are_copied(options: dict[str, Any], here: YumMirror) -> None:
    assert copy(here, "rpm", options, name="camel") == ["camel-1.0"]
    assert copy(here, "erratum", options) == ["camel-1.0"]


@pytest.mark.parametrize(
    ("named", "held"),
    [
        ({"name": "gnu"}, ["gnu-1"]),
        ({"name": "camel"}, ["bear-4.1", "camel-1.0"]),
        ({"name": "bear", "version": "4.2"}, ["bear-4.2", "bee-1.0", "honey-2"]),
        ({"name": "honey", "version": "1"}, ["bee-1.0", "honey-1"]),
        ({"name": "lion"}, ["ant-1", "bee-1.0", "honey-1", "lion-1"]),
        ({"name": "eagle"}, ["ant-1", "bee-1.0", "eagle-1", "honey-1", "lion-1"]),
    ],
)
def test_d2_packages_take_along_what_they_require(named: dict[str, str], held: list[str], here: YumMirror) -> None:
    copied = copy(here, "rpm", RECURSIVE, **named)

    assert set(held) <= set(copied)
    assert not {"gnu-1", "bee-0.5"} & set(copied) - set(held)


def test_d2_conservative_copies_leave_out_what_the_target_meets(here: YumMirror) -> None:
    assert copy(here, "rpm", {}, name="honey", version="1") == ["honey-1"]

    assert copy(here, "rpm", CONSERVATIVE, name="bear", version="4.2") == ["bear-4.2", "honey-1"]
    assert copy(here, "rpm", RECURSIVE, name="bear", version="4.2") == ["bear-4.2", "bee-1.0", "honey-1", "honey-2"]


def test_d2_errata_take_along_their_packages(here: YumMirror) -> None:
    assert copy(here, "erratum", RECURSIVE) == ["bear-4.2", "bee-1.0", "honey-2"]
    assert len(here.held("farm", "erratum")) == 1


@pytest.mark.parametrize("type_id", ["package_group", "package_category", "package_environment"])
def test_d2_groups_and_what_names_them_take_along_the_newest_of_their_packages(type_id: str, here: YumMirror) -> None:
    held = copy(here, type_id, RECURSIVE)

    assert held == ["bear-4.1", "bear-4.2", "bee-1.0", "camel-1.0", "honey-2"]
    assert len(here.held("farm", "package_group")) == 1
    assert len(here.held("farm", type_id)) == 1


def test_d2_conservative_groups_leave_out_names_that_the_target_has(here: YumMirror) -> None:
    copy(here, "rpm", {}, name="bear", version="4.1")

    assert copy(here, "package_group", CONSERVATIVE) == ["bear-4.1", "camel-1.0"]


def test_d2_modules_take_along_their_packages(here: YumMirror) -> None:
    assert copy(here, "modulemd", RECURSIVE) == ["bear-4.1", "camel-1.0"]


def test_clients_may_say_that_unsigned_packages_are_copied_too(here: YumMirror) -> None:
    assert copy(here, "rpm", {"require_signature": True}, name="camel") == []
    here.configure("farm", require_signature=True)
    assert copy(here, "rpm", {}, name="camel") == []
    assert copy(here, "rpm", {"require_signature": False}, name="camel") == ["camel-1.0"]


def test_d2_options_that_are_not_done_are_refused(here: YumMirror) -> None:
    with pytest.raises(UnsupportedValue):
        copy(here, "rpm", {"additional_repos": {}}, name="camel")
    with pytest.raises(InvalidValue):
        copy(here, "rpm", {"recursive": "yes"}, name="camel")
    assert here.held("farm") == []
