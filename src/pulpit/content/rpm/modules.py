"""Modules: the documents of `modules.yaml`, each parsed by libyaml and rewritten in one plain form.

libmodulemd, which dnf uses, supports less than all of YAML: constructs that it rejects (directives, comments on
document markers, flow style) have an equivalent that it accepts. So the stored text is generated from what was parsed.
"""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

import yaml

from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, WantedUnit
from pulpit.content.rpm.elements import checked_id, text_unit
from pulpit.errors import WorkFailed
from pulpit.text import shown

MODULE: Final = "modulemd"
DEFAULTS: Final = "modulemd_defaults"
OBSOLETES: Final = "modulemd_obsoletes"
TYPES: Final = (MODULE, DEFAULTS, OBSOLETES)
MOST_DOCUMENT: Final = 16 * MIB
"""Characters of a document."""
MOST_LIST: Final = 128 * MIB
"""Characters of all documents together; ten times what the largest distributions have."""
MOST_DEPTH: Final = 50
_EVENT: Final = 16
"""Characters that a parser event counts as, besides its text."""
KEY: Final = ("name", "stream", "version", "context", "arch")
_MODULES: Final = frozenset({"modulemd", "modulemd-stream", "modulemd-packager"})


class _Loader(yaml.CSafeLoader):
    """Keeps every scalar as text: the stream 1.10 is not the number 1.1."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


def units(path: Path, leave_out: Callable[[str], None]) -> Iterator[WantedUnit]:
    """Yield the units of a list, for defaults of one module only the newest; `leave_out` is called for invalid ones.

    Raises:
        BadFeed: the list is not YAML, or too large.
    """
    defaults: dict[str | None, tuple[str, WantedUnit]] = {}
    for text, document in documents(path, "The list modules"):
        try:
            unit, modified = _unit(text, document, "modules")
        except BadFeed as error:
            leave_out(str(error))
            continue
        if unit is None:
            continue
        if unit.type_id != DEFAULTS:
            yield unit
        elif unit.slot not in defaults or modified > defaults[unit.slot][0]:
            defaults[unit.slot] = modified, unit
    yield from (unit for _, unit in defaults.values())


def documents(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    """Yield each document as published text, with its markers, and as parsed value; all scalars are texts.

    Raises:
        BadFeed: it is not YAML, or too large.
    """
    with path.open("rb") as file:
        try:
            events = _bounded(yaml.parse(_WithoutMarks(file), Loader=_Loader), name)
            for document in _split(events):
                yield _written(document), _built(document)
        except (yaml.YAMLError, UnicodeError, ValueError) as error:
            raise BadFeed(f"{name} is refused: it is no plain YAML ({shown(str(error))}).") from None


class _WithoutMarks:
    """A file without byte order marks at line starts: concatenated files contain them, and YAML does not allow them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: Final = file
        self._at_start = True

    def read(self, size: int = -1, /) -> bytes:
        line = self._file.readline(size)
        if self._at_start:
            line = line.removeprefix(BOM_UTF8)
        self._at_start = line.endswith(b"\n")
        return line


def canonical(text: str) -> str:
    """Return a stored document in published form; old versions stored them as received.

    Raises:
        WorkFailed: it is not YAML.
    """
    try:
        return "".join(map(_written, _split(_bounded(yaml.parse(text, Loader=_Loader), "A kept document"))))
    except yaml.YAMLError as error:
        begin = shown(text.strip()[:200])
        raise WorkFailed(
            f"modules.yaml is not published: a document is no plain YAML ({shown(str(error))}). Remove the module or "
            f"the defaults that begin with {begin!r}, and publish again."
        ) from None


def _bounded(events: Iterable[yaml.Event], name: str) -> Iterator[yaml.Event]:
    """Reject aliases, a few lines of which can expand beyond memory, deep nesting, and endless input."""
    depth = size = total = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            size, total = 0, total + size
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        size += _EVENT + (len(event.value) if isinstance(event, yaml.ScalarEvent) else 0)
        if isinstance(event, yaml.AliasEvent) or depth > MOST_DEPTH:
            raise BadFeed(f"{name} is refused: a document uses aliases, or is nested more than {MOST_DEPTH} deep.")
        if size > MOST_DOCUMENT:
            raise BadFeed(f"{name} is refused: one of its documents is larger than {MOST_DOCUMENT} characters.")
        if total > MOST_LIST:
            raise BadFeed(f"{name} is refused: it is larger than {MOST_LIST} characters.")
        yield event


