"""`listen.py` and a RabbitMQ that is killed, or speaks TLS."""

import json
from pathlib import Path

import pika
import pytest
import trustme

from pulpit.amqp.amqp10 import proton
from support.listen_script import listening
from support.ports import free_port
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq

pytestmark = [pytest.mark.needs_rabbitmq, needs_rabbitmq]


def publish(url: str, exchange: str, subject: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.basic_publish(exchange, subject, json.dumps({"n": 1}).encode())
    connection.close()


def test_a_broker_that_was_killed_is_found_again(tmp_path: Path) -> None:
    with rabbitmq(tmp_path / "rabbit") as broker:
        publish(broker.url, "pulp", "before")
        broker.remember()
        with listening(tmp_path, "-a", "127.0.0.1", "-p", str(broker.port), "-e", "pulp", "-q") as listener:
            listener.until_ready()
            broker.kill()
            listener.until_told("lost")
            broker.start()
            listener.until_ready(2)
            publish(broker.url, "pulp", "after")
            assert listener.until_printed(1) == ["after"]
            assert listener.end() == 0
            assert len(listener.told) == 3


def test_tls_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "rabbit"
    broker = RabbitMQ(folder, ["rabbitmq_amqp1_0"])
    port = _speak_tls_too(folder)
    broker.start()
    try:
        trusted = ["--ca-path", str(folder / "ca.pem")]
        for scheme in ["amqps", *(["amqps+10"] if proton.available() else [])]:
            with listening(tmp_path, "--url", f"{scheme}://guest:guest@127.0.0.1:{port}", *trusted) as listener:
                listener.until_ready()
                assert listener.end() == 0
            for host, options, reason in (("127.0.0.1", [], "certificate"), ("localhost", trusted, "mismatch")):
                with listening(tmp_path, "--url", f"{scheme}://{host}:{port}", *options) as stranger:
                    assert stranger.code() == 1
                    assert reason in stranger.told[0]
    finally:
        broker.stop()


def _speak_tls_too(folder: Path) -> int:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "cert.pem")
    port = free_port()
    with (folder / "rabbitmq.conf").open("a") as conf:
        conf.write(f"listeners.ssl.default = 127.0.0.1:{port}\n")
        for key, name in (("cacertfile", "ca.pem"), ("certfile", "cert.pem"), ("keyfile", "cert.pem")):
            conf.write(f"ssl_options.{key} = {folder / name}\n")
    return port
