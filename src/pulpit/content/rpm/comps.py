"""Groups, categories, environments and language packs: the parts of `comps.xml`."""

from collections.abc import Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from pulpit.content.port import WantedUnit
from pulpit.content.rpm.elements import checked_id, local, text_unit, written

GROUP: Final = "package_group"
CATEGORY: Final = "package_category"
ENVIRONMENT: Final = "package_environment"
LANGPACKS: Final = "package_langpacks"
TYPES: Final = (GROUP, CATEGORY, ENVIRONMENT, LANGPACKS)
ROOT: Final = "comps"
HEAD: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">\n<comps>\n'
)
KINDS: Final = ("mandatory", "default", "optional", "conditional")
_TAGS: Final = {"group": GROUP, "category": CATEGORY, "environment": ENVIRONMENT, "langpacks": LANGPACKS}
_LISTS: Final = ("packagelist", "grouplist", "optionlist")
_LANGUAGE: Final = "xml:lang"
_MOST_ORDER: Final = 9  # digits


def unit(element: Element, list_name: str) -> WantedUnit | None:
    """Return the unit of a child of `comps`; `None` for elements without a Pulp 2 type.

    Raises:
        BadFeed: an id is missing, or not text on one line.
    """
    type_id = _TAGS.get(local(element.tag))
    if type_id is None:
        return None
    own_id = "langpacks" if type_id == LANGPACKS else checked_id(_text(element, "id"), list_name)
    metadata = {f"{type_id}_id": own_id, **_metadata(element, type_id)}
    return text_unit(type_id, {"id": own_id, "repo_id": None}, written(element), metadata)


def identity(element: Element) -> tuple[str, str | None] | None:
    """Return what two parts of one list have in common that dnf takes for one; `None` for elements without a type."""
    tag = local(element.tag)
    if tag not in _TAGS:
        return None
    return tag, None if tag == "langpacks" else _text(element, "id")


def joined(parts: Sequence[Element]) -> Element:
    """Merge parts of one identity as dnf does: the first, with the packages and groups that only the others list."""
    whole, *others = parts
    for path in _LISTS if others else ():
        known = {(entry.text or "").strip() for entry in whole.iterfind(f"{path}/*")}
        for entry in (entry for other in others for entry in other.iterfind(f"{path}/*")):
            name = (entry.text or "").strip()
            if name not in known:
                known.add(name)
                target = whole.find(path)
                (SubElement(whole, path) if target is None else target).append(entry)
    if local(whole.tag) == "langpacks":
        for other in others:
            whole.extend(other)
    return whole


def _metadata(element: Element, type_id: str) -> dict[str, Any]:
    if type_id == LANGPACKS:
        matches = element.iterfind("match")
        return {"matches": [{"name": match.get("name"), "install": match.get("install")} for match in matches]}
    order = _text(element, "display_order") or ""
    described = {
        "name": _text(element, "name"),
        "description": _text(element, "description"),
        "display_order": int(order) if order.isascii() and order.isdigit() and len(order) <= _MOST_ORDER else None,
        "translated_name": _translations(element, "name"),
        "translated_description": _translations(element, "description"),
    }
    if type_id == GROUP:
        return {**described, **_group(element)}
    ids = [child.text.strip() for child in element.iterfind("grouplist/groupid") if child.text]
    if type_id == CATEGORY:
        return {**described, "packagegroupids": ids}
    options = [
        {"group": (option.text or "").strip(), "default": option.get("default", "").lower() == "true"}
        for option in element.iterfind("optionlist/groupid")
    ]
    return {**described, "group_ids": ids, "options": options}


def _group(element: Element) -> dict[str, Any]:
    packages: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for entry in element.iterfind("packagelist/packagereq"):
        kind = entry.get("type") or "mandatory"
        if kind in packages and entry.text:
            name = entry.text.strip()
            packages[kind].append([name, entry.get("requires")] if kind == "conditional" else name)
    return {
        "default": _flag(element, "default", unless_said=False),
        "user_visible": _flag(element, "uservisible", unless_said=True),
        "langonly": _text(element, "langonly"),
        **{f"{kind}_package_names": names for kind, names in packages.items()},
    }


def _text(element: Element, tag: str) -> str | None:
    """Return the text of the child that is not a translation."""
    for child in element.iterfind(tag):
        if _LANGUAGE not in child.attrib:
            return (child.text or "").strip() or None
    return None


def _translations(element: Element, tag: str) -> dict[str, str]:
    return {child.attrib[_LANGUAGE]: child.text or "" for child in element.iterfind(tag) if _LANGUAGE in child.attrib}


def _flag(element: Element, tag: str, *, unless_said: bool) -> bool:
    said = _text(element, tag)
    return unless_said if said is None else said.lower() == "true"
