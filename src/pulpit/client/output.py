"""Standard output that somebody reads line by line, until nobody does any more."""

import os
import sys


class OutputGone(Exception):
    """Nobody reads standard output any more (`pulp-admin … | head`), which is a quiet end."""


def write_line(text: str) -> None:
    """Write a line and flush it, so that the reader has it now.

    Raises:
        OutputGone: the reader has left.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputGone from None


def forget_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush has no closed pipe to complain about."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
