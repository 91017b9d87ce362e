"""The brokers that clients of ours must get along with, each started for a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.rabbitmq import rabbitmq
from support.server import pulpit


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A running broker on loopback, with `guest` and `guest`."""

    port: int


@contextmanager
def rabbitmq_broker(folder: Path) -> Iterator[Broker]:
    with rabbitmq(folder) as broker:
        yield Broker(port=broker.port)


@contextmanager
def embedded_broker(folder: Path) -> Iterator[Broker]:
    """The one inside `pulpit serve`."""
    with pulpit(folder / "data") as server:
        yield Broker(port=server.broker_port)
