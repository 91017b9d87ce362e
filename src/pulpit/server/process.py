"""What a process asks of the system before it begins: its three standard streams, and room for open files."""

import contextlib
import gc
import os
import resource
import sys
from typing import Final

OPEN_FILES: Final = 65_536


def fill_standard_streams() -> None:
    """Open /dev/null where standard input, output or error is closed; call it before anything else is opened.

    Else the first sockets would get their numbers: what is printed would go to a client, and the event loop aborts when
    it closes one.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - they stay open as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as above
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - as above


def say(text: str) -> None:
    """Print a line on standard error; a full disk behind it must not end a server."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - for whoever started it


def raise_open_files() -> None:
    """Take as many open files as the system allows, for each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def collect_garbage() -> None:
    """Look for garbage from now on, and not among what the start has made: that stays as long as the process."""
    gc.collect()
    gc.freeze()
    gc.enable()
