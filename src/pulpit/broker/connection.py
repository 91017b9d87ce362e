"""A connection: bytes in, bytes out.

    header → start → login → tune → open → running ─┬→ closing → closed
                                                    └→ closed
Each state has a table of the methods that are legal in it; `running` hands methods of channels to the handlers. What is
to be sent collects in `_out` until the rim fetches it at the end of a turn, so that many frames become one write.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from pamqp import commands
from pamqp.base import Frame

from pulpit.broker.channel import Channel
from pulpit.broker.content import PUBLISH, Budget
from pulpit.broker.framing import FrameReader
from pulpit.broker.handlers.basic import fast_ack
from pulpit.broker.handlers.table import HANDLERS
from pulpit.broker.house import House
from pulpit.broker.logins import EXTERNAL, MECHANISMS, Attempt
from pulpit.broker.methods import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    method_frame,
    method_ids,
    read_method,
)
from pulpit.broker.outbox import Outbox
from pulpit.broker.permissions import GrantedRights, Rights
from pulpit.broker.pulse import Pulse
from pulpit.broker.queue import Queue
from pulpit.broker.refusals import (
    ChannelRefusal,
    ConnectionRefusal,
    Refusal,
    channel_error,
    command_invalid,
    frame_error,
    not_allowed,
    unexpected_frame,
)
from pulpit.broker.tuning import FRAME_MIN, negotiated
from pulpit.broker.virtualhost import VirtualHost

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
SPOKEN: Final = (PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x08\x00")
"""Headers that are taken for 0-9-1, as RabbitMQ does: those of 0-9 and 0-8, whose clients get along with it."""
AMQP_10: Final = tuple(b"AMQP" + bytes((protocol, 1, 0, 0)) for protocol in (0, 2, 3))
"""Headers of AMQP 1.0: plain, inside TLS, with SASL."""
HANDSHAKE_FRAME_MAX: Final = 8192
"""Bytes of a frame before anybody has logged in."""
UNEXPECTED_FRAME: Final = 505
_CONTENT: Final = (FRAME_HEADER, FRAME_BODY)
_ACK: Final = b"\x00\x3c\x00\x50"
_ACK_SIZE: Final = 13
_log = logging.getLogger(__name__)


class Connection:
    """One client. `wake` asks the rim to call `take_output` soon; `finished` tells it to hang up after sending."""

    def __init__(
        self,
        house: House,
        *,
        wake: Callable[[], None],
        address: str,
        local: bool,
        certificate_name: str | None = None,
        secure: bool = False,
    ) -> None:
        self.house: Final = house
        self.address = address
        self.local: Final = local
        self.certificate_name: Final = certificate_name
        self.secure = secure
        self.outbox = Outbox(wake=wake, store=house.store, on_writable=self._resume)
        self.state = "header"
        self.finished = False
        self.peer_closes = False
        self.user = ""
        self.client_properties: Mapping[str, Any] = {}
        self.frame_max = house.config.frame_max
        self.channel_max = house.config.channel_max
        self.heartbeat = 0
        self.host: VirtualHost = house.hosts[house.config.virtual_hosts[0]]
        self.rights: Rights = GrantedRights(user="", host="", grants=())
        self.replies: Final = house.replies
        self.max_message_size: Final = house.config.max_message_size
        self.max_queues: Final = house.config.max_queues
        self.unfinished: Final = Budget(house.config.max_message_size, house.store.memory)
        self.wants_cancel_notices = False
        self.wants_blocked_notices = False
        self.channels: dict[int, Channel] = {}
        self.owned: dict[Queue, None] = {}
        self.published = 0
        self.delivered = 0
        self.blocked = False
        self.waiting_for_login = False
        self._greeting = b""  # bytes before the first frame, or while a log-in is judged
        self._frames: Final = FrameReader(HANDSHAKE_FRAME_MAX)
        self._pulse: Final = Pulse(
            timers=house.timers, outbox=self.outbox, lost=self._silent, excused=lambda: self.blocked
        )

    # -- bytes in

    def receive(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        self._pulse.heard = True
        if self.state == "header":
            data = self._read_header(self._greeting + data)
        if self.state == "header" or self.waiting_for_login:
            self._greeting = data if self.state == "header" else self._greeting + data
            if len(self._greeting) > HANDSHAKE_FRAME_MAX:
                self.abort()
            return
        try:
            for kind, number, payload in self._frames.feed(data):
                self._guard(kind, number, payload)
                if self.state == "closed" or self.waiting_for_login:
                    break
        except Refusal as refusal:
            self._fail(refusal, 0, b"")

    def _read_header(self, data: bytes) -> bytes:
        """Check the protocol header; anything else is answered with ours, and good-bye."""
        if len(data) < len(PROTOCOL_HEADER) and b"AMQP".startswith(data[:4]):
            return data
        if data.startswith(AMQP_10):
            _log.warning(
                "A client from %s speaks AMQP 1.0, and the embedded broker AMQP 0-9-1 alone: let it speak that, or"
                " configure a RabbitMQ or Qpid under [messaging] url",
                self.address or "this machine",
                extra={"action": "broker_amqp10_refused"},
            )
        if data[: len(PROTOCOL_HEADER)] not in SPOKEN:
            self.outbox.send(PROTOCOL_HEADER)
            self._finish()
            return b""
        self.state = "start"
        self._greeting = b""
        mechanisms = [*MECHANISMS, EXTERNAL] if self.certificate_name else list(MECHANISMS)
        start = commands.Connection.Start(0, 9, dict(self.house.server_properties), " ".join(mechanisms), "en_US")
        self.outbox.send(method_frame(0, start))
        return data[len(PROTOCOL_HEADER) :]

    def _guard(self, kind: int, number: int, payload: bytes) -> None:
        """Handle one frame, and turn what goes wrong into a close method."""
        try:
            self._handle(kind, number, payload)
        except Refusal as refusal:
            self._fail(refusal, number, self._cause(kind, number, payload, refusal))
        except Exception:  # noqa: BLE001 - a mistake of ours may end one connection, not the broker
            _log.exception("A frame could not be handled", extra={"action": "broker_frame_failed"})
            self._fail(ConnectionRefusal(541, "the broker made a mistake, see its log"), number, payload)

    def _cause(self, kind: int, number: int, payload: bytes, refusal: Refusal) -> bytes:
        """The method to blame: the frame's own, or the publish whose content it was, or none."""
        channel = self.channels.get(number)
        in_content = channel is not None and channel.content.publish is not None
        if kind == FRAME_METHOD:
            return PUBLISH if in_content and refusal.code == UNEXPECTED_FRAME else payload
        return PUBLISH if in_content or (kind in _CONTENT and refusal.code != UNEXPECTED_FRAME) else b""

    def _handle(self, kind: int, number: int, payload: bytes) -> None:
        channel = self.channels.get(number)
        if channel is not None and not channel.closing and self.state == "running":
            if kind == FRAME_BODY:
                channel.take_body(payload)
                return
            if kind == FRAME_HEADER:
                channel.take_header(payload)
                return
            if kind == FRAME_METHOD:
                start = payload[:4]
                if start == PUBLISH:
                    channel.content.begin(payload)
                    return
                if start == _ACK and len(payload) == _ACK_SIZE and channel.content.publish is None:
                    fast_ack(channel, payload)
                    return
        self._handle_other(kind, number, payload)

    def _handle_other(self, kind: int, number: int, payload: bytes) -> None:
        if kind == FRAME_HEARTBEAT:
            if number:
                raise unexpected_frame("a heartbeat on a channel")
            if payload:
                raise frame_error("a heartbeat with a payload")
        elif kind == FRAME_METHOD:
            if self.state == "closing":
                if payload[:4] in (b"\x00\x0a\x00\x33", b"\x00\x0a\x00\x32"):
                    self._handle_method(0, read_method(payload))
            elif number in self.channels and self.channels[number].closing:
                self._handle_closing(number, payload)
            else:
                self._handle_method(number, read_method(payload))
        elif kind not in (FRAME_HEADER, FRAME_BODY):
            raise frame_error(f"unknown frame type {kind}")
        elif self.state not in ("closing", "closed") and number not in self.channels:
            raise unexpected_frame("expected method frame, got non method frame instead")

    def _handle_closing(self, number: int, payload: bytes) -> None:
        """After channel.close was sent, only its answer counts, or the client's own close, which crossed it."""
        if payload[:4] == b"\x00\x14\x00\x29":
            del self.channels[number]
        elif payload[:4] == b"\x00\x14\x00\x28":
            self.outbox.send(method_frame(number, commands.Channel.CloseOk()))

    def _handle_method(self, number: int, method: Frame) -> None:
        if number == 0:
            handler = _CONNECTION_METHODS[self.state].get(type(method))
            if handler is None:
                raise channel_error(f"unexpected method in connection state {self.state}")
            handler(self, method)
        elif self.state != "running":
            raise command_invalid(f"{method.name} before the connection is open")
        else:
            self._handle_channel_method(number, method)

    def _handle_channel_method(self, number: int, method: Frame) -> None:
        channel = self.channels.get(number)
        if isinstance(method, commands.Channel.Open):
            self._open_channel(number, channel)
        elif channel is None:
            if not isinstance(method, commands.Channel.CloseOk):
                raise channel_error("expected 'channel.open'")
        elif isinstance(method, commands.Channel.Close):
            channel.close()
            del self.channels[number]
            self.outbox.send(method_frame(number, commands.Channel.CloseOk()))
        elif channel.content.publish is not None:
            raise channel.content.interrupted()
        else:
            handler = HANDLERS.get(type(method))
            if handler is None:
                raise command_invalid("unimplemented method")
            handler(channel, method)

    def _open_channel(self, number: int, channel: Channel | None) -> None:
        if channel is not None:
            raise channel_error("second 'channel.open' seen")
        if self.channel_max and len(self.channels) >= self.channel_max:
            raise not_allowed(
                f"number of channels opened ({len(self.channels)}) has reached the negotiated channel_max"
                f" ({self.channel_max})"
            )
        self.channels[number] = Channel(number, self)
        self.outbox.send(method_frame(number, commands.Channel.OpenOk()))

    # -- the connection's own methods

    def _start_ok(self, method: commands.Connection.StartOk) -> None:
        properties = method.client_properties
        self.client_properties = properties
        capabilities: Any = properties.get("capabilities")
        capabilities = capabilities if isinstance(capabilities, dict) else {}
        self.wants_cancel_notices = capabilities.get("consumer_cancel_notify") is True
        self.wants_blocked_notices = capabilities.get("connection.blocked") is True
        self.waiting_for_login = True
        attempt = self._attempt(method.mechanism, method.response)  # type: ignore[arg-type]
        self.house.logins.ask(attempt, self._logged_in)

    def _attempt(self, mechanism: str, response: bytes) -> Attempt:
        if mechanism == EXTERNAL and self.certificate_name:
            user, password = self.certificate_name, None
        elif mechanism in MECHANISMS:
            user, password = MECHANISMS[mechanism](response)
        else:
            self.waiting_for_login = False
            raise command_invalid(f"unknown authentication mechanism '{mechanism}'")
        return Attempt(mechanism=mechanism, user=user, password=password, address=self.address, local=self.local)

    def _logged_in(self, attempt: Attempt, *, welcome: bool) -> None:
        """The door has answered."""
        self.waiting_for_login = False
        if self.state == "closed":
            return
        if welcome:
            self.user = attempt.user
            self.state = "tune"
            config = self.house.config
            self.outbox.send(
                method_frame(0, commands.Connection.Tune(config.channel_max, config.frame_max, config.heartbeat))
            )
            rest, self._greeting = self._greeting, b""
            self.receive(rest)
            return
        capabilities: Any = self.client_properties.get("capabilities")
        if isinstance(capabilities, dict) and capabilities.get("authentication_failure_close") is True:
            reason = (
                f"Login was refused using authentication mechanism {attempt.mechanism}."
                " For details see the broker logfile."
            )
            self._fail(ConnectionRefusal(403, reason), 0, b"")
        else:
            self._finish()

    def _tune_ok(self, method: commands.Connection.TuneOk) -> None:
        config = self.house.config
        self.channel_max = negotiated("channel_max", 1, config.channel_max, method.channel_max)
        self.frame_max = negotiated("frame_max", FRAME_MIN, config.frame_max, method.frame_max)
        self._frames.limit = self.frame_max
        self.heartbeat = method.heartbeat
        self.state = "open"
        self._pulse.start(self.heartbeat)

    def _open(self, method: commands.Connection.Open) -> None:
        name = method.virtual_host
        host = self.house.hosts.get(name)
        if host is None:
            raise not_allowed(f"vhost {name} not found")
        rights = self.house.logins.rights(self.user, name)
        if rights is None:
            raise not_allowed(f"access to vhost '{name}' refused for user '{self.user}'")
        self.host, self.rights = host, rights
        self.state = "running"
        self.house.connections[self] = None
        self.outbox.send(method_frame(0, commands.Connection.OpenOk()))

    def _client_closes(self, _method: commands.Connection.Close) -> None:
        self._drop_everything()
        self.outbox.send(method_frame(0, commands.Connection.CloseOk()))
        self.peer_closes = True
        self._finish()

    def _close_ok(self, _method: commands.Connection.CloseOk) -> None:
        self._finish()

    def _update_secret(self, _method: commands.Connection.UpdateSecret) -> None:
        """Passwords do not run out here, so a new one changes nothing."""
        self.outbox.send(method_frame(0, commands.Connection.UpdateSecretOk()))

    # -- ends

    def _fail(self, refusal: Refusal, number: int, payload: bytes) -> None:
        """Close the channel or the connection with the reason and the method that caused it."""
        class_id, method_id = method_ids(payload)
        channel = self.channels.get(number)
        if isinstance(refusal, ChannelRefusal) and channel is not None:
            self.outbox.send(
                method_frame(number, commands.Channel.Close(refusal.code, refusal.text, class_id, method_id))
            )
            channel.close()
            return
        if self.state in ("closing", "closed"):
            self._finish()
            return
        if self.state == "header":
            self._finish()
            return
        self._drop_everything()
        self.outbox.send(method_frame(0, commands.Connection.Close(refusal.code, refusal.text, class_id, method_id)))
        self.state = "closing"
        self.house.timers.after(self.house.config.handshake_timeout, self.abort)

    def shut(self, code: int, text: str) -> None:
        """Close from the broker's side, in words."""
        if self.state in ("start", "tune", "open", "running"):
            self._fail(ConnectionRefusal(code, text), 0, b"")
        elif self.state == "header":
            self._finish()

    def abort(self) -> None:
        """Hang up without words."""
        if self.state != "closed":
            self._finish()

    def _silent(self) -> None:
        _log.info("A client was silent for too long", extra={"action": "broker_client_silent"})
        self.abort()

    def lost(self) -> None:
        """The socket is gone."""
        self.state = "closed"
        self._drop_everything()

    def _finish(self) -> None:
        self.state = "closed"
        self.finished = True
        self._drop_everything()
        self.outbox.wake()

    def _drop_everything(self) -> None:
        """Close the channels, then delete the queues that nobody else may use."""
        self.house.connections.pop(self, None)
        self._pulse.stop()
        for channel in list(self.channels.values()):
            if not channel.closing:
                channel.close()
        self.channels.clear()
        for queue in list(self.owned):
            queue.host.drop_queue(queue)
        self.owned.clear()

    # -- bytes out

    def take_output(self) -> bytes:
        """What is to be written to the socket now."""
        return self.outbox.take(at_once=self.finished)

    def _resume(self) -> None:
        for channel in list(self.channels.values()):
            channel.resume()

    # -- what channels and the status ask of their connection

    @property
    def counts(self) -> tuple[int, int, int]:
        """Channels, consumers and unacknowledged messages."""
        channels = list(self.channels.values())
        consumers = sum(len(channel.consumers) for channel in channels)
        return len(channels), consumers, sum(len(channel.unacknowledged) for channel in channels)

    def owns(self, queue: Queue) -> None:
        """Remember an exclusive queue."""
        self.owned[queue] = None

    def publishes(self) -> None:
        """Count, and stop reading if memory or disk are short."""
        self.published += 1
        if self.house.alarm and not self.blocked:
            self.blocked = True
            if self.wants_blocked_notices:
                self.outbox.send(method_frame(0, commands.Connection.Blocked(self.house.alarm)))

    def unblock(self) -> None:
        """Memory and disk suffice again."""
        if self.blocked:
            self.blocked = False
            if self.wants_blocked_notices:
                self.outbox.send(method_frame(0, commands.Connection.Unblocked()))


_Handler = Callable[[Connection, Any], None]
_CLOSES: Final[Mapping[type[Frame], _Handler]] = {
    commands.Connection.Close: Connection._client_closes,  # noqa: SLF001 - the table of this very class
    commands.Connection.CloseOk: Connection._close_ok,  # noqa: SLF001 - the same
}
_CONNECTION_METHODS: Final[Mapping[str, Mapping[type[Frame], _Handler]]] = {
    "start": {**_CLOSES, commands.Connection.StartOk: Connection._start_ok},  # noqa: SLF001 - the same
    "tune": {**_CLOSES, commands.Connection.TuneOk: Connection._tune_ok},  # noqa: SLF001 - the same
    "open": {**_CLOSES, commands.Connection.Open: Connection._open},  # noqa: SLF001 - the same
    "running": {**_CLOSES, commands.Connection.UpdateSecret: Connection._update_secret},  # noqa: SLF001 - the same
    "closing": _CLOSES,
    "closed": {},
}
