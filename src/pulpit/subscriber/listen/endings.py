"""What ends the work before it is done: Ctrl-C, SIGTERM, and the clock."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self


class Ended(BaseException):
    """A signal asks for the end, with this exit code; no `except Exception` on the way shall hold it."""

    def __init__(self, code: int, *, while_writing: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.while_writing = while_writing


class Endings:
    """While this lasts, Ctrl-C and SIGTERM end the work with 0, and the clock, if asked, with `at_timeout`.

    Work that awaits is cancelled, so that it can end politely. Where it blocks (`at_once`), the signal breaks it off.
    """

    def __init__(self, timeout: float | None, *, at_timeout: int) -> None:
        self._timeout: Final = timeout
        self._at_timeout: Final = at_timeout
        self._before: dict[signal.Signals, Any] = {}
        self._code: int | None = None
        self._at_once = False
        self._work: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._end) for number in _signals_heard()}
        signal.setitimer(signal.ITIMER_REAL, self._timeout or 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    async def until_ended(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work.

        Raises:
            Ended: a signal came first.
        """
        task = asyncio.ensure_future(work)
        self._work = asyncio.get_running_loop(), task
        if self._code is not None:
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            raise Ended(self._code or 0) from None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal break off what is done in this block, which awaits nothing."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self._code is None:
            self._code = self._at_timeout if number == signal.SIGALRM else 0
        if self._at_once:
            raise Ended(self._code, while_writing=True)
        if self._work:
            loop, task = self._work
            loop.call_soon_threadsafe(task.cancel)


def _signals_heard() -> list[signal.Signals]:
    """Those that end the work; a shell that starts this in its background has Ctrl-C ignored, and it stays so."""
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGALRM, *([] if ignored else [signal.SIGINT])]
