"""A connection: bytes in, bytes out, and the state that all connections of a broker share.

    HEADER → START → TUNE → OPEN → RUNNING ─┬→ CLOSING → CLOSED
                                            └→ CLOSED

Output is collected in the outbox until the socket takes it at the end of a turn, so that many frames become one write.
"""

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pulpit.broker import connection_methods as own
from pulpit.broker import handshake
from pulpit.broker.channel import Channel, ConnectionContext
from pulpit.broker.config import BrokerConfig
from pulpit.broker.connection_methods import LEGAL, State
from pulpit.broker.frames import FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, FrameReader
from pulpit.broker.handlers import HANDLERS
from pulpit.broker.handlers.basic import fast_ack
from pulpit.broker.heartbeat import Heartbeat
from pulpit.broker.method_codec import Arguments, Method, head, method_frame, method_ids, read_method
from pulpit.broker.methods import BasicAck, ChannelClose, ChannelCloseOk, ChannelOpen, ChannelOpenOk
from pulpit.broker.outbox import Outbox
from pulpit.broker.permissions import GrantedRights
from pulpit.broker.publishing import PUBLISH, Budget, DirectReplies
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
from pulpit.broker.resources import Timers
from pulpit.broker.sasl import EXTERNAL, MECHANISMS, Attempt, Authenticator
from pulpit.broker.store import Store
from pulpit.broker.virtualhost import VirtualHost

_RUNNING: Final = State.RUNNING
_CLOSED: Final = State.CLOSED
"""For the check of every frame: in Python 3.11 looking up an enum member is slower than a global name."""

UNEXPECTED_FRAME: Final = 505
FRAMES_BETWEEN_LOOKS: Final = 12
"""Frames that are handled between two checks whether the turn is over."""
_CONTENT: Final = (FRAME_HEADER, FRAME_BODY)
_CONNECTION_CLOSE: Final = head(own.ConnectionClose)
_CONNECTION_CLOSE_OK: Final = head(own.ConnectionCloseOk)
_CHANNEL_CLOSE: Final = head(ChannelClose)
_CHANNEL_CLOSE_OK: Final = head(ChannelCloseOk)
_ACK: Final = head(BasicAck)
_ACK_SIZE: Final = len(_ACK) + struct.calcsize(">Q?")
_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class BrokerState:
    """The state that all connections of one broker share."""

    config: BrokerConfig
    store: Store
    timers: Timers
    authenticator: Authenticator
    server_properties: Arguments
    """What clients are told about the broker."""
    replies: DirectReplies = field(default_factory=DirectReplies)
    hosts: dict[str, VirtualHost] = field(init=False)
    connections: "dict[Connection, None]" = field(default_factory=dict)
    """The open ones, in order."""
    finisher: "Connection | None" = None
    """May complete its message while memory is short, so that they do not all wait for each other."""
    alarm: str = ""
    """Why publishers are blocked, if they are."""

    def __post_init__(self) -> None:
        names = self.config.virtual_hosts
        self.hosts = {name: VirtualHost(name=name, store=self.store, timers=self.timers) for name in names}


