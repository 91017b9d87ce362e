"""Groups, categories, environments and language packs: the parts of `comps.xml`."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

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
_LANGUAGE: Final = "xml:lang"
_MOST_ORDER: Final = 9  # digits


def unit(element: Element, list_name: str) -> WantedUnit | None:
    """The unit of a child of `comps`; `None` for what Pulp 2 has no type for.

    Raises:
        BadFeed: an id is missing, or is no text on one line.
    """
    type_id, id_name, read = _READERS.get(local(element.tag), ("", "", None))
    if read is None:
        return None
    own_id = "langpacks" if type_id == LANGPACKS else checked_id(_text(element, "id"), list_name)
    return text_unit(type_id, {"id": own_id, "repo_id": None}, written(element), {id_name: own_id, **read(element)})


def _described(element: Element) -> dict[str, Any]:
    order = _text(element, "display_order") or ""
    return {
        "name": _text(element, "name"),
        "description": _text(element, "description"),
        "display_order": int(order) if order.isascii() and order.isdigit() and len(order) <= _MOST_ORDER else None,
        "translated_name": _translations(element, "name"),
        "translated_description": _translations(element, "description"),
    }


def _group(element: Element) -> dict[str, Any]:
    packages: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for entry in element.iterfind("packagelist/packagereq"):
        kind = entry.get("type") or "mandatory"
        if kind in packages and entry.text:
            name = entry.text.strip()
            packages[kind].append([name, entry.get("requires")] if kind == "conditional" else name)
    return {
        **_described(element),
        "default": _flag(element, "default", unless_said=False),
        "user_visible": _flag(element, "uservisible", unless_said=True),
        "langonly": _text(element, "langonly"),
        **{f"{kind}_package_names": names for kind, names in packages.items()},
    }


def _category(element: Element) -> dict[str, Any]:
    return {**_described(element), "packagegroupids": _texts(element, "grouplist/groupid")}


def _environment(element: Element) -> dict[str, Any]:
    options = [
        {"group": (option.text or "").strip(), "default": option.get("default", "").lower() == "true"}
        for option in element.iterfind("optionlist/groupid")
    ]
    return {**_described(element), "group_ids": _texts(element, "grouplist/groupid"), "options": options}


def _langpacks(element: Element) -> dict[str, Any]:
    return {
        "matches": [{"name": match.get("name"), "install": match.get("install")} for match in element.iterfind("match")]
    }


_Reader = Callable[[Element], dict[str, Any]]
_READERS: Final[Mapping[str, tuple[str, str, _Reader | None]]] = {
    "group": (GROUP, "package_group_id", _group),
    "category": (CATEGORY, "package_category_id", _category),
    "environment": (ENVIRONMENT, "package_environment_id", _environment),
    "langpacks": (LANGPACKS, "package_langpacks_id", _langpacks),
}


def _text(element: Element, tag: str) -> str | None:
    """The text of the child that is not a translation."""
    for child in element.iterfind(tag):
        if _LANGUAGE not in child.attrib:
            return (child.text or "").strip() or None
    return None


def _texts(element: Element, path: str) -> list[str]:
    return [child.text.strip() for child in element.iterfind(path) if child.text]


def _translations(element: Element, tag: str) -> dict[str, str]:
    return {child.attrib[_LANGUAGE]: child.text or "" for child in element.iterfind(tag) if _LANGUAGE in child.attrib}


def _flag(element: Element, tag: str, *, unless_said: bool) -> bool:
    said = _text(element, tag)
    return unless_said if said is None else said.lower() == "true"
