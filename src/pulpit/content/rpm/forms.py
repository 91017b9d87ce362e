"""Units described in requests: groups, categories, environments, language packs and errata in Pulp 2's forms.

A form is converted to the XML that an upstream would list, and parsed like any list: there is only one import path.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from pulpit.content.port import BadFeed, WantedUnit
from pulpit.content.rpm import comps, elements, modules, updateinfo
from pulpit.content.rpm.elements import writable
from pulpit.errors import InvalidValue, UnsupportedValue

TYPES: Final = (*comps.TYPES, updateinfo.ERRATUM, modules.MODULE, modules.DEFAULTS)

_NOT_OURS: Final = ("repo_id", "_content_type_id")
"""Fields that clients repeat beside the form."""

_FLAGS: Final = ("reboot_suggested", "relogin_suggested", "restart_suggested")
_PACKAGE: Final = ("name", "epoch", "version", "release", "arch", "src")
_MODULE: Final = ("name", "stream", "version", "context", "arch")
_ORDER_OF_GROUPS: Final = "1024"
"""Pulp 2's place for groups that name none: behind all that do."""


def units(type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any], path: Path) -> list[WantedUnit]:
    """Return the units of a form, or of a whole `comps.xml` if the uploaded file is not empty.

    Raises:
        InvalidValue: the named part of the form is invalid.
        UnsupportedValue: the part is unknown.
    """
    try:
        if path.stat().st_size:
            return _of_file(type_id, path)
        if type_id in modules.TYPES:
            raise InvalidValue("upload_id", f"a unit of type {type_id} is made of a file; upload one.")
        form = {name: value for name, value in {**metadata, **key}.items() if name not in _NOT_OURS}
        unit = _READERS[type_id](_WRITERS[type_id](_Form(form)), "The form")
    except BadFeed as error:
        raise InvalidValue("unit_key", f"the unit cannot be used: {error}") from None
    assert unit is not None  # noqa: S101 - every element written here has a parser
    return [unit]


def _of_file(type_id: str, path: Path) -> list[WantedUnit]:
    if type_id in modules.TYPES:
        return _modules(path)
    if type_id not in comps.TYPES:
        raise InvalidValue("upload_id", f"a unit of type {type_id} has no file; upload none.")
    read = (comps.unit(element, "comps") for element in elements.children(path, comps.ROOT, "The uploaded comps.xml"))
    by_slot = {(unit.type_id, unit.slot): unit for unit in read if unit is not None}
    if not by_slot:
        raise InvalidValue("upload_id", "the uploaded comps.xml has no groups, categories, environments or langpacks.")
    return list(by_slot.values())


def _modules(path: Path) -> list[WantedUnit]:
    """Return all documents of a `modules.yaml`; a single invalid document rejects the upload."""

    def refuse(sentence: str) -> None:
        raise BadFeed(sentence)

    found = {(unit.type_id, unit.slot): unit for unit in modules.units(path, refuse)}
    if not found:
        raise InvalidValue("upload_id", "the uploaded file has no document of modules.")
    return list(found.values())


