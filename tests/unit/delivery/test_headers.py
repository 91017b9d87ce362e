"""Headers beside an event's body: signatures and CloudEvents attributes."""

from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from pulpit.clock import system_clock
from pulpit.delivery import headers as event_headers
from pulpit.delivery.headers import attributes, http_headers
from support.made_events import event

FIRST, SECOND = event_headers.new_secret(), event_headers.new_secret()


def test_the_reference_package_verifies_either_secret() -> None:
    body = b'{"event_type":"repo.sync.start"}'
    headers = event_headers.signature_headers(
        "id-1", body, [event_headers.key_of(FIRST), event_headers.key_of(SECOND)], system_clock()
    )
    for secret in (FIRST, SECOND):
        assert Webhook(secret).verify(body, headers) == {"event_type": "repo.sync.start"}


@given(st.text(max_size=200), st.integers(min_value=0, max_value=4_000_000_000))
def test_signs_as_the_reference_package_does(body: str, seconds: int) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    ours = event_headers.signature_headers("id-1", body.encode(), [event_headers.key_of(FIRST)], now)
    assert ours["webhook-signature"] == Webhook(FIRST).sign("id-1", now, body)
    assert ours["webhook-timestamp"] == str(seconds)


def test_a_secret_is_read_without_prefix_or_padding() -> None:
    bare = FIRST.removeprefix(event_headers.PREFIX)
    assert event_headers.key_of(FIRST) == event_headers.key_of(bare) == event_headers.key_of(bare.rstrip("="))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_" + "A" * 100, "correct horse", "whsec_ä" * 9])
def test_what_is_no_secret_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes") as caught:
        event_headers.key_of(secret)
    assert len(secret) < 8 or secret not in str(caught.value)


def test_attributes_of_an_event() -> None:
    happened = event(4)
    assert attributes(happened, "/pulpit/one") == {
        "specversion": "1.0",
        "id": happened.id,
        "source": "/pulpit/one",
        "type": "repo.sync.finish",
        "time": "2026-05-04T12:00:00.250000Z",
        "subject": "zoo",
    }
    assert "subject" not in attributes(event(4, "build.done", None), "/pulpit/one")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_subject_travels_in_a_header_and_comes_back(repo_id: str) -> None:
    written = http_headers(event(1, repo_id=repo_id), "/pulpit")["ce-subject"]
    assert all(0x21 <= ord(character) <= 0x7E and character != '"' for character in written)
    assert unquote(written) == repo_id
