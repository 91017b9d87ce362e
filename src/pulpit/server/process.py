"""What a process asks of the system before it begins: room for open files."""

import contextlib
import resource
from typing import Final

OPEN_FILES: Final = 65_536


def raise_open_files() -> None:
    """Take as many open files as the system allows, for each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