class _Form:
    """A client's form; null counts as absent, each part is read once, and unread parts are rejected."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts: Final = {name: value for name, value in parts.items() if value is not None}

    def text(self, name: str) -> str | None:
        value = self._parts.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str | int):
            raise InvalidValue(name, "it must be a text.")
        return writable(str(value))

    def flag(self, name: str) -> bool:
        value = self._parts.pop(name, None)
        if not isinstance(value, bool | None) and str(value).lower() not in {"true", "false"}:
            raise InvalidValue(name, "it must be true or false.")
        return str(value).lower() == "true"

    def entries(self, name: str) -> list[Any]:
        value = self._parts.pop(name, None)
        if value is not None and not isinstance(value, list):
            raise InvalidValue(name, "it must be a list.")
        return value or []

    def texts(self, name: str) -> list[str]:
        entries = self.entries(name)
        if not all(isinstance(entry, str) and entry for entry in entries):
            raise InvalidValue(name, "it must be a list of texts.")
        return [writable(entry) for entry in entries]

    def forms(self, name: str) -> "Iterable[_Form]":
        entries = self.entries(name)
        if not all(isinstance(entry, dict) for entry in entries):
            raise InvalidValue(name, "it must be a list of objects.")
        return [_Form(entry) for entry in entries]

    def form(self, name: str) -> "list[_Form]":
        """Read an object: none or one."""
        value = self._parts.pop(name, None)
        if not isinstance(value, dict | None):
            raise InvalidValue(name, "it must be an object.")
        return [_Form(value)] if value else []

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """Read pairs of texts: a list of lists of two, or an object."""
        value = self._parts.pop(name, None) or []
        pairs = list(value.items()) if isinstance(value, dict) else value
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)  # noqa: PLR2004
            for pair in pairs
        ):
            raise InvalidValue(name, "it must be an object, or a list of pairs of texts.")
        return [(writable(first), writable(second)) for first, second in pairs]

    def sums(self) -> list[tuple[str, str]]:
        """Read types and digests: alternating in a list, or one of each."""
        kind = self.text("type")
        for name in ("sum", "sums"):
            if isinstance(self._parts.get(name), str):
                self._parts[name] = [kind or "", self._parts[name]]
        listed = self.texts("sum") + self.texts("sums")
        return list(zip(listed[::2], listed[1::2], strict=False))

    def done(self) -> None:
        if self._parts:
            raise UnsupportedValue(sorted(self._parts))


def _described(form: _Form, element: Element, usual_order: str | None = None) -> None:
    _child(element, "id", form.text("id"))
    for tag in ("name", "description"):
        _child(element, tag, form.text(tag))
        for language, text in form.pairs(f"translated_{tag}"):
            _child(element, tag, text, {"xml:lang": language})
    _child(element, "display_order", form.text("display_order") or usual_order)


def _group(form: _Form) -> Element:
    element = Element("group")
    _described(form, element, _ORDER_OF_GROUPS)
    _child(element, "default", str(form.flag("default")).lower())
    _child(element, "uservisible", str(form.flag("user_visible")).lower())
    _child(element, "langonly", form.text("langonly"))
    listed = SubElement(element, "packagelist")
    for kind in comps.KINDS:
        name = f"{kind}_package_names"
        if kind == "conditional":
            for package, required in form.pairs(name):
                _child(listed, "packagereq", package, {"type": kind, "requires": required})
        else:
            for package in form.texts(name):
                _child(listed, "packagereq", package, {"type": kind})
    form.done()
    return element


def _category(form: _Form) -> Element:
    element = Element("category")
    _described(form, element)
    _list(element, "grouplist", form.texts("packagegroupids"))
    form.done()
    return element


def _environment(form: _Form) -> Element:
    element = Element("environment")
    _described(form, element)
    _list(element, "grouplist", form.texts("group_ids"))
    options = SubElement(element, "optionlist")
    for option in form.forms("options"):
        default = {"default": "true"} if option.flag("default") else {}
        _child(options, "groupid", option.text("group"), default)
        option.done()
    form.done()
    return element


def _langpacks(form: _Form) -> Element:
    element = Element("langpacks")
    form.text("id")
    for match in form.forms("matches"):
        SubElement(element, "match", {name: match.text(name) or "" for name in ("name", "install")})
        match.done()
    form.done()
    return element


def _erratum(form: _Form) -> Element:
    sender = form.text("from_str") or form.text("from")
    form.text("from")
    attributes = {"from": sender, **{name: form.text(name) for name in ("status", "type", "version")}}
    element = Element("update", {name: text for name, text in attributes.items() if text is not None})
    _child(element, "id", form.text("id"))
    for name in updateinfo.TEXTS:
        _child(element, name, form.text(name))
    for name in ("issued", "updated"):
        date = form.text(name)
        if date is not None:
            SubElement(element, name, {"date": date})
    for name in _FLAGS:
        if form.flag(name):
            _child(element, name, "True")
    references = SubElement(element, "references")
    for reference in form.forms("references"):
        parts = {name: reference.text(name) for name in ("href", "id", "type", "title")}
        SubElement(references, "reference", {name: text for name, text in parts.items() if text is not None})
        reference.done()
    listed = SubElement(element, "pkglist")
    for collection in form.forms("pkglist"):
        _collection(collection, listed)
    form.done()
    return element


def _collection(form: _Form, parent: Element) -> None:
    short = form.text("short")
    element = SubElement(parent, "collection", {} if short is None else {"short": short})
    _child(element, "name", form.text("name"))
    for module in form.form("module"):
        parts = {name: module.text(name) for name in _MODULE}
        SubElement(element, "module", {name: text for name, text in parts.items() if text is not None})
        module.done()
    for package in form.forms("packages"):
        parts = {name: package.text(name) for name in _PACKAGE}
        listed = SubElement(element, "package", {name: text for name, text in parts.items() if text is not None})
        _child(listed, "filename", package.text("filename"))
        for kind, digest in package.sums():
            _child(listed, "sum", digest, {"type": kind})
        for name in _FLAGS:
            if package.flag(name):
                _child(listed, name, "True")
        package.done()
    form.done()


def _child(parent: Element, tag: str, text: str | None, attributes: Mapping[str, str] | None = None) -> None:
    if text is not None:
        SubElement(parent, tag, dict(attributes or {})).text = text


def _list(parent: Element, tag: str, ids: Iterable[str]) -> None:
    element = SubElement(parent, tag)
    for group_id in ids:
        _child(element, "groupid", group_id)


_WRITERS: Final[Mapping[str, Callable[[_Form], Element]]] = {
    comps.GROUP: _group,
    comps.CATEGORY: _category,
    comps.ENVIRONMENT: _environment,
    comps.LANGPACKS: _langpacks,
    updateinfo.ERRATUM: _erratum,
}
_READERS: Final[Mapping[str, Callable[[Element, str], WantedUnit | None]]] = {
    **dict.fromkeys(comps.TYPES, comps.unit),
    updateinfo.ERRATUM: updateinfo.unit,
}
