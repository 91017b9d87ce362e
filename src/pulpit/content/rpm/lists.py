"""The three package lists, cut into entries: `primary` lists the packages, `filelists` and `other` add to it.

A scanner that knows XML's comments and CDATA cuts them; createrepo_c then parses each entry separately, once expat has
found it well-formed. So the lists may have any order and different numbers of entries, and no parser gets more than one
package at a time.
"""

import importlib
import mmap
import os
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from pulpit.content.limits import KIB, MIB
from pulpit.content.port import BadFeed
from pulpit.content.rpm import unpack
from pulpit.content.rpm.elements import MOST_ATTRIBUTES, WRITABLE_BYTES
from pulpit.errors import WorkFailed
from pulpit.text import shown

CREATEREPO: Final = "createrepo_c"
_RPM_CONFIGURATION: Final = "RPM_CONFIGDIR"
MOST_ENTRY: Final = 64 * MIB
"""Bytes of one package's entry in a list."""
ROOTS: Final = {"primary": "metadata", "filelists": "filelists", "other": "otherdata"}
HEADS: Final = {
    "primary": '<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"',
    "filelists": '<filelists xmlns="http://linux.duke.edu/metadata/filelists"',
    "other": '<otherdata xmlns="http://linux.duke.edu/metadata/other"',
}
TAILS: Final = {"primary": "</metadata>\n", "filelists": "</filelists>\n", "other": "</otherdata>\n"}

_WINDOW: Final = 4 * MIB
"""Bytes searched at a time, because the interpreter's lock is held meanwhile."""
_LONGEST_MARK: Final = 16
_MARK: Final = re.compile(rb"<(?:(!--)|(!\[CDATA\[)|(\?)|(/?)package(?=[\s/>]))")
_HIDING: Final = {1: b"-->", 2: b"]]>", 3: b"?>"}
_ROOT: Final = re.compile(rb"""<([A-Za-z_:][\w:.-]*)((?:[^>"'<]|"[^"<]*"|'[^'<]*')*)>""")
_COUNT: Final = re.compile(rb"""\spackages\s*=\s*["']\s*([0-9]{1,15})\s*["']""")
_PACKAGE_ID: Final = re.compile(rb"""\spkgid\s*=\s*["']\s*([0-9A-Fa-f]{32,128})\s*["']""")
_TAIL: Final = 64 * KIB
_MANY_ATTRIBUTES: Final = re.compile(rb"<(?:[^<>=]*=){%d}" % MOST_ATTRIBUTES)
"""May match too often: an equals sign may also be part of a text."""


@cache
def createrepo() -> Any:
    """Import createrepo_c at first use, because it needs GLib, which not every machine has.

    Its RPM library reads the machine's macros, and says on standard error which of them are too new for it. None is
    needed, so it gets an empty configuration.

    Raises:
        WorkFailed: a library is missing; the text says what to install.
    """
    configured = os.environ.get(_RPM_CONFIGURATION)
    try:
        os.environ[_RPM_CONFIGURATION] = str(Path(__file__).parent / "rpm_configuration")
        return importlib.import_module(CREATEREPO)
    except ImportError as error:
        reason = shown(str(error))
        raise WorkFailed(f"Yum repositories need GLib on the server (Debian: libglib2.0-0): {reason}.") from None
    finally:
        os.environ.pop(_RPM_CONFIGURATION, None)
        if configured is not None:
            os.environ[_RPM_CONFIGURATION] = configured


