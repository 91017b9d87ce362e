"""Events as lines of JSON from standard input, in batches that can be sent."""

import json
import os
import select
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pulpit.client.failures import WrongData

LARGEST_BATCH: Final = 1_000
"""Events; the server takes 10,000 at once."""
LARGEST_BATCH_BYTES: Final = 4 * 1024 * 1024
"""The server takes 16 MiB at once, and one line may come on top."""
LONGEST_LINE: Final = 4 * 1024 * 1024

KEYS: Final = frozenset({"event_type", "repo_id", "payload"})

_PIECE: Final = 64 * 1024
_QUIET_SECONDS: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One event, ready to be sent, and the number of its line."""

    number: int
    content: bytes


def lines(descriptor: int) -> Iterator[bytes | None]:
    """Read lines as they come; None says that no more has come for a moment, so that what is there can be sent.

    Raises:
        WrongData: standard input cannot be read.
    """
    rest = b""
    said_so = True
    while True:
        if not said_so and not select.select([descriptor], [], [], _QUIET_SECONDS)[0]:
            yield None
            said_so = True
        piece = _read(descriptor)
        *whole, rest = (rest + piece).split(b"\n") if b"\n" in piece else [rest + piece]
        yield from whole
        said_so = said_so and not whole
        if not piece or len(rest) > LONGEST_LINE:
            yield rest
            return


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError as error:
        raise WrongData(f"Standard input cannot be read: {error.strerror}.") from None


def batches(raw_lines: Iterable[bytes | None]) -> Iterator[list[Entry]]:
    """Gather lines into batches of bounded size; what stands before a wrong line is still given.

    Raises:
        WrongData: a line is no event; its number is named, and nothing behind it is given.
    """
    batch: list[Entry] = []
    size = number = 0
    wrong: WrongData | None = None
    for raw in raw_lines:
        number += raw is not None
        try:
            entry = None if raw is None or not raw.strip() else Entry(number=number, content=_checked(raw, number))
        except WrongData as failure:
            wrong = failure
            break
        if entry is not None:
            batch.append(entry)
            size += len(entry.content)
        if batch and (raw is None or len(batch) >= LARGEST_BATCH or size >= LARGEST_BATCH_BYTES):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
    if wrong:
        raise wrong


def _checked(raw: bytes, number: int) -> bytes:
    if len(raw) > LONGEST_LINE:
        raise WrongData(f"Line {number} is longer than {LONGEST_LINE} bytes.")
    try:
        event = parsed(raw)
    except WrongData as failure:
        raise WrongData(f"Line {number} {failure}") from None
    complaint = _complaint(event)
    if complaint:
        raise WrongData(f"Line {number} {complaint}")
    return encoded(event)


def parsed(raw: bytes | str) -> Any:
    """Read strict JSON.

    Raises:
        WrongData: it is none.
    """
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise WrongData(f"is not JSON: {reason}.") from None


def encoded(event: Mapping[str, Any]) -> bytes:
    """One event in one line of plain ASCII, without the line's end."""
    return json.dumps(event, separators=(",", ":")).encode("ascii")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _complaint(event: Any) -> str | None:
    if not isinstance(event, dict):
        return "is JSON, but no object."
    unknown = sorted(event.keys() - KEYS)
    if unknown:
        return f"has the unknown key {unknown[0][:40]!r}; there are event_type, repo_id and payload."
    if not isinstance(event.get("event_type"), str):
        return "has no event_type."
    if not isinstance(event.get("repo_id"), str | None):
        return "has a repo_id that is no text."
    return None if isinstance(event.get("payload"), dict | None) else "has a payload that is no object."
