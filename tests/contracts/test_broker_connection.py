"""Connecting: header, login, tuning, virtual host, channels, heartbeats and the end."""

import contextlib
import struct

import pytest
from pamqp import body, commands, frame, header, heartbeat

from support.amqp import HELLO, Closed, Gone, Wire, refused


def test_the_server_says_what_it_can(port: int) -> None:
    with Wire(port) as wire:
        assert (wire.start.version_major, wire.start.version_minor) == (0, 9)
        assert {"PLAIN", "AMQPLAIN"} <= set(wire.start.mechanisms.split())
        assert "en_US" in wire.start.locales
        capabilities = wire.start.server_properties["capabilities"]
        assert isinstance(capabilities, dict)
        for name in ("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify"):
            assert capabilities[name] is True
        for name in ("connection.blocked", "consumer_priorities", "per_consumer_qos", "direct_reply_to"):
            assert capabilities[name] is True
        assert (wire.tune.channel_max, wire.tune.frame_max, wire.tune.heartbeat) == (2047, 131072, 60)


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(b"AMQP\x02\x01\x00\x00", marks=pytest.mark.rabbitmq_4_differs("offers 1.0 with SASL then")),
        b"AMQP\x00\x00\x0a\x00",
        b"AMQP\x00\x00\x09\x02",
    ],
)
def test_another_protocol_is_told_which_one_is_spoken(port: int, hello: bytes) -> None:
    with Wire(port, opened=False) as wire:
        wire.raw(hello)
        assert wire.socket.recv(100) == HELLO
        with contextlib.suppress(ConnectionResetError):
            assert wire.socket.recv(100) == b""


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(b"AMQP\x01\x01\x08\x00", marks=pytest.mark.rabbitmq_4_differs("no longer speaks 0-8")),
        b"AMQP\x01\x01\x00\x09",
    ],
)
def test_the_headers_of_the_versions_before_are_understood(port: int, hello: bytes) -> None:
    with Wire(port, opened=False) as wire:
        wire.raw(hello)
        wire.expect(commands.Connection.Start)


