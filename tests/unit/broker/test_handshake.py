"""A client's first bytes."""

import logging

import pytest

from support.broker_box import Box, BoxClient

HELLO = b"AMQP\x00\x00\x09\x01"


@pytest.mark.parametrize("header", [b"AMQP\x00\x01\x00\x00", b"AMQP\x02\x01\x00\x00", b"AMQP\x03\x01\x00\x00"])
@pytest.mark.parametrize("cut", [0, 1, 5, 7])
def test_amqp_10_is_answered_with_what_is_spoken_and_the_log_names_the_way_out(
    header: bytes, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    connection = BoxClient(Box(), greeted=False).connection
    with caplog.at_level(logging.WARNING):
        connection.receive(header[:cut])
        assert connection.take_output() == b""
        connection.receive(header[cut:] + b"\x00\x00\x00\x20 what follows at once")
    assert connection.take_output() == HELLO
    assert connection.finished
    [record] = caplog.records
    assert record.__dict__["action"] == "broker_amqp10_refused"
    assert "AMQP 0-9-1 alone" in record.getMessage()
    assert "[messaging] url" in record.getMessage()


@pytest.mark.parametrize("header", [b"GET / HT", b"\x16\x03\x01\x00\xa5\x01\x00\x00", b"AMQP\x00\x00\x0a\x00"])
def test_other_strangers_are_answered_without_a_line_in_the_log(
    header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connection = BoxClient(Box(), greeted=False).connection
    connection.receive(header)
    assert connection.take_output() == HELLO
    assert connection.finished
    assert not caplog.records
