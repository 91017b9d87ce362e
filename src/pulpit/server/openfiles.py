"""Open files: a process may have many more than it is given at first, and each connection is one."""

import contextlib
import resource
from typing import Final

WANTED: Final = 65_536


def raise_limit() -> None:
    """Take as many as the system lets us take, for the connections that the limits of the server speak of."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
