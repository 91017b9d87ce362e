"""The bytes of an event's properties are those that pika makes of the same values, or mean the same."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from pulpit.delivery.notifiers.amqp_message import properties
from support.happenings import event

words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


@given(
    number=st.integers(min_value=1, max_value=2**62),
    repo_id=st.none() | words,
    seconds=st.integers(min_value=0, max_value=2**33),
    source=words,
)
def test_what_is_encoded_is_what_was_meant(number: int, repo_id: str | None, seconds: int, source: str) -> None:
    fired = event(number, repo_id=repo_id, occurred_at=datetime.fromtimestamp(seconds, UTC))
    meant = properties(fired, source)
    read = BasicProperties()
    read.decode(b"".join(meant.encode()))
    assert vars(read) == vars(meant)


def test_the_bytes_are_pikas_but_for_the_width_of_numbers() -> None:
    ours = properties(event(2**40), "/pulpit/test")
    theirs = BasicProperties(**vars(ours))
    theirs.headers = {**ours.headers}
    assert b"".join(ours.encode()) == b"".join(theirs.encode())
