# SPDX-License-Identifier: Apache-2.0
r"""The standard streams of a command: closed, full, without a reader, or without the letters that are to be written.

A closed descriptor is filled at once, so that no socket or database ever takes its number, with one that refuses what
is asked of it: whoever needs the stream learns it by an error. Letters that the encoding lacks are written as `\xe9`.
"""

import contextlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from typing import IO, Final, cast

from pulpit.client.failures import BrokenStream, WrongData
from pulpit.text import system_reason

_LONGEST_LINE: Final = 4096
_REFUSING: Final = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_RDWR}
"""How /dev/null must be opened so that reading and writing fail; errors alone may vanish."""


class OutputGone(Exception):
    """Nobody reads standard output any more (`pulp-admin … | head`), which is a quiet end."""


def guarded(command: Callable[[Collection[int]], int]) -> int:
    """Run a command, which is given the descriptors that were closed, and return its exit code.

    When standard output or input fails, that is one sentence and 74; when nobody reads any more, it is 0.
    """
    closed = _fill_closed()
    _wrap()
    try:
        code = command(closed)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OutputGone:
        forget_output()
        return 0
    except BrokenStream as failure:
        forget_output()
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    return code


def silence(closed: Collection[int]) -> None:
    """Let closed descriptors be /dev/null: a server needs none of them, and its workers inherit them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in closed:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def write_line(text: str) -> None:
    """Write a line and flush it, so that the reader has it now.

    Raises:
        OutputGone: the reader has left.
        BrokenStream: it cannot be written.
    """
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_line() -> str:
    """The first line of standard input, without its end.

    Raises:
        BrokenStream: it cannot be read.
        WrongData: it is no text.
    """
    try:
        line = sys.stdin.readline(_LONGEST_LINE).rstrip("\r\n")
        line.encode()  # which lone surrogates, that stand for bytes of no letter, do not pass
    except UnicodeError:
        raise WrongData("Standard input is no text in UTF-8.") from None
    except OSError as error:
        raise BrokenStream(f"Standard input cannot be read: {system_reason(error)}.") from None
    return line


@contextlib.contextmanager
def ending_with_reader() -> Iterator[None]:
    """End the main thread's work, whatever it waits for, when the reader of standard output leaves.

    Raises:
        OutputGone: it left.
    """
    raw = getattr(sys.stdout, "buffer", None)
    if threading.current_thread() is not threading.main_thread() or not isinstance(raw, _Output):
        yield
        return
    gone = threading.Event()

    def interrupt(_signal: int, _frame: object) -> None:
        if gone.is_set():  # another SIGPIPE is a socket's, whose writer gets an error of its own
            raise OutputGone

    def watch(descriptor: int, thread: int) -> None:
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll()):
            gone.set()
            signal.pthread_kill(thread, signal.SIGPIPE)

    before = signal.signal(signal.SIGPIPE, interrupt)
    threading.Thread(target=watch, args=(raw.fileno(), threading.get_ident()), daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


class _Whole(io.FileIO):
    """Writes all that it is given: no buffer stands before it, which an interrupted write would leave full."""

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        view = memoryview(data)
        left = len(view)
        while left:
            left -= super().write(view[-left:]) or 0
        return len(view)


class _Output(_Whole):
    """Standard output, whose errors are ours."""

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            raise OutputGone from None
        except OSError as error:
            raise BrokenStream(f"Standard output cannot be written: {system_reason(error)}.") from None


class _Errors(_Whole):
    """Standard error, whose own errors nobody could be told."""

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _fill_closed() -> set[int]:
    closed = set()
    for descriptor, mode in _REFUSING.items():
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(os.open(os.devnull, mode))  # the lowest number that is free
    return closed


def _wrap() -> None:
    """Put our own writers in the place of the interpreter's; what a test put there stays."""
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), "utf-8")
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Errors(2, "w", closefd=False), sys.stderr)
        sys.stderr.reconfigure(line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _text(raw: io.FileIO, before: object) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    if isinstance(before, io.TextIOWrapper):
        before.flush()
    stream = cast("IO[bytes]", raw)
    return io.TextIOWrapper(stream, encoding, "backslashreplace", line_buffering=os.isatty(raw.fileno()))


def forget_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush has nothing to complain about."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
