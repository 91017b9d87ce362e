"""Files of which an index gives no checksum: fetched once to learn it, where that is allowed.

Nobody can tell whether such a file is what its maker made, only that it came twice the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pulpit.content.port import Checksum, Upstream
from pulpit.content.python.selection import Choice

Choices = Mapping[str, list[Choice]]
"""By project."""


class Unhashed:
    """What is known of such files, by URL; `known` is the `memory` of last time."""

    def __init__(self, upstream: Upstream, known: Mapping[str, Mapping[str, Any]]) -> None:
        self._upstream: Final = upstream
        self._known: Final = known
        self.memory: Final[dict[str, Mapping[str, Any]]] = {}

    async def complete(self, found: Choices) -> dict[str, list[Choice]]:
        """Give every file a checksum.

        Raises:
            WorkFailed: one cannot be had.
        """
        await self._upstream.together([self._learn(url) for url in set(_without(found))])
        return {project: [self._completed(choice) for choice in choices] for project, choices in found.items()}

    async def _learn(self, url: str) -> None:
        before = self._known.get(url)
        document = await self._upstream.fetch(url, most=self._upstream.limits.file_bytes, known=before)
        if document is None:
            self.memory[url] = before or {}
            return
        await self._upstream.aside(document.path.unlink)
        self.memory[url] = {
            "sha256": document.sha256,
            "size": document.size,
            "etag": document.etag,
            "last_modified": document.last_modified,
        }

    def _completed(self, choice: Choice) -> Choice:
        if choice.entry.checksum is not None:
            return choice
        known = self.memory[choice.entry.url]
        checksum = Checksum(algorithm="sha256", digest=known["sha256"])
        return replace(choice, entry=replace(choice.entry, checksum=checksum, size=known["size"]))


def _without(found: Choices) -> Iterator[str]:
    return (choice.entry.url for choices in found.values() for choice in choices if choice.entry.checksum is None)