def _frame_08(channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


@pytest.mark.rabbitmq_4_differs("no longer speaks 0-8")
@pytest.mark.parametrize("hello", [b"AMQP\x01\x01\x08\x00", b"AMQP\x01\x01\x09\x01"])
@pytest.mark.parametrize("refused", [False, True])
def test_a_client_of_0_8_is_served_in_its_own_numbers(port: int, hello: bytes, refused: bool) -> None:
    """Python's amqplib and Mono's client need it: they check the version, and read no booleans in tables."""
    with Wire(port, opened=False) as wire:
        wire.raw(hello)
        start = wire.expect(commands.Connection.Start)
        assert (start.version_major, start.version_minor, start.server_properties["capabilities"]) == (8, 0, {})
        wire.send(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest"), 0)
        tune = wire.expect(commands.Connection.Tune)
        wire.send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        wire.send(commands.Connection.Open("/"), 0)
        wire.expect(commands.Connection.OpenOk)
        wire.send(commands.Channel.Open(), 1)
        opened = _frame_08(1, b"\0\x14\0\x0b")
        assert wire.exactly(len(opened)) == opened
        queue = wire.queue(exclusive=True)
        wire.publish(b"hello", queue)
        wire.raw(_frame_08(1, b"\0\x3c\0\x14\0\0" + bytes((len(queue),)) + queue.encode() + b"\0\0"))
        wire.expect(commands.Basic.ConsumeOk)
        assert wire.content().body == b"hello"
        if refused:
            wire.send(commands.Exchange.Declare(0, "x", "nonsense"))
            close = wire.exactly(11)
            assert (close[:3], close[7:]) == (b"\x01\0\0", b"\0\x0a\0\x3c")
        else:
            wire.raw(_frame_08(0, b"\0\x0a\0\x3c\0\xc8\0\0\0\0\0"))
            closed = _frame_08(0, b"\0\x0a\0\x3d")
            assert wire.exactly(len(closed)) == closed


def test_amqplain_logs_in(port: int) -> None:
    with Wire(port, opened=False) as wire:
        wire.raw(HELLO)
        wire.expect(commands.Connection.Start)
        secret = b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest".decode("latin-1")
        wire.send(commands.Connection.StartOk({}, "AMQPLAIN", secret), 0)
        wire.expect(commands.Connection.Tune)


def test_a_wrong_password_is_refused_with_a_reason(port: int) -> None:
    with refused(
        403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN", hard=True, cause=(0, 0)
    ):
        Wire(port, password="wrong")


def test_a_wrong_password_is_refused_in_silence_where_the_client_wants_no_reason(port: int) -> None:
    with pytest.raises(Gone):
        Wire(port, password="wrong", capabilities={})


def test_an_unknown_mechanism_is_refused(port: int) -> None:
    with Wire(port, opened=False) as wire:
        wire.raw(HELLO)
        wire.expect(commands.Connection.Start)
        wire.send(commands.Connection.StartOk({}, "SCRAM", "x"), 0)
        with pytest.raises((Closed, Gone)):
            wire.expect(commands.Connection.Tune)


def test_an_unknown_virtual_host_is_refused(port: int) -> None:
    with refused(530, "NOT_ALLOWED - vhost nowhere not found", hard=True, cause=(10, 40)):
        Wire(port, vhost="nowhere")


@pytest.mark.parametrize(
    "settings", [{"frame_max": 1024}, {"frame_max": 200_000}, {"channel_max": 3000}, {"channel_max": 0}]
)
def test_tuning_beyond_the_limits_is_refused(port: int, settings: dict[str, int]) -> None:
    with pytest.raises((Closed, Gone)):
        Wire(port, **settings)  # type: ignore[arg-type]


def test_channels_beyond_the_negotiated_number_are_refused(port: int) -> None:
    with Wire(port, channel_max=2) as wire:
        wire.open(2)
        with refused(530, "number of channels opened (2) has reached the negotiated channel_max (2)", hard=True):
            wire.open(3)


def test_a_smaller_frame_max_is_honoured(port: int) -> None:
    with Wire(port, frame_max=4096) as wire:
        queue = wire.queue()
        wire.publish(b"x" * 10_000, queue)
        wire.send(commands.Basic.Get(0, queue, True))
        wire.expect(commands.Basic.GetOk)
        wire.read()
        sizes: list[int] = []
        while sum(sizes) < 10_000:
            sizes.append(len(wire.read()[1].value))
        assert max(sizes) == 4096 - 8


def test_a_longer_frame_than_negotiated_is_refused(port: int) -> None:
    with Wire(port, frame_max=4096) as wire:
        wire.raw(struct.pack(">BHI", 3, 1, 5000) + b"x" * 5000 + b"\xce")
        with refused(501, "FRAME_ERROR", hard=True):
            wire.expect(commands.Basic.GetOk)


def test_a_frame_without_its_end_is_refused(port: int) -> None:
    with Wire(port) as wire:
        wire.raw(frame.marshal(commands.Basic.Qos(), 1)[:-1] + b"\x00")
        with refused(501, "FRAME_ERROR", hard=True):
            wire.expect(commands.Basic.QosOk)


def test_a_method_on_a_closed_channel_is_refused(port: int) -> None:
    with Wire(port, channel=False) as wire, refused(504, "CHANNEL_ERROR - expected 'channel.open'", hard=True):
        wire.call(commands.Basic.Qos(), 5)


def test_a_channel_cannot_be_opened_twice(port: int) -> None:
    with Wire(port) as wire, refused(504, "CHANNEL_ERROR - second 'channel.open' seen", hard=True, cause=(20, 10)):
        wire.open(1)


def test_a_channel_can_be_opened_again_after_it_was_closed(port: int) -> None:
    with Wire(port) as wire:
        wire.call(commands.Channel.Close(200, "", 0, 0), answer=commands.Channel.CloseOk)
        wire.open(1)
        assert wire.queue()


def test_a_channel_closed_by_the_broker_can_be_used_again(port: int) -> None:
    with Wire(port) as wire:
        with refused(404, cause=(50, 10)):
            wire.declare("nowhere", passive=True)
        wire.send(commands.Channel.CloseOk())
        wire.open(1)
        assert wire.queue()


def test_what_is_sent_on_a_dying_channel_is_ignored(port: int) -> None:
    with Wire(port) as wire:
        wire.send(commands.Queue.Declare(0, "nowhere", passive=True))
        wire.publish(b"ignored", "anywhere", channel=1)
        wire.send(commands.Queue.Declare(0, "nowhere", passive=True))
        with refused(404):
            wire.expect(commands.Queue.DeclareOk)
        assert wire.silent()
        wire.send(commands.Channel.CloseOk())
        wire.open(1)


def test_a_method_that_only_servers_send_is_refused(port: int) -> None:
    with Wire(port) as wire, pytest.raises(Closed) as closed:
        wire.call(commands.Queue.DeclareOk("x", 0, 0))
    assert closed.value.hard


def test_a_client_of_amqp_0_8_is_given_its_ticket(port: int) -> None:
    """access.request, which py-amqplib and others of that time send first."""
    realm = b"\x05/data" + b"\x1f"
    request = struct.pack(">BHIHH", 1, 1, 4 + len(realm), 30, 10) + realm + b"\xce"
    with Wire(port) as wire:
        wire.raw(request)
        reply = wire.exactly(14)
        assert reply == struct.pack(">BHIHHH", 1, 1, 6, 30, 11, 1) + b"\xce"
        assert wire.queue()


def test_an_unknown_method_ends_the_connection(port: int) -> None:
    with Wire(port) as wire:
        wire.raw(struct.pack(">BHIHH", 1, 1, 4, 60, 999) + b"\xce")
        with pytest.raises((Closed, Gone)):
            wire.expect(commands.Basic.QosOk)


def test_the_broker_answers_close(port: int) -> None:
    with Wire(port) as wire:
        wire.call(commands.Connection.Close(200, "bye", 0, 0), 0, answer=commands.Connection.CloseOk)


def test_the_broker_sends_heartbeats(port: int) -> None:
    with Wire(port, heartbeat=1) as wire:
        for _ in range(3):
            assert isinstance(wire.read(3)[1], heartbeat.Heartbeat)
            wire.raw(frame.marshal(heartbeat.Heartbeat(), 0))


def test_a_client_that_falls_silent_is_hung_up_on(port: int) -> None:
    with Wire(port, heartbeat=1) as wire, pytest.raises(Gone):
        while True:
            wire.read(6)


def test_update_secret_is_answered(port: int) -> None:
    with Wire(port) as wire:
        wire.call(commands.Connection.UpdateSecret("new", "because"), 0, answer=commands.Connection.UpdateSecretOk)


def test_channel_flow_can_be_switched_on_but_not_off(port: int) -> None:
    with Wire(port) as wire:
        assert wire.call(commands.Channel.Flow(True), answer=commands.Channel.FlowOk).active is True
        with refused(540, "NOT_IMPLEMENTED - active=false", hard=True, cause=(20, 20)):
            wire.call(commands.Channel.Flow(False))


METHOD = frame.marshal(commands.Basic.Qos(), 1)
PUBLISH = frame.marshal(commands.Basic.Publish(0, "", "k"), 1)
HEADER = frame.marshal(header.ContentHeader(0, 3, commands.Basic.Properties()), 1)
BODY = frame.marshal(body.ContentBody(b"abc"), 1)


@pytest.mark.parametrize(
    ("frames", "text", "cause"),
    [
        (HEADER, "expected method frame, got non method frame instead", (0, 0)),
        (BODY, "expected method frame, got non method frame instead", (0, 0)),
        (PUBLISH + BODY, "expected content header for class 60, got non content header frame instead", (60, 40)),
        (PUBLISH + METHOD, "expected content header for class 60, got non content header frame instead", (60, 40)),
        (PUBLISH + PUBLISH, "expected content header for class 60, got non content header frame instead", (60, 40)),
        (PUBLISH + HEADER + METHOD, "expected content body, got non content body frame instead", (60, 40)),
        (PUBLISH + HEADER + HEADER, "expected content body, got non content body frame instead", (60, 40)),
    ],
)
def test_frames_out_of_order_are_refused(port: int, frames: bytes, text: str, cause: tuple[int, int]) -> None:
    with Wire(port) as wire:
        wire.raw(frames)
        with refused(505, f"UNEXPECTED_FRAME - {text}", hard=True, cause=cause):
            wire.expect(commands.Basic.QosOk)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (struct.pack(">BHI4s", 77, 1, 4, b"abcd") + b"\xce", 501),
        (struct.pack(">BHI", 8, 1, 0) + b"\xce", 505),
        (struct.pack(">BHI3s", 8, 0, 3, b"abc") + b"\xce", 501),
        (struct.pack(">BHIB", 1, 1, 1, 60) + b"\xce", 501),
        (struct.pack(">BHIHHB", 1, 1, 5, 60, 10, 5) + b"\xce", 501),
        (struct.pack(">BHIHHHB", 1, 1, 14, 50, 10, 0, 2) + b"\xff\xfe\x02\0\0\0\0\xce", 501),
        (PUBLISH + struct.pack(">BHIHHQH", 2, 1, 14, 61, 0, 3, 0) + b"\xce", 505),
    ],
)
def test_frames_that_cannot_be_are_refused(port: int, data: bytes, code: int) -> None:
    with Wire(port) as wire:
        wire.raw(data)
        with refused(code, hard=True):
            wire.expect(commands.Basic.QosOk)