class Connection:
    """One client. `wake` asks the socket to call `take_output` soon; `finished` tells it to close after sending.

    `turn_over` says when to stop handling frames for a while; the rest is handled by `receive(b"")`. `peer_closes` says
    that the peer has sent its close and will disconnect itself, `blocked` that reading is paused for lack of resources.
    """

    def __init__(
        self,
        state: BrokerState,
        *,
        wake: Callable[[], None],
        address: str,
        local: bool,
        certificate_name: str | None = None,
        secure: bool = False,
        turn_over: Callable[[], bool] = lambda: False,
    ) -> None:
        config = state.config
        self.broker: Final = state
        self.address: Final = address
        self.secure: Final = secure
        self.outbox: Final = Outbox(wake=wake, store=state.store, on_writable=self._resume)
        self.session: Final = ConnectionContext(
            host=state.hosts[config.virtual_hosts[0]],
            outbox=self.outbox,
            replies=state.replies,
            unfinished=Budget(config.max_message_size, state.store.memory),
            max_message_size=config.max_message_size,
            max_queues=config.max_queues,
            frame_max=config.frame_max,
            channel_max=config.channel_max,
            rights=GrantedRights(user="", host="", grants=()),
        )
        self.state = State.HEADER
        self.finished = False
        self.peer_closes = False
        self.channels: dict[int, Channel] = {}
        self.blocked = False
        self.waiting_for_login = False
        self._local: Final = local
        self._certificate_name: Final = certificate_name
        self._turn_over: Final = turn_over
        self._speaks_08 = False
        self._greeting = b""  # bytes before the first frame, or during a login
        self._frames: Final = FrameReader(handshake.FRAME_MAX)
        self._heartbeat: Final = Heartbeat(
            timers=state.timers, outbox=self.outbox, lost=self._silent, excused=lambda: self.blocked
        )

    # -- bytes in

    def receive(self, data: bytes) -> None:
        if data:
            self._heartbeat.heard = True
        if self.state is State.HEADER:
            data = self._read_header(self._greeting + data)
        if self.state is State.HEADER or self.waiting_for_login:
            self._greeting = data if self.state is State.HEADER else self._greeting + data
            if len(self._greeting) > handshake.FRAME_MAX:
                self.abort()
            return
        self.session.publishing = False
        try:
            for count, (kind, number, payload) in enumerate(self._frames.feed(data), 1):
                self._guard(
                    kind, number, handshake.from_08(payload) if self._speaks_08 and kind == FRAME_METHOD else payload
                )
                if self.state is _CLOSED or self.waiting_for_login:
                    break
                if not count % FRAMES_BETWEEN_LOOKS and self._turn_over():
                    break
        except Refusal as refusal:
            self._fail(refusal, 0, b"")
        if self.broker.alarm and not self.blocked:
            self._consider_blocking()

    @property
    def has_more(self) -> bool:
        """Whether frames are pending that `receive` left when the turn was over."""
        return self.state is not State.CLOSED and not self.waiting_for_login and self._frames.has_frame

    def _read_header(self, data: bytes) -> bytes:
        """Check the protocol header; answer anything else with ours, and close."""
        length = len(handshake.PROTOCOL_HEADER)
        if len(data) < length and b"AMQP".startswith(data[:4]):
            return data
        if not handshake.is_spoken(data, self.address):
            self.outbox.send(handshake.PROTOCOL_HEADER)
            self._finish()
            return b""
        self.state = State.START
        self._greeting = b""
        self._speaks_08 = data.startswith(handshake.SPOKEN_08)
        mechanisms = [*MECHANISMS, *([EXTERNAL] if self._certificate_name else [])]
        self._send(handshake.start(self.broker.server_properties, mechanisms, speaks_08=self._speaks_08))
        return data[length:]

    def _guard(self, kind: int, number: int, payload: bytes) -> None:
        """Handle one frame, and convert errors to a close method."""
        try:
            self._handle(kind, number, payload)
        except Refusal as refusal:
            self._fail(refusal, number, self._cause(kind, number, payload, refusal))
        except Exception:  # noqa: BLE001 - a bug may end one connection, not the broker
            _log.exception("A frame could not be handled", extra={"action": "broker_frame_failed"})
            self._fail(ConnectionRefusal(541, "the broker made a mistake, see its log"), number, payload)

    def _cause(self, kind: int, number: int, payload: bytes, refusal: Refusal) -> bytes:
        """Return the method that caused an error: the frame's own, or the publish whose content it was, or none."""
        channel = self.channels.get(number)
        in_content = channel is not None and channel.content.publish is not None
        if kind == FRAME_METHOD:
            return PUBLISH if in_content and refusal.code == UNEXPECTED_FRAME else payload
        return PUBLISH if in_content or (kind in _CONTENT and refusal.code != UNEXPECTED_FRAME) else b""

    def _handle(self, kind: int, number: int, payload: bytes) -> None:
        channel = self.channels.get(number)
        if channel is not None and not channel.closing and self.state is _RUNNING:
            if kind == FRAME_METHOD:
                start = payload[:4]
                if start == PUBLISH:
                    content = self._frames.take_content(number)
                    if content is None:
                        channel.content.begin(payload)
                    else:
                        channel.take_message(payload, *content)
                    return
                if start == _ACK and len(payload) == _ACK_SIZE and channel.content.publish is None:
                    fast_ack(channel, payload)
                    return
            elif kind == FRAME_BODY:
                channel.take_body(payload)
                return
            elif kind == FRAME_HEADER:
                channel.take_header(payload)
                return
        self._handle_other(kind, number, payload)

    def _handle_other(self, kind: int, number: int, payload: bytes) -> None:
        if kind == FRAME_HEARTBEAT:
            if number:
                raise unexpected_frame("a heartbeat on a channel")
            if payload:
                raise frame_error("a heartbeat with a payload")
        elif kind == FRAME_METHOD:
            if self.state is State.CLOSING:
                if payload[:4] in (_CONNECTION_CLOSE, _CONNECTION_CLOSE_OK):
                    self._handle_connection_method(read_method(payload))
            elif number in self.channels and self.channels[number].closing:
                self._handle_closing(number, payload)
            else:
                self._handle_method(number, read_method(payload))
        elif kind not in _CONTENT:
            raise frame_error(f"unknown frame type {kind}")
        elif self.state not in (State.CLOSING, State.CLOSED) and number not in self.channels:
            raise unexpected_frame("expected method frame, got non method frame instead")

    def _handle_closing(self, number: int, payload: bytes) -> None:
        """After channel.close was sent, accept only close-ok, or the client's own close, which crossed it."""
        if payload[:4] == _CHANNEL_CLOSE_OK:
            del self.channels[number]
        elif payload[:4] == _CHANNEL_CLOSE:
            self._send(ChannelCloseOk(), number)

    def _handle_method(self, number: int, method: Method) -> None:
        if number == 0:
            self._handle_connection_method(method)
        elif self.state is not State.RUNNING:
            raise command_invalid(f"{method.title} before the connection is open")
        else:
            self._handle_channel_method(number, method)

    def _handle_channel_method(self, number: int, method: Method) -> None:
        channel = self.channels.get(number)
        if isinstance(method, ChannelOpen):
            self._open_channel(number, channel)
        elif channel is None:
            if not isinstance(method, ChannelCloseOk):
                raise channel_error("expected 'channel.open'")
        elif isinstance(method, ChannelClose):
            channel.close()
            del self.channels[number]
            self._send(ChannelCloseOk(), number)
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
        limit = self.session.channel_max
        if limit and len(self.channels) >= limit:
            raise not_allowed(
                f"number of channels opened ({len(self.channels)}) has reached the negotiated channel_max ({limit})"
            )
        self.channels[number] = Channel(number, self.session)
        self._send(ChannelOpenOk(b""), number)

    # -- the connection's own methods

    def _handle_connection_method(self, method: Method) -> None:
        if type(method) not in LEGAL[self.state]:
            raise channel_error(f"unexpected method in connection state {self.state.value}")
        match method:
            case own.ConnectionStartOk():
                self._start_ok(method)
            case own.ConnectionTuneOk():
                self._tune_ok(method)
            case own.ConnectionOpen():
                self._open(method)
            case own.ConnectionUpdateSecret():  # passwords do not expire here, so a new one changes nothing
                self._send(own.ConnectionUpdateSecretOk())
            case own.ConnectionClose():
                self._drop_everything()
                self._send(own.ConnectionCloseOk())
                self.peer_closes = True
                self._finish()
            case own.ConnectionCloseOk():
                self._finish()

    def _start_ok(self, method: own.ConnectionStartOk) -> None:
        session, properties = self.session, method.client_properties
        session.client_properties = properties
        session.wants_cancel_notices = handshake.has_capability(properties, "consumer_cancel_notify")
        session.wants_blocked_notices = handshake.has_capability(properties, "connection.blocked")
        if method.mechanism == EXTERNAL and self._certificate_name:
            user, password = self._certificate_name, None
        elif method.mechanism in MECHANISMS:
            user, password = MECHANISMS[method.mechanism](method.response)
        else:
            raise command_invalid(f"unknown authentication mechanism '{method.mechanism}'")
        self.waiting_for_login = True
        attempt = Attempt(
            mechanism=method.mechanism, user=user, password=password, address=self.address, local=self._local
        )
        self.broker.authenticator.authenticate(attempt, self._judged)

    def _judged(self, attempt: Attempt, accepted: bool) -> None:
        self.waiting_for_login = False
        if self.state is State.CLOSED:
            return
        if accepted:
            self.session.user = attempt.user
            self.state = State.TUNE
            config = self.broker.config
            self._send(own.ConnectionTune(config.channel_max, config.frame_max, config.heartbeat))
            rest, self._greeting = self._greeting, b""
            if rest:
                self.receive(rest)
            return
        if handshake.has_capability(self.session.client_properties, "authentication_failure_close"):
            reason = (
                f"Login was refused using authentication mechanism {attempt.mechanism}."
                " For details see the broker logfile."
            )
            self._fail(ConnectionRefusal(403, reason), 0, b"")
        else:
            self._finish()

    def _tune_ok(self, method: own.ConnectionTuneOk) -> None:
        config, session = self.broker.config, self.session
        session.channel_max = handshake.negotiated("channel_max", 1, config.channel_max, method.channel_max)
        session.frame_max = handshake.negotiated("frame_max", handshake.FRAME_MIN, config.frame_max, method.frame_max)
        session.heartbeat = method.heartbeat
        self._frames.limit = session.frame_max
        self.state = State.OPEN
        self._heartbeat.start(method.heartbeat)

    def _open(self, method: own.ConnectionOpen) -> None:
        name, session = method.virtual_host, self.session
        host = self.broker.hosts.get(name)
        if host is None:
            raise not_allowed(f"vhost {name} not found")
        rights = self.broker.authenticator.rights(session.user, name)
        if rights is None:
            raise not_allowed(f"access to vhost '{name}' refused for user '{session.user}'")
        session.host, session.rights = host, rights
        self.state = State.RUNNING
        self.broker.connections[self] = None
        self._send(own.ConnectionOpenOk(""))

    # -- ends

    def _fail(self, refusal: Refusal, number: int, payload: bytes) -> None:
        """Close the channel or the connection with the reason and the method that caused it."""
        class_id, method_id = method_ids(payload)
        channel = self.channels.get(number)
        if isinstance(refusal, ChannelRefusal) and channel is not None:
            self._send(ChannelClose(refusal.code, refusal.text, class_id, method_id), number)
            channel.close()
            return
        if self.state in (State.HEADER, State.CLOSING, State.CLOSED):
            self._finish()
            return
        self._drop_everything()
        self._send(own.ConnectionClose(refusal.code, refusal.text, class_id, method_id))
        self.state = State.CLOSING
        self.broker.timers.after(self.broker.config.handshake_timeout, self.abort)

    def shut(self, code: int, text: str) -> None:
        """Close from the broker's side with a reason."""
        if self.state in (State.START, State.TUNE, State.OPEN, State.RUNNING):
            self._fail(ConnectionRefusal(code, text), 0, b"")
        elif self.state is State.HEADER:
            self._finish()

    def abort(self) -> None:
        """Disconnect without a close method."""
        if self.state is not State.CLOSED:
            self._finish()

    def _silent(self) -> None:
        _log.info("A client was silent for too long", extra={"action": "broker_client_silent"})
        self.abort()

    def lost(self) -> None:
        self.state = State.CLOSED
        self._drop_everything()

    def _finish(self) -> None:
        self.state = State.CLOSED
        self.finished = True
        self._drop_everything()
        self.outbox.wake()

    def _drop_everything(self) -> None:
        """Close the channels, then delete exclusive queues."""
        self.broker.connections.pop(self, None)
        self._heartbeat.stop()
        for channel in list(self.channels.values()):
            if not channel.closing:
                channel.close()
        self.channels.clear()
        for queue in list(self.session.owned):
            queue.drop(queue)
        self.session.owned.clear()
        if self.broker.finisher is self:
            self.broker.finisher = None

    # -- bytes out

    def _send(self, method: Method, channel: int = 0) -> None:
        encode = handshake.method_frame_08 if self._speaks_08 else method_frame
        self.outbox.send(encode(channel, method))

    def take_output(self) -> bytes:
        """Return the bytes to write to the socket now."""
        return self.outbox.take(at_once=self.finished)

    def _resume(self) -> None:
        """Deliver again, to all channels in turn, so that no channel waits for another one's backlog."""
        channels = [channel for channel in self.channels.values() if channel.consumers]
        if len(channels) == 1:
            channels[0].resume()
            return
        while channels and self.outbox.writable:
            channels = [channel for channel in channels if channel.deliver_next()]

    # -- memory and disk

    def _consider_blocking(self) -> None:
        """Stop reading while resources are short, from connections that publish or have large incomplete messages.

        One at a time may complete its message: otherwise its memory would never be released for the others.
        """
        session, broker = self.session, self.broker
        if broker.finisher is self and not session.unfinished.is_used:
            broker.finisher = None
        if session.unfinished.is_used and not session.publishing and broker.finisher in (None, self):
            broker.finisher = self
            return
        if session.publishing or session.unfinished.is_used:
            self.blocked = True
            if session.wants_blocked_notices:
                self._send(own.ConnectionBlocked(broker.alarm))

    def unblock(self) -> None:
        """Resume after an alarm."""
        if self.blocked:
            self.blocked = False
            if self.session.wants_blocked_notices:
                self._send(own.ConnectionUnblocked())
