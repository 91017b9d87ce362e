"""An event as an AMQP 1.0 message: what is the same on every attempt, and what is left out."""

from dataclasses import replace

from pulpit.amqp.amqp10 import message as codec
from pulpit.delivery.notifiers.amqp10_message import message
from pulpit.delivery.notifiers.amqp10_profiles import PROFILES
from pulpit.events import own_trace
from support.happenings import event

TASK = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"


def test_it_survives_its_bytes() -> None:
    said = message(event(7), "/pulpit/test", subject="a.b", to="/exchanges/x/a.b")
    assert codec.decode(codec.encode(said)) == said


def test_the_correlation_is_the_task_and_an_event_outside_a_task_has_none() -> None:
    fired = event()
    assert message(fired, "/p", subject="a", to=None).correlation_id == TASK
    alone = replace(fired, traceparent=own_trace(fired.id, None))
    assert message(alone, "/p", subject="a", to=None).correlation_id is None
    of_a_task = replace(fired, traceparent=own_trace(fired.id, {"task_id": TASK}))
    assert message(of_a_task, "/p", subject="a", to=None).correlation_id == TASK


def test_an_event_of_no_repository_says_nothing_about_one() -> None:
    said = message(event(repo_id=None), "/p", subject="a", to=None).application_properties
    assert not {"pulpit-repo-id", "pulpit-repo-number", "cloudEvents:subject"} & said.keys()


def test_addresses_are_encoded_where_a_broker_decodes_them() -> None:
    assert PROFILES["rabbitmq4"].to("a/b", "c d.é") == "/exchanges/a%2Fb/c%20d.%C3%A9"
    assert PROFILES["rabbitmq3"].to("a/b", "c") is None
    assert PROFILES["plain"].target("a/b").address == "a/b"
