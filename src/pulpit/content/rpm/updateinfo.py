"""Errata: one unit for each update of `updateinfo.xml`."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from pulpit.content.port import Description, StoredUnit, WantedUnit
from pulpit.content.rpm import elements
from pulpit.content.rpm.elements import checked_id, local

ERRATUM: Final = "erratum"
ROOT: Final = "updates"
TAG: Final = "update"
TEXTS: Final = ("title", "release", "rights", "pushcount", "severity", "summary", "description", "solution")
_FROM: Final = "from"
_COLLECTION: Final = re.compile(r"<collection\b[^>]*?(?:/>|>.*?</collection>)", re.DOTALL)
_PACKAGE: Final = re.compile(r"<package\b[^>]*?(?:/>|>.*?</package>)", re.DOTALL)
"""Of a text of `elements.written`, in which values have no angle brackets."""


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
        "pkglist": [_collection(collection) for collection in _collections(element)],
    }
    return elements.text_unit(ERRATUM, {"id": errata_id}, elements.written(element), metadata)


def description(key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
    """Describe an erratum by its id, with what alerts need."""
    advisory = {name: metadata.get(name) for name in ("type", "severity", "title")}
    return Description(name=str(key["id"]), version=metadata.get("version"), advisory=advisory)


def narrowed(
    unit: StoredUnit, holds: Callable[[Mapping[str, Any]], bool], holds_module: Callable[[Mapping[str, Any]], bool]
) -> str | None:
    """Return the text of an erratum with those packages alone that its repository holds; `None` if it holds none.

    A collection of a held module stays without packages, too. The text is cut, as parsing the errata of a distribution
    takes seconds; one that older versions described in part is returned whole.
    """
    text, listed = elements.text_of(unit), unit.metadata["pkglist"]
    found = list(_COLLECTION.finditer(text))
    if len(found) != len(listed):
        return text
    pieces, end, is_any = [], 0, False
    for match, collection in zip(found, listed, strict=True):
        kept = _narrowed_collection(match[0], collection, holds)
        if not kept and collection.get("module") and holds_module(collection["module"]):
            kept = _PACKAGE.sub("", match[0])
        is_any = is_any or bool(kept)
        pieces += [text[end : match.start()], kept]
        end = match.end()
    return "".join([*pieces, text[end:]]) if is_any else None


def _narrowed_collection(text: str, collection: Mapping[str, Any], holds: Callable[[Mapping[str, Any]], bool]) -> str:
    """Return a collection with the held packages, or nothing if there are none."""
    held = [holds(package) for package in collection["packages"]]
    if all(held) or len(_PACKAGE.findall(text)) != len(held):
        return text if held else ""
    marks = iter(held)
    return _PACKAGE.sub(lambda match: match[0] if next(marks) else "", text) if any(held) else ""


def merged(uploaded: WantedUnit, own: StoredUnit | None, others: Sequence[StoredUnit]) -> WantedUnit:
    """Merge an uploaded erratum with those of its id in this repository and in others, as Pulp 2 did.

    The text is that of the newest. A newer upload replaces the collections of packages that `own` has by the same name;
    all others are joined by name, because each repository publishes those packages alone that it holds.
    """
    new = elements.read(elements.text_of(uploaded))
    old = [elements.read(elements.text_of(unit)) for unit in ([own] if own else []) + list(others)]
    newest = old[0]
    for rival in [*old[1:], new]:
        if _is_newer(rival, newest):
            newest = rival
    whole = elements.read(elements.written(newest))
    parent = next((child for child in whole if local(child.tag) == "pkglist"), None)
    parent = SubElement(whole, "pkglist") if parent is None else parent
    known = {_collection_name(collection): collection for collection in _collections(whole)}
    replaced = set(known) if newest is new else set()
    for erratum in [new, *old]:
        for collection in _collections(erratum) if erratum is not newest else ():
            name = _collection_name(collection)
            if name not in known:
                known[name] = collection
                parent.append(collection)
            elif not (name in replaced and own and erratum is old[0]):
                _join(known[name], collection)
    return unit(whole, "The merged erratum")


def _is_newer(update: Element, than: Element) -> bool:
    """Whether an update is newer, by the date of its last change, or by its version if the dates do not tell."""
    mine, others = (_moment(element) for element in (update, than))
    if mine is not None and mine != others:
        return others is None or mine > others
    versions = [element.get("version") or "" for element in (update, than)]
    return all(version.isdecimal() for version in versions) and int(versions[0]) > int(versions[1])


def _moment(update: Element) -> datetime | None:
    said = _date(next((child for child in update if local(child.tag) == "updated"), None)) or ""
    with suppress(ValueError, OverflowError):
        if said.isdecimal():
            return datetime.fromtimestamp(int(said), UTC)
        moment = datetime.fromisoformat(said.removesuffix("UTC").strip())
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _collections(update: Element) -> Iterator[Element]:
    return (collection for child in update if local(child.tag) == "pkglist" for collection in child)


def _collection_name(element: Element) -> tuple[str, ...]:
    """Return what tells collections of an erratum apart: their name, and the module that they belong to."""
    collection = _collection(element)
    return collection["name"] or "", *sorted((collection["module"] or {}).values())


def _join(collection: Element, other: Element) -> None:
    """Add the packages of another collection that are missing."""
    known = {_identity(child) for child in collection if local(child.tag) == "package"}
    for child in other:
        if local(child.tag) == "package" and _identity(child) not in known:
            collection.append(child)


def _identity(element: Element) -> tuple[str, ...]:
    package = _package(element)
    parts = [package[name] or "" for name in ("name", "version", "release", "arch", "filename")]
    return package["epoch"] or "0", *parts


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
