"""A connection of AMQP 1.0: bytes in, bytes out.

    entrance → opening → running ─┬→ closing → closed
                                  └→ closed
The entrance judges log-ins; behind it Proton's engine keeps the protocol, and its events are answered here. What Proton
has to say is fetched by the outbox at the end of a turn, so that many deliveries and outcomes become few writes.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from pulpit.amqp.amqp10 import events, words
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.links import Ended, Link
from pulpit.amqp.amqp10.words import Condition
from pulpit.broker import refusals
from pulpit.broker.content import Budget
from pulpit.broker.dialect10.departure import Departures
from pulpit.broker.dialect10.entrance import Entrance
from pulpit.broker.dialect10.links import Links
from pulpit.broker.dialect10.refusals import ConnectionRefusal
from pulpit.broker.dialect10.sending import Sending
from pulpit.broker.dialect10.silence import Silence
from pulpit.broker.house import House
from pulpit.broker.logins import Attempt
from pulpit.broker.outbox import Outbox
from pulpit.broker.permissions import GrantedRights, Rights
from pulpit.broker.queue import Queue
from pulpit.broker.virtualhost import VirtualHost

VHOST: Final = "vhost:"
"""In front of a virtual host's name, where a client names one in the hostname that it opens, as in RabbitMQ."""
RABBITMQ: Final = "4.0.0"
"""The RabbitMQ that this dialect is nearest to: clients that decide by `version` take addresses of its form."""
MIN_TICK: Final = 0.25
"""Seconds between two looks at the clock, however little silence a client bears."""
MAX_SESSIONS: Final = 255
"""Sessions of one connection, each of which may hold messages for a peer that opens no window."""
LINK_SHARE: Final = 32
"""One link has leave to send messages of a thirty-second of the memory limit, as far as its messages so far tell."""
CAPABILITIES: Final = ("ANONYMOUS-RELAY",)
_SHUTDOWN: Final = 320
_log = logging.getLogger(__name__)


