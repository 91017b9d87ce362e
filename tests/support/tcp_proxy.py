"""A TCP proxy whose connections a test can cut, to stand for a failing network."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Wire:
    """Forwards every connection to a port of this machine until it is cut."""

    def __init__(self, port: int) -> None:
        self._there = port
        self.sent = 0
        """Bytes of clients that were passed on; a cut does not take them back."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Break all connections; new ones are welcome."""
        for end in list(self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(60)
        for end in self._sockets:
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(("127.0.0.1", self._there), 10)
                there.settimeout(None)
                self._sockets += [here, there]
                for source, target, counted in ((here, there, True), (there, here, False)):
                    thread = threading.Thread(target=self._forward, args=(source, target, counted))
                    self._threads.append(thread)
                    thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                self.sent += len(data) if counted else 0
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cuttable(port: int) -> Iterator[Wire]:
    """Forward to a port for the time of the block."""
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
