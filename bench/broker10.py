"""AMQP 1.0 of the embedded broker against RabbitMQ's plug-in: same machine, same run, same client.

    python -m bench.broker10 [--seconds 3] [--rounds 3]

The client is Proton's engine on a blocking socket, one connection, with at most 500 messages in flight. Each line is
the median of the rounds; brokers take turns within a round.
"""

import argparse
import contextlib
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench.broker import print_line
from pulpit.amqp.amqp10 import message
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.events import Arrived, Decided, Event
from pulpit.amqp.amqp10.message import Message
from pulpit.amqp.amqp10.sasl import ClientLogin, Credentials
from pulpit.amqp.amqp10.words import ACCEPTED, Terminus
from support.amqp import Wire
from support.broker_process import broker_process
from support.rabbitmq import rabbitmq, why_not

BODY = os.urandom(1000)
QUEUE = "bench10"
ADDRESS = f"/amq/queue/{QUEUE}"
PROPERTIES = {"cloudEvents:id": "1", "cloudEvents:source": "/pulpit", "cloudEvents:type": "repo.sync.finish"}
WINDOW = 500


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.engine = Engine(Setup(container="bench", largest_frame=131_072))
        login = ClientLogin(Credentials(user="guest", password="guest"))  # noqa: S106 - the one that everybody knows
        while not login.done:
            self.socket.sendall(login.take_output())
            login.receive(self.socket.recv(1 << 16))
        self.engine.receive(login.rest)
        self.engine.open()
        self.session = self.engine.begin()

    def turn(self) -> Iterator[Event]:
        """Send what there is, and wait for something to happen."""
        self.socket.sendall(self.engine.take_output())
        self.engine.receive(self.socket.recv(1 << 18))
        return self.engine.events()

    def close(self) -> None:
        """End it in words, so that the broker has done everything before."""
        self.engine.close()
        while not self.engine.over:
            list(self.turn())
        self.socket.close()
        self.engine.free()


def publish(port: int, seconds: float) -> float:
    """Durable messages a second that one client gets accepted."""
    with Wire(port) as wire:
        wire.declare(QUEUE, exclusive=False, durable=True)
    client = Client(port)
    link = client.engine.sender(client.session, "out")
    link.attach(source=Terminus(), target=Terminus(address=ADDRESS))
    data = message.encode(
        Message(body=BODY, subject="bench10", durable=True, message_id="bench", application_properties=PROPERTIES)
    )
    accepted = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(min(link.credit, WINDOW - link.unsettled)):
            link.send(data)
        accepted += sum(isinstance(event, Decided) for event in client.turn())
    rate = accepted / (time.perf_counter() - begin)
    client.close()
    return rate


def consume(port: int, seconds: float) -> float:  # noqa: ARG001 - what was published is what there is
    """Messages a second that one client receives and accepts, of those that `publish` left."""
    client = Client(port)
    link = client.engine.receiver(client.session, "in")
    link.attach(source=Terminus(address=ADDRESS), target=Terminus())
    link.grant(WINDOW)
    client.socket.settimeout(1.0)
    received, begin, last = 0, time.perf_counter(), time.perf_counter()
    with contextlib.suppress(TimeoutError):
        while True:
            numbers = [event.number for event in client.turn() if isinstance(event, Arrived)]
            for number in numbers:
                link.settle(number, ACCEPTED)
            if numbers:
                received, last = received + len(numbers), time.perf_counter()
                link.grant(len(numbers))
    client.close()
    return received / (last - begin)


LINES = (
    ("AMQP 1.0, publish, durable, accepted (msg/s)", publish),
    ("AMQP 1.0, consume with outcomes (msg/s)", consume),
)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is repeated")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {"embedded": stack.enter_context(broker_process(folder / "embedded")).port}
        if reason := why_not():
            print(f"without RabbitMQ: {reason}")
        else:
            ports["RabbitMQ"] = stack.enter_context(rabbitmq(folder / "rabbitmq", ["rabbitmq_amqp1_0"])).port
        print("| what | " + " | ".join(ports) + " | ratio |\n|---|" + "---|" * (len(ports) + 1))
        results: dict[str, dict[str, list[float]]] = {name: {each: [] for each in ports} for name, _ in LINES}
        for _ in range(options.rounds):
            for each, port in ports.items():
                for name, measure in LINES:
                    results[name][each].append(measure(port, options.seconds))
        for name, found in results.items():
            print_line(name, [statistics.median(each) for each in found.values()], more_is_better=True)


if __name__ == "__main__":
    main()