class Connection:
    """One client. `wake` asks the rim to call `take_output` soon; `finished` tells it to hang up after sending."""

    dialect: Final = "AMQP 1.0"

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
        config = house.config
        self.house: Final = house
        self.address = address
        self.secure = secure
        self.links: Final[Links] = Links(self)
        self.outbox = Outbox(wake=wake, store=house.store, on_writable=self.links.resume, source=self._output)
        self.state = "entrance"
        self.finished = False
        self.peer_closes = False
        self.blocked = False
        self.user = ""
        self.container = ""
        self.client_properties: Mapping[str, Any] = {}
        self.frame_max = config.frame_max
        self.heartbeat = config.heartbeat
        self.host: VirtualHost = house.hosts[config.virtual_hosts[0]]
        self.rights: Rights = GrantedRights(user="", host="", grants=())
        self.replies: Final = house.replies
        self.wants_cancel_notices = False
        self.max_queues: Final = config.max_queues
        self.max_message_size: Final = config.max_message_size
        self.published = 0
        self.delivered = 0
        self.departures: Final = Departures()
        self._sessions = 0
        self.unfinished: Final = Budget(config.max_message_size, house.store.memory)
        self._held = 0
        self._silence: Final = Silence(timers=house.timers, lost=self._silent, excused=lambda: self.blocked)
        self._ticking = False
        self._engine: Engine | None = None
        self._entrance: Final = Entrance(address=address, local=local, certificate_name=certificate_name, ask=self._ask)

    # -- bytes in

    def receive(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        self._silence.heard = True
        if self._engine is not None:
            self._engine.receive(data)
            self._handle_events()
            self.outbox.count(0)
        elif self.state == "entrance":
            self._entrance.receive(data)
            self._look_at_entrance()

    def _ask(self, attempt: Attempt) -> None:
        self.house.logins.ask(attempt, self._logged_in)

    def _logged_in(self, attempt: Attempt, *, welcome: bool) -> None:
        """The door has answered, at once or later."""
        if self.state == "entrance":
            self.user = attempt.user if welcome else ""
            self._entrance.judged(welcome=welcome)
            self._look_at_entrance()

    def _look_at_entrance(self) -> None:
        entrance = self._entrance
        output = entrance.take_output()
        if output:
            self.outbox.send(output)
        if entrance.failed:
            self._finish()
        elif entrance.rest is not None and self._engine is None:
            self._enter(entrance.rest)

    def _enter(self, rest: bytes) -> None:
        """Begin with the protocol itself."""
        config, properties = self.house.config, self.house.server_properties
        self._engine = Engine(
            Setup(
                container=str(properties["cluster_name"]),
                properties={name: properties[name] for name in ("product", "platform")} | {"version": RABBITMQ},
                capabilities=CAPABILITIES,
                idle_timeout=config.heartbeat,
                largest_frame=config.frame_max,
                largest_message=config.max_message_size,
                most_sessions=min(config.channel_max or MAX_SESSIONS, MAX_SESSIONS),
            ),
            server=True,
        )
        self.state = "opening"
        self.receive(rest)

    # -- what the engine tells

    def _handle_events(self) -> None:
        engine = self._engine
        assert engine is not None  # noqa: S101 - only called where there is one
        for event in engine.events():
            try:
                _EVENTS[type(event)](self, event)
            except ConnectionRefusal as refusal:
                self._close(refusal.condition)
            except Ended:
                continue  # the link or the session ended within the same turn
            except Exception:  # noqa: BLE001 - a mistake of ours may end one connection, not the broker
                _log.exception("An event could not be handled", extra={"action": "broker_frame_failed"})
                self._close(Condition(words.INTERNAL_ERROR, "the broker made a mistake, see its log"))
        self._count_unfinished(engine)
        self.links.resume_stalled()

    def _count_unfinished(self, engine: Engine) -> None:
        """Charge for what has come of messages that are not whole."""
        held = 0 if self.state == "closed" else engine.unfinished
        if held != self._held:
            change, self._held = held - self._held, held
            try:
                self.unfinished.take(change) if change > 0 else self.unfinished.give(-change)
            except refusals.Refusal as refusal:
                self._close(Condition(words.RESOURCE_LIMIT, refusal.text))

    def _opened(self, event: events.Opened) -> None:
        engine = self._engine
        assert engine is not None  # noqa: S101 - it told this
        self.container = event.container
        self.client_properties = event.properties
        name = self.house.config.virtual_hosts[0]
        if event.hostname.startswith(VHOST):
            name = event.hostname.removeprefix(VHOST)
        engine.open()
        host = self.house.hosts.get(name)
        rights = None if host is None else self.house.logins.rights(self.user, name)
        if host is None:
            raise ConnectionRefusal(words.NOT_FOUND, f"vhost {name} not found")
        if rights is None:
            raise ConnectionRefusal(words.UNAUTHORIZED, f"access to vhost '{name}' refused for user '{self.user}'")
        self.host, self.rights = host, rights
        self.state = "running"
        self.house.connections[self] = None
        self._silence.start(self.heartbeat)

    def _closed(self, _event: events.Closed) -> None:
        self.peer_closes = self.state != "closing"
        self._finish()

    def _broken(self, event: events.Broken) -> None:
        _log.info("A client broke the protocol: %s", event.condition, extra={"action": "broker_protocol_broken"})
        self._finish()

    def _session_begun(self, _event: events.SessionBegun) -> None:
        self._sessions += 1

    def _session_ended(self, event: events.SessionEnded) -> None:
        self._sessions -= 1
        self.links.session_ended(event.session)

    def _nothing(self, _event: events.CreditReturned) -> None:
        """Credit is never asked back here."""

    # -- ends

    def _close(self, condition: Condition) -> None:
        """Close with a reason, and wait for the peer to do the same."""
        if self._engine is None or self.state in ("closing", "closed"):
            self.abort()
            return
        self._drop_everything()
        self._engine.open()
        self._engine.close(condition)
        self.state = "closing"
        self.outbox.count(0)
        self.house.timers.after(self.house.config.handshake_timeout, self.abort)

    def shut(self, code: int, text: str) -> None:
        """Close from the broker's side, in words."""
        if self.state in ("opening", "running"):
            self._close(Condition(words.FORCED if code == _SHUTDOWN else words.NOT_ALLOWED, text))
        else:
            self.abort()

    def abort(self) -> None:
        """Hang up without words."""
        if self.state != "closed":
            self._finish()

    def _silent(self) -> None:
        _log.info("A client was silent for too long", extra={"action": "broker_client_silent"})
        self._close(Condition(words.RESOURCE_LIMIT, "the client was silent for too long"))
        self.abort()

    def lost(self) -> None:
        """The socket is gone."""
        self.state = "closed"
        self._drop_everything()
        if self._engine is not None:
            self._engine.free()

    def _finish(self) -> None:
        self.state = "closed"
        self.finished = True
        self._drop_everything()
        self.outbox.wake()

    def _drop_everything(self) -> None:
        """Leave the queues, and give back what is held."""
        self.house.connections.pop(self, None)
        self._silence.stop()
        self.unfinished.give(self._held)
        self._held = 0
        self.links.drop()

    # -- bytes out

    def take_output(self) -> bytes:
        """What is to be written to the socket now."""
        output = self.outbox.take(at_once=self.finished)
        if self.finished and self._engine is not None:
            self._engine.free()
        return output

    def _output(self) -> bytes:
        engine = self._engine
        if engine is None:
            return b""
        self.departures.forget()
        output = engine.take_output()
        if engine.has_events:
            self._handle_events()
            self.outbox.count(0)
        if self.state == "running":
            if not self._ticking:
                self._ticking = True
                engine.excuse_silence()  # it was told to the peer; whether it is kept is judged by `Silence`
                self._tick()
            self.links.resume_stalled()
        return output

    def _tick(self) -> None:
        """Let Proton speak when there was nothing to say for too long."""
        if self.state != "running" or self._engine is None:
            return
        due = self._engine.tick(self.house.timers.now() / 1000)
        self.outbox.count(0)
        if due is not None:
            self.house.timers.after(max(MIN_TICK, due - self.house.timers.now() / 1000), self._tick)

    # -- what links ask of their connection

    @property
    def counts(self) -> tuple[int, int, int]:
        """Sessions, consumers and unacknowledged messages."""
        consumers, unacknowledged = self.links.counts
        return self._sessions, consumers, unacknowledged

    @property
    def is_running(self) -> bool:
        """Whether links may be attached."""
        return self.state == "running"

    def detach(self, link: Link, condition: Condition) -> None:
        """End a link from the broker's side."""
        self.links.detach(link, condition)
        self.outbox.count(0)

    def stalled(self, sending: Sending) -> None:
        """Remember a link that its peer holds up."""
        self.links.stall(sending)

    def owns(self, queue: Queue) -> None:
        """Remember an exclusive queue."""
        self.links.owns(queue)

    def hold(self) -> None:
        """Answer nothing more until everything so far is on the disk."""
        self.outbox.hold()

    @property
    def alarmed(self) -> bool:
        """Whether publishers must wait."""
        return bool(self.house.alarm)

    @property
    def link_share(self) -> int:
        """Bytes that the messages may have that one link may send without knowing what became of them."""
        return self.house.store.memory.limit // LINK_SHARE

    def publishes(self) -> None:
        """Count, and stop reading if memory is long gone; until then it is enough that no more credit is given.

        A client may publish and consume on one connection, and what it acknowledges makes room.
        """
        self.published += 1
        if self.house.alarm and self.house.store.memory.is_overrun:
            self.blocked = True

    def unblock(self) -> None:
        """Memory and disk suffice again."""
        self.blocked = False
        self.links.grant()
        self.outbox.count(0)


_EVENTS: Final[Mapping[type[events.Event], Callable[[Connection, Any], None]]] = {
    events.Opened: Connection._opened,  # noqa: SLF001 - the table of this very class
    events.Closed: Connection._closed,  # noqa: SLF001 - the same
    events.Broken: Connection._broken,  # noqa: SLF001 - the same
    events.SessionBegun: Connection._session_begun,  # noqa: SLF001 - the same
    events.SessionEnded: Connection._session_ended,  # noqa: SLF001 - the same
    events.Attached: lambda connection, event: connection.links.attached(event),
    events.Detached: lambda connection, event: connection.links.detached(event),
    events.CreditChanged: lambda connection, event: connection.links.credit_changed(event),
    events.CreditReturned: Connection._nothing,  # noqa: SLF001 - the same
    events.Arrived: lambda connection, event: connection.links.arrived(event),
    events.Decided: lambda connection, event: connection.links.decided(event),
}
