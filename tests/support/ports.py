"""TCP ports for servers that a test will kill and start again.

They lie below the range from which the kernel takes the ports of outgoing connections: otherwise, while a server is
down, one of the clients that try to reach it may be given its port.
"""

import os
import random
import socket

import pytest

_FIRST, _EACH, _PROCESSES = 12_000, 2_500, 8
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_OURS = range(_FIRST + _PROCESS * _EACH, _FIRST + (_PROCESS + 1) * _EACH)
"""Each process that runs tests has ports of its own: a port that one has found is free until its server binds it."""
_unused = random.sample(_OURS, len(_OURS))


def free_port() -> int:
    """A TCP port of this machine that nobody uses now, and that no other call returned of late."""
    while True:
        if not _unused:
            _unused.extend(random.sample(_OURS, len(_OURS)))
        port = _unused.pop()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def own_address() -> str:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return address
