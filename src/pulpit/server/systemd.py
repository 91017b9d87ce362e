"""systemd's notify protocol: a service reports that it is ready, alive, or stopping (sd_notify(3)).

Without `NOTIFY_SOCKET` in the environment nothing is sent.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """The service manager; its socket is removed from the environment, so that child processes do not use it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop(_SOCKET, "")
        self._address: Final = f"\0{path[1:]}" if path.startswith("@") else path
        microseconds, pid = environment.pop(_WATCHDOG, ""), environment.pop(_WATCHDOG_PID, "")
        is_meant = pid in ("", str(os.getpid()))
        self.pause: Final = int(microseconds) / _MICROSECONDS / 2 if microseconds.isdecimal() and is_meant else 0.0
        """Seconds between watchdog messages, half of the timeout; 0 without a watchdog."""

    def say(self, *assignments: str) -> None:
        """Send one message, such as `READY=1`; a failure must not end the service."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.setblocking(False)
            line.sendto("\n".join(assignments).encode(), self._address)

    async def keep_telling(self) -> None:
        """Send watchdog messages for as long as the event loop runs; otherwise systemd restarts the service."""
        while self.pause:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self.pause)
        await asyncio.Event().wait()
