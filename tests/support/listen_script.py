"""`playpen/listen.py` in a separate process."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.processes import clean_environment
from support.waiting import until

SCRIPT: Final = Path(__file__).parents[2] / "playpen" / "listen.py"


class Listening:
    """A running subscriber; what it prints goes to files that can be read at any time."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        number = len(list(folder.glob("listen-*.out")))
        self._output = folder / f"listen-{number}.out"
        self._errors = folder / f"listen-{number}.err"
        environment = clean_environment()
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *arguments], stdout=output, stderr=errors, env=environment
            )

    @property
    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    @property
    def told(self) -> list[str]:
        """What it said on standard error."""
        return self._errors.read_text().splitlines()

    def until_told(self, words: str, times: int = 1) -> None:
        """Wait until it has said something the given number of times."""
        until(lambda: sum(words in line for line in self.told) >= times, what=f"{words!r} from listen.py")

    def until_ready(self, times: int = 1) -> None:
        """Wait until it is bound; `times` counts reconnections too."""
        self.until_told("listening on exchange", times)

    def until_printed(self, count: int) -> list[str]:
        until(lambda: len(self.lines) >= count, what=f"{count} lines from listen.py, which said {self.told}")
        return self.lines

    def code(self) -> int:
        return self._process.wait(60)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and give its exit code."""
        self._process.send_signal(number)
        return self.code()

    def discard(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(60)


@contextmanager
def listening(folder: Path, *arguments: str) -> Iterator[Listening]:
    """Run a subscriber for the time of the block."""
    listener = Listening(folder, *arguments)
    try:
        yield listener
    finally:
        listener.discard()
