"""The embedded broker against a real RabbitMQ: same machine, same run, same client.

    python bench/broker.py [--seconds 3] [--rounds 3]

The client writes frames that were encoded beforehand and only counts what comes back, so that the broker is the limit.
Each line is the median of the rounds; brokers take turns within a round. `ratio` above 1 means that the embedded broker
is ahead: more messages a second, or less time.
"""

import argparse
import contextlib
import os
import select
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pamqp import body, commands, frame, header

from support.amqp import Wire
from support.embedded_broker import broker_process
from support.rabbitmq import rabbitmq, why_not

WINDOW = 500
BODY = os.urandom(1000)
HEAD = struct.Struct(">BHI")
ACK = b"\x00\x3c\x00\x50"
DELIVER = b"\x00\x3c\x00\x3c"


def content(exchange: str, key: str, *, mode: int = 1, payload: bytes = BODY) -> bytes:
    """Publish method, header and body as bytes."""
    head = header.ContentHeader(0, len(payload), commands.Basic.Properties(delivery_mode=mode))
    parts = (commands.Basic.Publish(0, exchange, key), head, body.ContentBody(payload))
    return b"".join(frame.marshal(part, 1) for part in parts)


def frames(wire: Wire, seconds: float = 10.0) -> Iterator[tuple[int, bytes, int]]:
    """Frame type, the first 24 bytes of the payload and its length, as fast as Python can."""
    data = wire.take_buffer()
    while True:
        at, end = 0, len(data)
        while end - at >= 8:
            kind, _, size = HEAD.unpack_from(data, at)
            if at + size + 8 > end:
                break
            yield kind, data[at + 7 : at + 7 + min(size, 24)], size
            at += size + 8
        ready, _, _ = select.select([wire.socket], [], [], seconds)
        if not ready:
            raise TimeoutError("the broker says nothing")
        data = data[at:] + wire.socket.recv(1 << 18)