def _split(events: Iterable[yaml.Event]) -> Iterator[list[yaml.Event]]:
    """Yield the events of each document, without those of its markers."""
    document: list[yaml.Event] = []
    for event in events:
        match event:
            case yaml.StreamStartEvent() | yaml.StreamEndEvent():
                continue
            case yaml.DocumentStartEvent():
                document = []
            case yaml.DocumentEndEvent():
                yield document
            case _:
                document.append(event)


def _written(document: Iterable[yaml.Event]) -> str:
    events: list[yaml.Event] = [yaml.StreamStartEvent(), yaml.DocumentStartEvent(explicit=True)]
    events += map(_plain, document)
    events += [yaml.DocumentEndEvent(explicit=True), yaml.StreamEndEvent()]
    return str(yaml.emit(events, Dumper=yaml.CSafeDumper, allow_unicode=True, width=MOST_DOCUMENT))


def _built(document: Iterable[yaml.Event]) -> Any:
    """Build a document's value: objects, lists and texts; a key that is not text is converted."""
    levels: list[list[Any]] = [[]]
    for event in document:
        match event:
            case yaml.ScalarEvent():
                levels[-1].append(event.value)
            case yaml.CollectionStartEvent():
                levels.append([])
            case yaml.MappingEndEvent():
                parts = levels.pop()
                levels[-1].append({str(key): value for key, value in zip(parts[::2], parts[1::2], strict=True)})
            case yaml.SequenceEndEvent():
                parts = levels.pop()
                levels[-1].append(parts)
    return levels[0][0]


def _plain(event: yaml.Event) -> yaml.Event:
    """Remove anchor, tag and flow style; text keeps its quoting."""
    match event:
        case yaml.ScalarEvent():
            style = event.style if event.style in {"'", '"', "|"} else None
            return yaml.ScalarEvent(None, None, (True, True), event.value, style=style)
        case yaml.MappingStartEvent():
            return yaml.MappingStartEvent(None, None, implicit=True, flow_style=False)
        case yaml.SequenceStartEvent():
            return yaml.SequenceStartEvent(None, None, implicit=True, flow_style=False)
        case _:
            return event


def _unit(text: str, document: Any, name: str) -> tuple[WantedUnit | None, str]:
    """Return the unit of a document, none if it is empty or of another kind.

    And for defaults their modification time.
    """
    if document in ("", "null", "~"):
        return None, ""
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(data, dict):
        raise BadFeed(f"{name} is refused: a document has no data.")
    kind = document.get("document")
    if kind in _MODULES:
        return _module(text, data, name), ""
    if kind == "modulemd-defaults":
        stated = data.get("profiles")
        profiles = stated if isinstance(stated, dict) else {}
        metadata = {
            "stream": _word(data.get("stream")),
            "profiles": {str(stream): _words(words) for stream, words in profiles.items()},
        }
        unit = text_unit(DEFAULTS, {"name": checked_id(_word(data.get("module")), name)}, text, metadata)
        return unit, (_word(data.get("modified")) or "").zfill(20)
    if kind == "modulemd-obsoletes":
        key = {part: _word(data.get(part)) for part in ("module", "stream", "context", "modified")}
        checked_id(key["module"], name)
        return text_unit(OBSOLETES, key, text, {"message": _word(data.get("message"))}), ""
    return None, ""


def _module(text: str, data: Mapping[str, Any], name: str) -> WantedUnit:
    key = {part: _word(data.get(part)) for part in KEY}
    for part in ("name", "stream"):
        checked_id(key[part], name)
    stated = data.get("profiles")
    profiles = stated if isinstance(stated, dict) else {}
    metadata = {
        "summary": _word(data.get("summary")),
        "description": _word(data.get("description")),
        "profiles": {str(profile): _words(_inside(of_profile, "rpms")) for profile, of_profile in profiles.items()},
        "dependencies": data.get("dependencies") if isinstance(data.get("dependencies"), list) else [],
        "artifacts": _words(_inside(data, "artifacts", "rpms")),
    }
    return text_unit(MODULE, key, text, metadata)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _inside(data: Mapping[str, Any], *names: str) -> Any:
    inside: Any = data
    for name in names:
        inside = inside.get(name) if isinstance(inside, Mapping) else None
    return inside
