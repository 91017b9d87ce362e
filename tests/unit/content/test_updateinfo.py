"""Published errata list only the packages and modules that the repository holds."""

import pytest

from pulpit.content.port import StoredUnit
from pulpit.content.rpm import elements, updateinfo

BEAR = '<package name="bear" version="1" release="1" arch="noarch"><filename>bear-1-1.noarch.rpm</filename></package>'
LION = '<package name="lion" version="1" release="1" arch="noarch" />'
MODULE = '<module name="zoo" stream="1" version="2" context="c" arch="noarch" />'


def erratum(pkglist: str) -> StoredUnit:
    text = f"<update><id>ZOO-1</id><description>a &lt;package&gt; b</description>{pkglist}</update>"
    made = updateinfo.unit(elements.read(text), "updateinfo")
    return StoredUnit(id="1", type_id="erratum", key=made.key, metadata=made.metadata, files=(), detail=made.detail)


def narrowed(unit: StoredUnit, *names: str, module: bool = False) -> str | None:
    return updateinfo.narrowed(unit, lambda package: package["name"] in names, lambda _: module)


@pytest.mark.parametrize(
    "pkglist",
    [
        f"<pkglist><collection><name>one</name>{BEAR}{LION}</collection></pkglist>",
        f"<pkglist><collection>{BEAR}</collection><collection>{LION}</collection></pkglist>",
        f"<pkglist><collection>{BEAR}</collection></pkglist><pkglist><collection>{LION}</collection></pkglist>",
    ],
)
def test_packages_that_are_not_held_are_left_out(pkglist: str) -> None:
    unit = erratum(pkglist)
    listed = [package["name"] for part in unit.metadata["pkglist"] for package in part["packages"]]

    assert listed == ["bear", "lion"]
    assert narrowed(unit, "bear", "lion") == elements.text_of(unit)
    for name, other in (("bear", "lion"), ("lion", "bear")):
        text = narrowed(unit, name)
        assert text is not None
        assert (f'name="{name}"' in text, f'name="{other}"' in text) == (True, False)
        assert elements.read(text).tag == "update"
    assert narrowed(unit) is None


def test_a_held_module_keeps_its_collection() -> None:
    unit = erratum(f"<pkglist><collection>{MODULE}{BEAR}</collection><collection>{LION}</collection></pkglist>")

    text = narrowed(unit, module=True)
    assert text is not None
    assert MODULE in text
    assert "<package" not in text
    assert narrowed(unit) is None


@pytest.mark.parametrize("pkglist", ["", "<pkglist />", "<pkglist><collection /></pkglist>"])
def test_an_erratum_of_no_package_is_left_out(pkglist: str) -> None:
    assert narrowed(erratum(pkglist), "bear") is None


def test_an_erratum_in_a_form_that_cannot_be_cut_stays_whole() -> None:
    unit = erratum(f"<pkglist><zoo:collection>{BEAR}</zoo:collection></pkglist>")
    assert narrowed(unit) == elements.text_of(unit)
