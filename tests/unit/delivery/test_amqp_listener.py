"""Events as AMQP messages: their bytes, what stays the same on every attempt, and what is left out."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from pulpit.amqp.amqp10 import message as codec
from pulpit.delivery.notifiers.amqp091_message import MessageWriter, properties
from pulpit.delivery.notifiers.amqp_listener import Format, delivered, message, routing_key
from pulpit.delivery.notifiers.port import DELIVERED
from pulpit.events import own_trace
from support.made_events import event

TASK = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"


def test_it_survives_its_bytes() -> None:
    said = message(event(7), "/pulpit/test", subject="a.b", to="/exchanges/x/a.b")
    assert codec.decode(codec.encode(said)) == said


def test_the_correlation_is_the_task_and_an_event_outside_a_task_has_none() -> None:
    fired = event()
    assert message(fired, "/p", subject="a", to=None).correlation_id == TASK
    alone = fired._replace(traceparent=own_trace(fired.id, None))
    assert message(alone, "/p", subject="a", to=None).correlation_id is None
    of_a_task = fired._replace(traceparent=own_trace(fired.id, {"task_id": TASK}))
    assert message(of_a_task, "/p", subject="a", to=None).correlation_id == TASK


def test_an_event_of_no_repository_says_nothing_about_one() -> None:
    said = message(event(repo_id=None), "/p", subject="a", to=None).application_properties
    assert not {"pulpit-repo-id", "pulpit-repo-number", "cloudEvents:subject"} & said.keys()


words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


@given(
    number=st.integers(min_value=1, max_value=2**62),
    repo_id=st.none() | words,
    seconds=st.integers(min_value=0, max_value=2**33),
    source=words,
    form=st.sampled_from(Format),
)
def test_what_is_encoded_is_what_was_meant(
    number: int, repo_id: str | None, seconds: int, source: str, form: Format
) -> None:
    writer = MessageWriter(None, source, form)
    for fired in (
        event(number, repo_id=repo_id, occurred_at=datetime.fromtimestamp(seconds, UTC)),
        event(7, repo_id=repo_id),
        event(8, repo_id=repo_id)._replace(id="100%", repo_number=None, traceparent=""),
    ):
        read = BasicProperties()
        read.decode(writer.write(fired).properties)
        assert vars(read) == vars(properties(fired, source, form))


@pytest.mark.parametrize("form", Format)
def test_the_bytes_are_pikas_but_for_the_width_of_numbers(form: Format) -> None:
    fired = event(2**40)
    theirs = properties(fired, "/pulpit/test", form)
    assert MessageWriter(None, "/pulpit/test", form).write(fired).properties == b"".join(theirs.encode())


def test_headers_repeat_no_standard_property_unless_cloudevents_are_asked_for() -> None:
    usual, more = (properties(event(), "/pulpit/test", form).headers for form in (Format.PULP, Format.CLOUDEVENTS))
    said = {"qpid.subject", "pulpit-number", "pulpit-repo-id", "pulpit-repo-number", "traceparent"}
    assert usual.keys() == said
    assert more.keys() - said == {
        f"cloudEvents:{name}" for name in ("specversion", "id", "source", "type", "time", "subject")
    }


@pytest.mark.parametrize(
    ("template", "repo_id", "key"),
    [
        (None, "zoo", "pulp.server.repo.sync.finish"),
        ("pulp.{repo_id}.{event_type}", "fedora.38.x86_64", "pulp.fedora_38_x86_64.repo.sync.finish"),
        ("pulp.{repo_id}.{result}", None, "pulp._._"),
        ("{repo_id}.{repo_id}", "{result}", "{result}.{result}"),
        ("a.{repo_id}", "..", "a.__"),
    ],
)
def test_a_key_has_as_many_words_as_its_template(template: str | None, repo_id: str | None, key: str) -> None:
    """Whoever binds `pulp.*.#` gets repositories with dots in their ids, too."""
    assert routing_key(event(repo_id=repo_id), template) == key
    assert delivered(event(repo_id=repo_id), template) == DELIVERED


@pytest.mark.parametrize("letter", ["x", "é", "日"])
def test_a_key_that_is_cut_is_told(letter: str) -> None:
    fired, template = event(repo_id=letter * 250), "{repo_id}.{event_type}"
    key = routing_key(fired, template)
    assert 252 < len(key.encode()) <= 255
    assert delivered(fired, template).answer == "The routing key was cut at 255 bytes, which AMQP allows at most."
