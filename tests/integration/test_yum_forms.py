"""Groups, categories, environments, language packs and errata uploaded as by Pulp 2's client, and read by dnf."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulpit.errors import InvalidValue, UnsupportedValue
from pulpit.repositories.uploads import import_file
from support import dnf, yum
from support.yum import COMPS, YumMirror

REASON = yum.tools("rpmbuild") or dnf.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

GROUP: dict[str, Any] = {
    "name": "Beasts",
    "description": "All & more \x0b",
    "user_visible": True,
    "default": None,
    "display_order": 3,
    "langonly": None,
    "mandatory_package_names": ["bear"],
    "optional_package_names": ["camel"],
    "default_package_names": None,
    "conditional_package_names": [["ant", "bear"]],
}
CATEGORY: dict[str, Any] = {"name": "Nature", "description": None, "packagegroupids": ["beasts"], "display_order": 1}
ENVIRONMENT: dict[str, Any] = {
    "name": "A zoo",
    "description": "d",
    "display_order": 1,
    "group_ids": ["beasts"],
    "options": [{"group": "beasts", "default": True}],
}
ERRATUM: dict[str, Any] = {
    "title": "Bears <escape>",
    "description": "The bear escaped.",
    "version": "1",
    "release": "el7",
    "type": "security",
    "status": "final",
    "updated": "2024-01-02 03:04:05",
    "issued": "2024-01-02 03:04:05",
    "severity": "Important",
    "rights": None,
    "pushcount": 1,
    "summary": "s",
    "solution": None,
    "from_str": "keeper@example.org",
    "reboot_suggested": True,
    "references": [{"href": "https://example.org/1", "type": "bugzilla", "id": "1", "title": "the fence"}],
    "pkglist": [
        {
            "name": "zoo",
            "short": "",
            "packages": [
                {
                    "name": "bear",
                    "version": "4.1",
                    "release": "1",
                    "epoch": "0",
                    "arch": "noarch",
                    "src": "bear-4.1-1.src.rpm",
                    "filename": "bear-4.1-1.noarch.rpm",
                    "sums": ["md5", "0" * 32],
                    "type": None,
                }
            ],
        }
    ],
}
FORMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("package_group", {"id": "beasts", "repo_id": "zoo"}, GROUP),
    ("package_category", {"id": "nature", "repo_id": "zoo"}, CATEGORY),
    ("package_environment", {"id": "zoo-environment", "repo_id": "zoo"}, ENVIRONMENT),
    ("package_langpacks", {"repo_id": "zoo"}, {"matches": [{"name": "bear", "install": "bear-%s"}]}),
    ("erratum", {"id": "ZOO-2024:9"}, ERRATUM),
]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[YumMirror]:
    with yum.yum_mirror(tmp_path / "data") as one:
        one.create("zoo", None)
        upload(one, "rpm", {}, {}, yum.build(tmp_path, "bear", "4.1"))
        yield one


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    path = tmp_path / "nothing"
    path.touch()
    return path


def upload(here: YumMirror, type_id: str, key: dict[str, Any], metadata: dict[str, Any], path: Path) -> Any:
    return import_file(here.context, "zoo", type_id, key, metadata, path)


def seen_by_dnf(here: YumMirror) -> dnf.Seen:
    assert here.publish("zoo").result == "success"
    with yum.web_server(here.root("zoo")) as url:
        return dnf.read(url)


def test_d7_forms_become_units_that_are_published(here: YumMirror, nothing: Path) -> None:
    for type_id, key, metadata in FORMS:
        upload(here, type_id, key, metadata, nothing)

    assert len(here.stored()) == 1  # the package: a form is no file
    seen = seen_by_dnf(here)

    assert seen.error == ""
    assert seen.groups == [["beasts", "Beasts", ["ant", "bear", "camel"]]]
    assert seen.found["environments"] == ["zoo-environment"]
    assert seen.found["advisories"] == ["ZOO-2024:9"]
    (erratum,) = here.held("zoo", "erratum")
    for name, value in ERRATUM.items():
        if name not in {"pkglist", "pushcount"} and value is not None:
            assert erratum.unit.metadata[name] == value
    assert erratum.unit.metadata["pkglist"][0]["packages"][0]["sum"] == ["md5", "0" * 32]
    (group,) = here.held("zoo", "package_group")
    assert group.unit.metadata["conditional_package_names"] == [["ant", "bear"]]
    assert group.unit.metadata["description"] == "All & more ?"
    assert here.leftovers() == []


def test_d7_what_a_form_leaves_out_is_as_in_pulp_2(here: YumMirror, nothing: Path) -> None:
    upload(here, "package_group", {"id": "bare"}, {}, nothing)

    (group,) = here.held("zoo", "package_group")
    shown = {name: group.unit.metadata[name] for name in ("display_order", "user_visible", "default")}
    assert shown == {"display_order": 1024, "user_visible": False, "default": False}


def test_d7_a_form_of_one_id_takes_the_place_of_the_other(here: YumMirror, nothing: Path) -> None:
    for name in ("Beasts", "Monsters"):
        upload(here, "package_group", {"id": "beasts"}, GROUP | {"name": name}, nothing)

    assert [held.unit.metadata["name"] for held in here.held("zoo", "package_group")] == ["Monsters"]


def test_d7_a_whole_comps_is_taken_apart(here: YumMirror, tmp_path: Path) -> None:
    path = tmp_path / "comps.xml"
    path.write_text(COMPS)

    upload(here, "package_group", {}, {}, path)

    types = {held.unit.type_id for held in here.held("zoo")} - {"rpm"}
    assert types == {"package_group", "package_category", "package_environment", "package_langpacks"}
    assert len(here.stored()) == 1  # the package; the comps.xml is written again
    assert seen_by_dnf(here).groups == [["animals", "Animals", ["bear", "camel"]]]


@pytest.mark.parametrize(
    ("type_id", "key", "metadata", "reason"),
    [
        ("package_group", {}, {"name": "x"}, "the id ''"),
        ("package_group", {"id": "a\nb"}, {}, "the id"),
        ("package_group", {"id": 1.5}, {}, "id"),
        ("package_group", {"id": "a"}, {"mandatory_package_names": "bear"}, "mandatory_package_names"),
        ("package_group", {"id": "a"}, {"mandatory_package_names": [1]}, "mandatory_package_names"),
        ("package_group", {"id": "a"}, {"conditional_package_names": [["x"]]}, "conditional_package_names"),
        ("package_group", {"id": "a"}, {"user_visible": "maybe"}, "user_visible"),
        ("package_environment", {"id": "a"}, {"options": ["x"]}, "options"),
        ("erratum", {"id": "a"}, {"pkglist": {}}, "pkglist"),
        ("erratum", {"id": "a"}, {"references": [{"colour": "red"}]}, "colour"),
        ("package_category", {"id": "a"}, {"colour": "red"}, "colour"),
    ],
)
def test_d7_forms_that_cannot_be_are_refused_by_name(  # noqa: PLR0917 - fixtures
    type_id: str, key: dict[str, Any], metadata: dict[str, Any], reason: str, here: YumMirror, nothing: Path
) -> None:
    with pytest.raises((InvalidValue, UnsupportedValue)) as refused:
        upload(here, type_id, key, metadata, nothing)

    assert reason in str(refused.value) or reason in str(vars(refused.value))
    assert len(here.held("zoo")) == 1


@pytest.mark.parametrize("content", ["<html/>", "<comps><group>", "<comps/>", "<comps><group/></comps>", "x"])
def test_d7_a_comps_that_cannot_be_read_is_refused(content: str, here: YumMirror, tmp_path: Path) -> None:
    path = tmp_path / "comps.xml"
    path.write_text(content)

    with pytest.raises(InvalidValue):
        upload(here, "package_group", {}, {}, path)
