"""The configuration of a Python repository, and which names and versions it selects."""

from typing import Any

import pytest

from pulpit.content.python import distributions
from pulpit.content.python.index import IndexedFile
from pulpit.content.python.pages import roots
from pulpit.content.python.python import Python
from pulpit.content.python.selection import Rules
from pulpit.errors import InvalidValue, UnsupportedValue

IMPORTER: dict[str, Any] = {
    "feed": "https://index/simple/",
    "package_names": "Django>=4,<5, flask , numpy!=1.2,==1.*",
    "package_types": ["sdist", "wheel"],
    "python_tags": "py3,cp3?",
    "abi_tags": ["none"],
    "platform_tags": ["manylinux*_x86_64"],
    "python_versions": ["3.9", "3.13"],
    "prereleases": False,
    "include_yanked": True,
    "allow_unhashed": False,
    "retain_old_count": 3,
    "remove_missing": True,
    "max_downloads": 3,
}


def test_everything_may_be_absent_or_null() -> None:
    Python().check_importer_config({})
    Python().check_importer_config(IMPORTER)
    Python().check_importer_config(dict.fromkeys(IMPORTER))
    Python().check_distributor_config({"relative_url": "/a/b", "force_full": True})


@pytest.mark.parametrize(
    "change",
    [
        {"feed": "ftp://index/"},
        {"feed": "http://index/?x=y"},
        {"package_names": 7},
        {"package_names": [7]},
        {"package_names": "django=>4"},
        {"package_names": ">=4"},
        {"package_names": "../x"},
        {"package_names": "django[extra]"},
        {"package_names": "django; python_version>'3'"},
        {"package_names": "django @ http://elsewhere/"},
        {"package_names": "django,Django>=4"},
        {"package_names": "*>=4"},
        {"package_types": "egg"},
        {"python_tags": "py3;x"},
        {"abi_tags": {"none": 1}},
        {"python_versions": "three"},
        {"prereleases": "yes"},
        {"include_yanked": 1},
        {"allow_unhashed": "yes"},
        {"retain_old_count": -1},
    ],
)
def test_what_cannot_work_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(change))):
        Python().check_importer_config(IMPORTER | change)


def test_unknown_keys_are_refused() -> None:
    for check in (Python().check_importer_config, Python().check_distributor_config):
        with pytest.raises(UnsupportedValue):
            check({"colour": "green"})


def test_commas_part_projects_and_versions() -> None:
    rules = Rules.of(IMPORTER)

    assert {name: str(versions) for name, versions in rules.projects.items()} == {
        "django": "<5,>=4",
        "flask": "",
        "numpy": "!=1.2,==1.*",
    }


@pytest.mark.parametrize(
    ("feed", "found"),
    [
        ("https://i/", ("https://i/simple/", "https://i/")),
        ("https://i/simple/", ("https://i/simple/",)),
        ("https://i/root/+simple/", ("https://i/root/+simple/",)),
        ("https://i/simple/sub/", ("https://i/simple/sub/simple/", "https://i/simple/sub/")),
    ],
)
def test_roots(feed: str, found: tuple[str, ...]) -> None:
    assert roots(feed) == found


@pytest.mark.parametrize(
    ("name", "project", "version"),
    [
        ("zope.interface-4.0.tar.gz", "zope-interface", "4.0"),
        ("my-old-pkg-1.0-beta.tar.gz", "my-old-pkg", "1.0b0"),
        ("my-old-pkg-1.0-1.zip", "my-old-pkg", "1.0.post1"),
        ("bear-1.tgz", "bear", "1"),
        ("bear-1!2.0+local.1.tar.bz2", "bear", "1!2.0+local.1"),
        ("Bear_Cub-1.0-py2.py3-none-any.whl", "bear-cub", "1.0"),
        ("bear-1.0-7-cp39-abi3-manylinux_2_17_x86_64.whl", "bear", "1.0"),
    ],
)
def test_names_of_files_are_taken_apart(name: str, project: str, version: str) -> None:
    found = distributions.parse_filename(name, project)

    assert found is not None
    assert (found.project, str(found.version)) == (project, version)
    assert distributions.parse_filename(name, "another") is None


@pytest.mark.parametrize(
    "name",
    [
        "bear-1.0.lz",
        "bear.tar.gz",
        "bear-x.tar.gz",
        "-1.tar.gz",
        "bear-1.0.whl",
        "bear-1-2-3-4-5-6.whl",
        ".whl",
        "",
    ],
)
def test_other_names_are_no_distributions(name: str) -> None:
    assert distributions.parse_filename(name) is None


def test_what_is_old_is_told_by_what_is_wanted() -> None:
    rules = Rules.of({"package_names": "bear<3", "retain_old_count": 1})
    entries = [
        IndexedFile(filename=f"bear-{version}.tar.gz", url="", checksum=None, yanked=reason)
        for version, reason in (("1.0", None), ("1.5", None), ("2.0", None), ("2.5", "bad"), ("3.0", None))
    ]

    chosen = {str(choice.name.version): choice.withdrawn for choice in rules.choose("bear", entries)}

    assert chosen == {"1.5": False, "2.0": False, "2.5": True}
