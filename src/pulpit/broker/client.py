"""What the rim and the status need of a client's connection, whichever dialect it speaks."""

from collections.abc import Mapping
from typing import Any, Protocol

from pulpit.broker.outbox import Outbox
from pulpit.broker.virtualhost import VirtualHost


class Client(Protocol):
    """One connection: bytes in, bytes out. `state` is `running` from when it is open to when it ends.

    `finished` tells the rim to hang up after sending, `peer_closes` that the peer said good-bye and will do so itself;
    `blocked` that nothing is read from it because it publishes and resources are short.
    """

    state: str
    finished: bool
    peer_closes: bool
    blocked: bool
    address: str
    secure: bool
    user: str
    host: VirtualHost
    client_properties: Mapping[str, Any]
    published: int
    delivered: int
    frame_max: int
    heartbeat: int
    outbox: Outbox

    @property
    def dialect(self) -> str:
        """Which AMQP it speaks."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Channels or sessions, consumers, and messages that they hold unacknowledged."""

    def receive(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""

    def take_output(self) -> bytes:
        """What is to be written to the socket now."""

    def unblock(self) -> None:
        """Memory and disk suffice again."""

    def shut(self, code: int, text: str) -> None:
        """Close from the broker's side, in words; the code is one of AMQP 0-9-1."""

    def abort(self) -> None:
        """Hang up without words."""

    def lost(self) -> None:
        """The socket is gone."""
