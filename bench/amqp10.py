"""What an event costs over AMQP 1.0, from the log until it is accepted, against bare Proton in the same run.

Rates are medians of interleaved rounds. 1 kB durable messages, a separate RabbitMQ with its plug-in, one
durable queue. Bare Proton sends the same bytes in messages with nothing but a subject.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bench import peers
from bench.events import EVENTS, ROUNDS, drain, line
from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.client import ClientSettings
from pulpit.amqp.amqp10.publisher import Publisher
from pulpit.delivery.notifiers.amqp10 import Amqp10
from support.rabbitmq import RabbitMQ, rabbitmq, why_not


def main() -> None:
    reason = why_not() or (None if proton.available() else "python-qpid-proton is not installed")
    if reason:
        print(f"skipped: {reason}")
        return
    with (
        tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder,
        rabbitmq(Path(folder, "r"), ["rabbitmq_amqp1_0"]) as broker,
    ):
        uvloop.run(throughput(broker))


async def throughput(broker: RabbitMQ) -> None:
    """From the log to the last `accepted`, against Proton's container and against Pulpit's own AMQP 0-9-1."""
    rates: dict[str, list[float]] = {"1.0": [], "proton": [], "0-9-1": []}
    for _ in range(ROUNDS):
        peers.bind_queue(broker.url)
        took = await asyncio.to_thread(peers.bare_proton, broker.port, EVENTS, b"x" * 1000)
        rates["proton"].append(EVENTS / took)
        peers.bind_queue(broker.url)
        rates["1.0"].append(EVENTS / await drain(broker.url, EVENTS, notifier(broker)))
        peers.bind_queue(broker.url)
        rates["0-9-1"].append(EVENTS / await drain(broker.url, EVENTS))
    ours, bare, old = (statistics.median(rates[name]) for name in ("1.0", "proton", "0-9-1"))
    line("log to accepted on RabbitMQ, AMQP 1.0", ours, "/s")
    line("  bare Proton, as its container sends", bare, "/s", ours / bare, "is Pulpit of it")
    line("  Pulpit over AMQP 0-9-1", old, "/s", ours / old, "is 1.0 of it")


def notifier(broker: RabbitMQ) -> Amqp10:
    address = BrokerAddress(host="127.0.0.1", port=broker.port, user="guest", password="guest")  # noqa: S106 - RabbitMQ's default
    return Amqp10(Publisher([address], ClientSettings(name="bench")), "amq.topic")


if __name__ == "__main__":
    main()