def publish_confirmed(port: int, seconds: float, mode: int, exchange: str = "", keys: list[str] | None = None) -> float:
    """Messages a second that one publisher gets confirmed, with a window of 500."""
    with Wire(port) as wire:
        name = wire.declare(f"bench-{os.getpid()}", exclusive=False, durable=True).queue
        wire.call(commands.Queue.Purge(0, name))
        wire.call(commands.Confirm.Select())
        messages = [content(exchange, key, mode=mode) for key in keys or [name]]
        blocks = [b"".join(messages[(i + j) % len(messages)] for j in range(50)) for i in range(0, len(messages), 50)]
        published = confirmed = 0
        begin = time.perf_counter()
        answers = frames(wire)
        while time.perf_counter() - begin < seconds:
            while published - confirmed <= WINDOW - 50:
                wire.raw(blocks[(published // 50) % len(blocks)])
                published += 50
            confirmed = count_ack(next(answers)[1], confirmed)
        while confirmed < published:
            confirmed = count_ack(next(answers)[1], confirmed)
        rate = published / (time.perf_counter() - begin)
        wire.call(commands.Queue.Delete(0, name))
        return rate


def count_ack(payload: bytes, confirmed: int) -> int:
    """How many publishes are confirmed after one more frame."""
    if payload[:4] != ACK:
        raise AssertionError(f"no ack: {payload!r}")
    tag, multiple = struct.unpack_from(">QB", payload, 4)
    return tag if multiple else confirmed + 1


def consume(port: int, seconds: float) -> float:
    """Messages a second that one consumer gets out of a backlog and acknowledges one by one, with a prefetch of 500."""
    total = int(12_000 * seconds)
    with Wire(port) as wire:
        queue = wire.queue()
        message = content("", queue)
        for _ in range(total // 100):
            wire.raw(message * 100)
        while wire.ready(queue) < total // 100 * 100:
            time.sleep(0.01)
        wire.call(commands.Basic.Qos(0, WINDOW))
        begin = time.perf_counter()
        wire.consume(queue)
        seen = 0
        acks: list[bytes] = []
        ack = struct.Struct(">BHI4sQBB")
        for kind, payload, _ in frames(wire):
            if kind == 1 and payload[:4] == DELIVER:
                seen += 1
                acks.append(ack.pack(1, 1, 13, ACK, seen, 0, 0xCE))
                if len(acks) == 50 or seen == total // 100 * 100:
                    wire.raw(b"".join(acks))
                    acks.clear()
            if seen == total // 100 * 100 and kind == 3:
                break
        return seen / (time.perf_counter() - begin)


def latency(port: int, seconds: float) -> tuple[float, float]:
    """Milliseconds from publish to consume, one message at a time: median and 99th percentile."""
    with Wire(port) as sender, Wire(port) as receiver:
        queue = receiver.queue(exclusive=False, auto_delete=True)
        receiver.consume(queue, no_ack=True)
        message = content("", queue)
        times = []
        begin = time.perf_counter()
        arrivals = frames(receiver)
        while time.perf_counter() - begin < seconds:
            sent = time.perf_counter()
            sender.raw(message)
            while next(arrivals)[0] != 3:
                pass
            times.append((time.perf_counter() - sent) * 1000)
        cuts = statistics.quantiles(times, n=100)
        return cuts[49], cuts[98]


def fan_out(port: int, seconds: float) -> float:
    """Deliveries a second of messages that each go to 100 queues with a consumer each."""
    with Wire(port) as sender, Wire(port) as receiver:
        exchange = f"fan-{os.getpid()}"
        receiver.exchange(exchange, "fanout", auto_delete=True)
        for _ in range(100):
            queue = receiver.queue()
            receiver.bind(queue, exchange)
            receiver.consume(queue, no_ack=True)
        message = content(exchange, "")
        count = max(50, int(60 * seconds))
        begin = time.perf_counter()
        writer = threading.Thread(target=sender.raw, args=(message * count,))
        writer.start()
        seen = 0
        for kind, _, _ in frames(receiver):
            seen += kind == 3
            if seen == count * 100:
                break
        writer.join()
        return seen / (time.perf_counter() - begin)


def routing(port: int, seconds: float, bindings: int) -> float:
    """Confirmed publishes a second through a topic exchange with bindings of which one matches each key."""
    with Wire(port, seconds=60) as wire:
        exchange = f"routing-{bindings}-{time.monotonic_ns()}"
        wire.exchange(exchange, "topic", auto_delete=True)
        queue = wire.queue(arguments={"x-max-length": 1000})
        for start in range(0, bindings, 1000):
            stop = min(bindings, start + 1000)
            parts = [
                frame.marshal(commands.Queue.Bind(0, queue, exchange, f"repository.{number}.*.#", nowait=True), 1)
                for number in range(start, stop)
            ]
            wire.raw(b"".join(parts))
            wire.declare(queue, passive=True)
        keys = [f"repository.{number * 7919 % bindings}.sync.finish" for number in range(1000)]
        rate = publish_confirmed(port, seconds, 1, exchange, keys)
        assert wire.ready(queue) == 1000, "the messages did not arrive"
        wire.call(commands.Queue.Delete(0, queue), answer=commands.Queue.DeleteOk)  # so that nobody tidies up later
        return rate


def kept_while_flooded(port: int, seconds: float, payload: bytes, size: int) -> float:
    """Per cent of its round trips that a client keeps while another one publishes as fast as its socket takes it.

    The bodies are sent in pieces of `size` bytes; nothing is confirmed, so there is always more to be read.
    """
    with Wire(port, seconds=60) as other, Wire(port, seconds=60) as flooder:
        queue = other.queue(exclusive=False, auto_delete=True, arguments={"x-max-length": 1000})
        alone = round_trips(other, queue, seconds)
        head = header.ContentHeader(0, len(payload), commands.Basic.Properties())
        message = frame.marshal(commands.Basic.Publish(0, "", queue), 1) + frame.marshal(head, 1)
        for at in range(0, len(payload), size):
            message += frame.marshal(body.ContentBody(payload[at : at + size]), 1)
        block = message * (1024 * 1024 // len(message) + 1)
        over = threading.Event()

        def flood() -> None:
            with contextlib.suppress(OSError):
                while not over.is_set():
                    flooder.socket.sendall(block)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            time.sleep(0.5)
            return 100 * round_trips(other, queue, seconds) / alone
        finally:
            over.set()
            flooder.socket.shutdown(socket.SHUT_RDWR)
            thread.join()


def round_trips(wire: Wire, queue: str, seconds: float) -> float:
    """Questions a second that are answered, one after the other, with 5 ms between them."""
    count = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        wire.ready(queue)
        count += 1
        time.sleep(0.005)
    return count / (time.perf_counter() - begin)


Line = tuple[str, Callable[[int, float], float], bool]
LINES: list[Line] = [
    ("publish, persistent, confirmed (msg/s)", lambda port, seconds: publish_confirmed(port, seconds, 2), True),
    ("publish, transient, confirmed (msg/s)", lambda port, seconds: publish_confirmed(port, seconds, 1), True),
    ("consume with acks (msg/s)", consume, True),
    ("latency p50 (ms)", lambda port, seconds: latency(port, seconds)[0], False),
    ("latency p99 (ms)", lambda port, seconds: latency(port, seconds)[1], False),
    ("fan-out to 100 queues (deliveries/s)", fan_out, True),
    ("routing, 10 topic bindings (msg/s)", lambda port, seconds: routing(port, seconds, 10), True),
    ("routing, 10,000 topic bindings (msg/s)", lambda port, seconds: routing(port, seconds, 10_000), True),
    ("routing, 100,000 topic bindings (msg/s)", lambda port, seconds: routing(port, seconds, 100_000), True),
    (
        "kept beside a flood of empty messages (%)",
        lambda port, seconds: kept_while_flooded(port, seconds, b"", 1),
        True,
    ),
    (
        "kept beside a flood of bodies in frames of 2 bytes (%)",
        lambda port, seconds: kept_while_flooded(port, seconds, bytes(1000), 2),
        True,
    ),
]


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is repeated")
    parser.add_argument("--only", default="", help="lines whose name contains this")
    parser.add_argument("--embedded-only", action="store_true", help="without RabbitMQ")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {"embedded": stack.enter_context(broker_process(folder / "embedded")).port}
        if reason := "left out" if options.embedded_only else why_not():
            print(f"without RabbitMQ: {reason}")
        else:
            ports["RabbitMQ"] = stack.enter_context(rabbitmq(folder / "rabbitmq")).port
        print("| what | " + " | ".join(ports) + " | ratio |\n|---|" + "---|" * (len(ports) + 1))
        for name, measure, more_is_better in LINES:
            if options.only in name:
                results: dict[str, list[float]] = {each: [] for each in ports}
                for _ in range(options.rounds):
                    for each, port in ports.items():
                        results[each].append(measure(port, options.seconds))
                print_line(name, [statistics.median(each) for each in results.values()], more_is_better)


def print_line(name: str, medians: list[float], more_is_better: bool) -> None:
    shown = " | ".join(f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in medians)
    ratio = ""
    if len(medians) > 1:
        ratio = f"{medians[0] / medians[1] if more_is_better else medians[1] / medians[0]:.2f}"
    print(f"| {name} | {shown} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
