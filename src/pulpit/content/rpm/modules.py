"""Modules: the documents of `modules.yaml`, each kept as it came."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import yaml

from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, WantedUnit
from pulpit.content.rpm.elements import checked_id, text_unit
from pulpit.text import shown

MODULE: Final = "modulemd"
DEFAULTS: Final = "modulemd_defaults"
OBSOLETES: Final = "modulemd_obsoletes"
TYPES: Final = (MODULE, DEFAULTS, OBSOLETES)
MOST_DOCUMENT: Final = 16 * MIB
MOST_DEPTH: Final = 50
_KEY: Final = ("name", "stream", "version", "context", "arch")
_MODULES: Final = frozenset({"modulemd", "modulemd-stream", "modulemd-packager"})


class _Loader(yaml.CSafeLoader):
    """Leaves every scalar the text that it is: the stream 1.10 is not the number 1.1."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


def documents(path: Path, name: str) -> Iterator[str]:
    """The texts of the documents.

    Raises:
        BadFeed: it is no text, or one document is too large.
    """
    lines: list[str] = []
    size = 0
    with path.open(encoding="utf-8") as file:
        try:
            while line := file.readline(MOST_DOCUMENT):
                if line.startswith(("---", "...")) and lines:
                    yield "".join(lines)
                    lines, size = [], 0
                size += len(line)
                if size > MOST_DOCUMENT:
                    raise BadFeed(f"{name} is refused: one of its documents is larger than {MOST_DOCUMENT} characters.")
                if line.strip() not in {"---", "..."}:
                    lines.append(line)
        except UnicodeDecodeError:
            raise BadFeed(f"{name} is refused: it is not UTF-8.") from None
    if lines:
        yield "".join(lines)


def unit(text: str, name: str) -> WantedUnit | None:
    """The unit of a document; `None` for an empty one and for kinds that Pulp 2 does not know.

    Raises:
        BadFeed: it is no such document.
    """
    try:
        _refuse_swelling(text, name)
        document = yaml.load(text, _Loader)  # noqa: S506 - it is a safe loader
    except (yaml.YAMLError, ValueError) as error:
        raise BadFeed(f"{name} is refused: a document is no plain YAML ({shown(str(error))}).") from None
    if document is None:
        return None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(data, dict):
        raise BadFeed(f"{name} is refused: a document has no data.")
    kind = document.get("document")
    if kind in _MODULES:
        return _module(text, data, name)
    if kind == "modulemd-defaults":
        return _defaults(text, data, name)
    return _obsoletes(text, data, name) if kind == "modulemd-obsoletes" else None


def _refuse_swelling(text: str, name: str) -> None:
    """Refuse aliases, a few lines of which can stand for more than any memory holds, and towers of lists in lists."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MOST_DEPTH:
            raise BadFeed(f"{name} is refused: a document uses aliases, or is nested more than {MOST_DEPTH} deep.")


def _module(text: str, data: Mapping[str, Any], name: str) -> WantedUnit:
    key = {part: _word(data.get(part)) for part in _KEY}
    for part in ("name", "stream"):
        checked_id(key[part], name)
    metadata = {
        "summary": _word(data.get("summary")),
        "description": _word(data.get("description")),
        "profiles": _profiles(data.get("profiles")),
        "dependencies": data.get("dependencies") if isinstance(data.get("dependencies"), list) else [],
        "artifacts": _words(_inside(data, "artifacts", "rpms")),
    }
    return text_unit(MODULE, key, text, metadata)


def _defaults(text: str, data: Mapping[str, Any], name: str) -> WantedUnit:
    module = checked_id(_word(data.get("module")), name)
    metadata = {"stream": _word(data.get("stream")), "profiles": _lists(data.get("profiles"))}
    return text_unit(DEFAULTS, {"name": module}, text, metadata)


def _obsoletes(text: str, data: Mapping[str, Any], name: str) -> WantedUnit:
    key = {part: _word(data.get(part)) for part in ("module", "stream", "context", "modified")}
    checked_id(key["module"], name)
    metadata = {"message": _word(data.get("message"))}
    return text_unit(OBSOLETES, key, text, metadata)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _inside(data: Mapping[str, Any], *names: str) -> Any:
    found: Any = data
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _profiles(value: Any) -> dict[str, list[str]]:
    profiles = value if isinstance(value, dict) else {}
    return {str(name): _words(_inside(profile, "rpms")) for name, profile in profiles.items()}


def _lists(value: Any) -> dict[str, list[str]]:
    return {str(name): _words(words) for name, words in value.items()} if isinstance(value, dict) else {}
