"""The mock cluster of librdkafka in a separate process, and what is in its topics as another client reads it.

It speaks the protocol of Kafka over sockets; it keeps nothing on disk, and a new one has other ports.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from support.processes import Process

WHY_NOT = "" if find_spec("confluent_kafka") else "not installed: confluent-kafka, the extra `kafka`"
needs_kafka = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

_HOST = """
import sys
from confluent_kafka import Producer
host = Producer({"bootstrap.servers": "none:1", "test.mock.num.brokers": int(sys.argv[1]), "log_level": 0})
brokers = host.list_topics(timeout=30).brokers.values()
print(",".join(f"{broker.host}:{broker.port}" for broker in brokers), flush=True)
sys.stdin.read()
"""


class Cluster(Process):
    def __init__(self, process: "subprocess.Popen[str]", servers: str) -> None:
        self._process = process
        self.servers = servers

    def messages(self, topic: str, count: int) -> list[Any]:
        """The messages of a topic, partition by partition in order, once there are enough, or after a minute."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition  # noqa: PLC0415 - an extra

        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "test", "log_level": 0})
        try:
            partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
            found: list[Any] = []
            for _ in range(120):
                found += [message for message in consumer.consume(500, timeout=0.5) if not message.error()]
                if len(found) >= count:
                    found += [message for message in consumer.consume(500, timeout=0.5) if not message.error()]
                    break
            return sorted(found, key=lambda message: (message.partition(), message.offset()))
        finally:
            consumer.close()


@contextlib.contextmanager
def kafka_cluster(brokers: int = 1) -> Iterator[Cluster]:
    command = [sys.executable, "-c", _HOST, str(brokers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        cluster = Cluster(process, process.stdout.readline().strip())
        try:
            yield cluster
        finally:
            cluster.kill()
