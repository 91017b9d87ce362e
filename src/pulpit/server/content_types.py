"""The content types of this installation: Pulpit's own, and those that plug-ins add.

A distribution adds one by an entry point of the group `pulpit.content_types` that names a class without arguments; see
docs/content-types.md.
"""

import logging
from collections.abc import Mapping
from typing import Final

from pulpit.content.iso import Iso
from pulpit.content.port import ContentType
from pulpit.content.python.python import Python
from pulpit.content.rpm.signing import Signer
from pulpit.content.rpm.yum import Yum
from pulpit.repositories.context import by_plugin
from pulpit.server.plug_ins import installed

GROUP: Final = "pulpit.content_types"

_log = logging.getLogger(__name__)


def content_types(signer: Signer | None = None) -> Mapping[str, ContentType]:
    """Return every content type, by the type ids of its importer and of its distributors."""
    return by_plugin(Iso(), Yum(signer=signer), Python(), *_plug_ins())


def _plug_ins() -> list[ContentType]:
    found: list[ContentType] = []
    for entry in installed(GROUP):
        try:
            found.append(entry.load()())
        except Exception:  # noqa: BLE001 - a broken plug-in must not prevent the start
            _log.exception("a content type cannot be loaded", extra={"action": "plug_in_broken", "entry": entry.value})
    return found
