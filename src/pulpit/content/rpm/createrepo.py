"""The border to createrepo_c: found when it is first used, because it needs GLib, which not every machine has."""

import importlib
from functools import cache
from typing import Any, Final

from pulpit.content import paths
from pulpit.errors import WorkFailed

MODULE: Final = "createrepo_c"


@cache
def load() -> Any:
    """The module.

    Raises:
        WorkFailed: a library that it needs is not on this machine; the text says what to install.
    """
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        reason = paths.shown(str(error))
        raise WorkFailed(f"Yum repositories need GLib on the server (Debian: libglib2.0-0): {reason}.") from None
