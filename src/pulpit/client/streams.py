# SPDX-License-Identifier: Apache-2.0
r"""The standard streams of a command: closed, full, without a reader, or unable to encode a character.

A closed descriptor is replaced at once, so that no socket or database gets its number, by one on which every operation
fails: a command that needs the stream gets an error. Characters that the encoding lacks are written as `\xe9`.
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
"""Modes in which /dev/null is opened so that reading and writing fail; standard error is discarded."""


class OutputGone(Exception):
    """The reader of standard output has left (`pulp-admin … | head`): end silently."""


def guarded(command: Callable[[Collection[int]], int]) -> int:
    """Run a command, which gets the descriptors that were closed, and return its exit code.

    If standard output or input fails, the result is one sentence and 74; if the reader has left, it is 0.
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
    """Redirect closed descriptors to /dev/null: a server needs none of them, and its workers inherit them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in closed:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def write_line(text: str) -> None:
    """Write a line and flush it.

    Raises:
        OutputGone: the reader has left.
        BrokenStream: it cannot be written.
    """
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_line() -> str:
    """Read the first line of standard input, without its end.

    Raises:
        BrokenStream: it cannot be read.
        WrongData: it is not text.
    """
    try:
        line = sys.stdin.readline(_LONGEST_LINE).rstrip("\r\n")
        line.encode()  # fails for lone surrogates, which stand for invalid bytes
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
        if gone.is_set():  # otherwise SIGPIPE is from a socket, whose writer gets an error
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
    """Unbuffered: after an interrupted write a buffer would stay full."""

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        view = memoryview(data)
        left = len(view)
        while left:
            left -= super().write(view[-left:]) or 0
        return len(view)


class _Output(_Whole):
    """Standard output that raises our errors."""

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            raise OutputGone from None
        except OSError as error:
            raise BrokenStream(f"Standard output cannot be written: {system_reason(error)}.") from None


class _Errors(_Whole):
    """Standard error; its own errors are ignored."""

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
            closed.add(os.open(os.devnull, mode))  # the lowest free number
    return closed


def _wrap() -> None:
    """Replace the interpreter's streams by ours; a test's replacement is kept."""
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
    """Redirect standard output to /dev/null, so that the interpreter's last flush cannot fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
