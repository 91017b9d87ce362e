"""Bare publishers to measure against: the same messages, without Pulpit, in a pipelined window of confirms."""

import asyncio
import importlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exchange_type import ExchangeType
from pika.frame import Method

from pulpit.events import Event

EXCHANGE = "bench"
QUEUE = "bench"
WINDOW = 500


def bind_queue(url: str) -> None:
    """Make the durable exchange with one durable queue that takes everything, empty."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, ExchangeType.topic, durable=True)
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE, durable=True)
        channel.queue_bind(QUEUE, EXCHANGE, "#")


async def bare_pika(url: str, count: int, body: bytes) -> float:
    """Publish persistent messages over pika's asyncio adapter and return the seconds until the last confirm."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Channel] = loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=lambda made: made.channel(on_open_callback=opened.set_result),
        custom_ioloop=loop,
    )
    channel = await opened
    confirming: asyncio.Future[None] = loop.create_future()
    finished = asyncio.Event()
    room = asyncio.Event()
    confirmed = 0
    ahead: set[int] = set()

    def on_confirm(frame: Method) -> None:
        nonlocal confirmed
        tag = frame.method.delivery_tag
        ahead.update(range(confirmed + 1, tag + 1) if frame.method.multiple else (tag,))
        while confirmed + 1 in ahead:
            confirmed += 1
            ahead.discard(confirmed)
        room.set()
        if confirmed >= count:
            finished.set()

    channel.confirm_delivery(on_confirm, callback=lambda _: confirming.set_result(None))
    await confirming
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
    started = time.perf_counter()
    for number in range(count):
        while number - confirmed >= WINDOW:
            room.clear()
            await room.wait()
        channel.basic_publish(EXCHANGE, "pulp.server.repo.sync.start", body, properties)
    await finished.wait()
    seconds = time.perf_counter() - started
    connection.close()
    await asyncio.sleep(0.1)
    return seconds


def librabbitmq() -> Path | None:
    """Compile the C publisher, if a compiler and librabbitmq's headers are here."""
    compiler = shutil.which("gcc")
    if not compiler or not Path("/usr/include/amqp.h").exists():
        return None
    target = Path(tempfile.mkdtemp(prefix="pulpit-bench-")) / "publisher"
    source = Path(__file__).parent / "librabbitmq.c"
    done = subprocess.run([compiler, "-O2", "-o", target, source, "-lrabbitmq"], check=False, capture_output=True)
    return target if done.returncode == 0 else None


def bare_c(program: Path, port: int, count: int, size: int, event: Event | None = None) -> float:
    """Publish with the C client and return the seconds until the last confirm; with an event, its very properties."""
    command = [str(program), str(port), str(count), str(size), str(WINDOW)]
    if event:
        command += [event.traceparent, event.id, event.repo_id or ""]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def bare_proton(port: int, count: int, body: bytes) -> float:
    """Send durable messages with Proton's own container, as far as the credit goes, until the last is accepted."""
    handlers, reactor = importlib.import_module("proton.handlers"), importlib.import_module("proton.reactor")
    proton = importlib.import_module("proton")
    at: dict[str, float] = {}

    class Sending(handlers.MessagingHandler):  # type: ignore[misc,name-defined] # an extra, without types here
        sent = accepted = 0

        def on_start(self, event: Any) -> None:
            self.connection = event.container.connect(
                f"amqp://guest:guest@127.0.0.1:{port}", sasl_enabled=True, allowed_mechs="PLAIN"
            )
            event.container.create_sender(self.connection, f"/exchange/{EXCHANGE}")

        def on_sendable(self, event: Any) -> None:
            at.setdefault("started", time.perf_counter())
            while event.sender.credit and self.sent < count:
                subject = "pulp.server.repo.sync.start"
                message = proton.Message(body=body, subject=subject, durable=True, inferred=True)
                event.sender.send(message)
                self.sent += 1

        def on_accepted(self, _event: Any) -> None:
            self.accepted += 1
            if self.accepted == count:
                at["ended"] = time.perf_counter()
                self.connection.close()

    reactor.Container(Sending()).run()
    return at["ended"] - at["started"]
