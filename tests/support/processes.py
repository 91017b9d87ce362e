"""Processes of tests: started, killed, frozen, and started again."""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any


class Process:
    """A process that a test may kill or freeze; `start` is the subclass's."""

    _process: "subprocess.Popen[Any] | None" = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def kill(self) -> None:
        """`kill -9`; does nothing if it has ended or was never started."""
        if self._process:
            self._process.kill()
            self._process.wait(60)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def freeze(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of Pulpit."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PULP")}


def listens(port: int) -> bool:
    """Whether a port of this machine accepts connections."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def workers_of(server: Process) -> list[int]:
    """The process ids of a server's workers; some may have ended meanwhile."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for child in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"pulpit.server.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found