class PackageList:
    """An opened list of one of the three kinds; `announced` is the package count of its root element, if any.

    Raises:
        BadFeed: it is another document, or truncated.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.name: Final = f"The list {kind}"
        start, self._encoding = unpack.prolog(path, self.name)
        with path.open("rb") as file:
            self._bytes: Final = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        root = _ROOT.match(self._bytes, start, min(start + _TAIL, len(self._bytes)))
        tag = root[1].rpartition(b":")[2].decode("ascii", "replace") if root else ""
        if root is None or tag != ROOTS[kind]:
            raise BadFeed(f"{self.name} is refused: it is no <{ROOTS[kind]}>.")
        count = _COUNT.search(root[2])
        self.announced: Final = int(count[1]) if count else None
        self._start: Final = root.end()
        self._end: Final = len(self._bytes)
        _, closing, rest = self._bytes[max(self._start, self._end - _TAIL) :].rpartition(b"</" + root[1])
        is_closed = bool(closing) and rest.lstrip()[:1] == b">"
        if not root[2].endswith(b"/") and not is_closed:
            raise BadFeed(f"{self.name} is refused: it ends in the middle.")

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield start and end of each entry.

        Raises:
            BadFeed: an entry does not end, or is too large.
        """
        position, begun, forgotten = self._start, None, self._start
        while (mark := self._next_mark(position)) is not None:
            position = mark.end()
            if position - forgotten > _WINDOW:
                self.forget()
                forgotten = position
            if mark.lastindex in _HIDING:
                position = self._after(_HIDING[mark.lastindex], position)
            elif not mark[4]:
                if begun is not None:
                    raise BadFeed(f"{self.name} is refused: it has a package in a package.")
                begun = mark.start()
                position = self._after(b"<", position) - 1
                if self._bytes[begun:position].rstrip().endswith(b"/>"):
                    yield begun, position
                    begun = None
            elif begun is None:
                raise BadFeed(f"{self.name} is refused: a package ends that did not begin.")
            else:
                position = self._after(b">", position)
                if position - begun > MOST_ENTRY:
                    self._refuse_size()
                yield begun, position
                begun = None
        if begun is not None:
            raise BadFeed(f"{self.name} is refused: a package does not end.")

    def text(self, entry: tuple[int, int], *, proven: bool = False) -> str:
        """Return the XML of an entry; well-formedness is checked unless it is `proven`.

        Raises:
            BadFeed: it is not well-formed.
        """

        def refuse_attributes(_tag: str, attributes: dict[str, str]) -> None:
            if len(attributes) > MOST_ATTRIBUTES:
                raise BadFeed(f"{self.name} has an element with more than {MOST_ATTRIBUTES} attributes.")

        data = self._bytes[slice(*entry)].translate(WRITABLE_BYTES)
        try:
            if not proven:
                parser = expat.ParserCreate(encoding=self._encoding)
                if data.count(b"=") > MOST_ATTRIBUTES and _MANY_ATTRIBUTES.search(data):  # counting is cheap
                    parser.StartElementHandler = refuse_attributes
                parser.Parse(data, True)
            return data.decode(self._encoding)
        except (expat.ExpatError, UnicodeError) as error:
            raise BadFeed(f"{self.name} has an entry that is not well-formed XML ({shown(str(error))}).") from None

    def where(self, package_ids: Collection[str]) -> dict[str, tuple[int, int]]:
        """Return the entries of these packages, the first one of each."""
        places: dict[str, tuple[int, int]] = {}
        for begin, end in self:
            mark = _PACKAGE_ID.search(self._bytes, begin, min(end, begin + _TAIL))
            package_id = mark[1].decode().lower() if mark else ""
            if package_id in package_ids:
                places.setdefault(package_id, (begin, end))
        return places

    def forget(self) -> None:
        """Release the memory of what was read; it can be read again from the file."""
        self._bytes.madvise(mmap.MADV_DONTNEED)

    def _next_mark(self, position: int) -> re.Match[bytes] | None:
        while position < self._end:
            mark = _MARK.search(self._bytes, position, min(position + _WINDOW, self._end))
            if mark is not None:
                return mark
            position += _WINDOW - _LONGEST_MARK
        return None

    def _after(self, end: bytes, position: int) -> int:
        place = self._bytes.find(end, position, position + MOST_ENTRY)
        if place < 0:
            self._refuse_size()
        return place + len(end)

    def _refuse_size(self) -> None:
        raise BadFeed(f"{self.name} is refused: one of its packages takes more than {MOST_ENTRY} bytes, or never ends.")


def parsed(primary: str, filelists: str | None, other: str | None) -> Any:
    """Return createrepo_c's package for these entries; without `filelists` it has only the few files of `primary`.

    Raises:
        BadFeed: createrepo_c cannot parse them.
    """
    cr, packages = createrepo(), list[Any]()
    try:
        cr.xml_parse_primary_snippet(primary, pkgcb=packages.append, warningcb=_go_on, do_files=filelists is None)
        (package,) = packages
        if filelists is not None:
            cr.xml_parse_filelists_snippet(filelists, newpkgcb=lambda *_: package, warningcb=_go_on)
        if other is not None:
            cr.xml_parse_other_snippet(other, newpkgcb=lambda *_: package, warningcb=_go_on)
    except (cr.CreaterepoCError, ValueError):
        raise BadFeed("createrepo_c cannot read its entries in the lists.") from None
    package.epoch = package.epoch or "0"
    return package


def _go_on(_kind: int, _message: str) -> bool:
    """Continue after warnings: they are harmless, or checked once the package is complete."""
    return True