@pytest.mark.parametrize(
    "method", [commands.Connection.Open("/"), commands.Connection.StartOk({}, "PLAIN", "x"), commands.Basic.Qos()]
)
def test_what_does_not_fit_on_channel_zero_is_refused(port: int, method: object) -> None:
    with Wire(port) as wire:
        wire.send(method, 0)
        with refused(504, "CHANNEL_ERROR - unexpected method in connection state running", hard=True):
            wire.expect(commands.Basic.QosOk)


def test_a_channel_is_opened_by_an_empty_long_string(port: int) -> None:
    """E1: amqp-client.js reads no length there, so everything behind another one would be misread."""
    with Wire(port) as wire:
        wire.send(commands.Channel.Open(), 7)
        assert wire.socket.recv(100) == bytes.fromhex("01 0007 00000008 0014000b 00000000 ce")


@pytest.mark.parametrize("size", [131_064, 131_065, 131_072])
def test_a_payload_may_have_all_of_frame_max(port: int, size: int) -> None:
    """E2: AMQPStorm, rabbitpy and aioamqp do not count the eight bytes around it."""
    with Wire(port) as wire:
        queue = wire.queue()
        content = header.ContentHeader(0, size, commands.Basic.Properties())
        parts = (commands.Basic.Publish(0, "", queue), content, body.ContentBody(bytes(size)))
        wire.raw(b"".join(frame.marshal(part, 1) for part in parts))
        got = wire.get(queue)
        assert got is not None
        assert len(got.body) == size


def test_a_payload_beyond_frame_max_is_refused(port: int) -> None:
    with Wire(port) as wire:
        wire.raw(struct.pack(">BHI", 3, 1, 131_073) + bytes(10))
        with pytest.raises((Closed, Gone)):
            wire.expect(commands.Basic.GetOk)
