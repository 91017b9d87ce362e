"""Errata: one unit for each update of `updateinfo.xml`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from pulpit.content.port import Description, WantedUnit
from pulpit.content.rpm import elements
from pulpit.content.rpm.elements import checked_id, local

ERRATUM: Final = "erratum"
ROOT: Final = "updates"
TAG: Final = "update"
TEXTS: Final = ("title", "release", "rights", "pushcount", "severity", "summary", "description", "solution")
_FROM: Final = "from"


def with_sums(text: str, kind: str, digest_of: Callable[[str], str | None]) -> str:
    """Return an erratum whose packages have checksums of one type, if `digest_of` knows their file names."""
    erratum = elements.read(text)
    for package in (element for element in erratum.iter() if local(element.tag) == "package"):
        digest = digest_of(_package(package)["filename"] or "")
        if digest is not None:
            for old in [child for child in package if local(child.tag) == "sum"]:
                package.remove(old)
            SubElement(package, "sum", type=kind).text = digest
    return elements.written(erratum)


def unit(element: Element, list_name: str) -> WantedUnit:
    """Return the erratum of an `update` element, which is stored whole for publishing.

    Raises:
        BadFeed: its id is missing, or not text on one line.
    """
    parts = {local(child.tag): child for child in element}
    errata_id = checked_id(_text(parts.get("id")), list_name)
    metadata: dict[str, Any] = {name: _text(parts.get(name)) for name in TEXTS}
    metadata |= {
        "errata_id": errata_id,
        "from": element.get(_FROM),
        "from_str": element.get(_FROM),
        "status": element.get("status"),
        "type": element.get("type"),
        "version": element.get("version"),
        "issued": _date(parts.get("issued")),
        "updated": _date(parts.get("updated")),
        **{flag: flag in parts for flag in ("reboot_suggested", "relogin_suggested", "restart_suggested")},
        "references": [dict(reference.attrib) for reference in parts.get("references", ())],
        "pkglist": [_collection(collection) for collection in parts.get("pkglist", ())],
    }
    return elements.text_unit(ERRATUM, {"id": errata_id}, elements.written(element), metadata)


def description(key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
    """Describe an erratum by its id, with what alerts need."""
    advisory = {name: metadata.get(name) for name in ("type", "severity", "title")}
    return Description(name=str(key["id"]), version=metadata.get("version"), advisory=advisory)


def id_of(element: Element) -> str | None:
    return _text(next((child for child in element if local(child.tag) == "id"), None))


def joined(updates: Sequence[Element]) -> Element:
    """Merge several updates of one id: the first, with the packages and references of the others."""
    whole, *others = updates
    for tag in ("pkglist", "references") if others else ():
        lists = [child for update in updates for child in update if local(child.tag) == tag]
        known = {elements.written(entry) for entry in lists[0]} if lists else set()
        for more in lists[1:]:
            for entry in more:
                text = elements.written(entry)
                if text not in known:
                    known.add(text)
                    lists[0].append(entry)
        if lists and lists[0] not in list(whole):
            whole.append(lists[0])
    return whole


def _collection(element: Element) -> dict[str, Any]:
    collection: dict[str, Any] = {"short": element.get("short"), "name": None, "module": None, "packages": []}
    for child in element:
        match local(child.tag):
            case "name":
                collection["name"] = _text(child)
            case "module":
                collection["module"] = dict(child.attrib)
            case "package":
                collection["packages"].append(_package(child))
    return collection


def _package(element: Element) -> dict[str, Any]:
    package: dict[str, Any] = {
        name: element.get(name) for name in ("name", "epoch", "version", "release", "arch", "src")
    }
    parts = {local(child.tag): child for child in element}
    sums = [text for child in element if local(child.tag) == "sum" for text in (child.get("type"), _text(child))]
    return package | {"filename": _text(parts.get("filename")), "sum": sums}


def _text(element: Element | None) -> str | None:
    return element.text.strip() if element is not None and element.text else None


def _date(element: Element | None) -> str | None:
    return element.get("date") if element is not None else None
