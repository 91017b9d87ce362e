"""Signatures against the reference package of Standard Webhooks."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from pulpit.clock import system_clock
from pulpit.delivery import signing

FIRST, SECOND = signing.new_secret(), signing.new_secret()


def test_the_reference_package_verifies_either_secret() -> None:
    body = b'{"event_type":"repo.sync.start"}'
    headers = signing.headers("id-1", body, [signing.key_of(FIRST), signing.key_of(SECOND)], system_clock())
    for secret in (FIRST, SECOND):
        assert Webhook(secret).verify(body, headers) == {"event_type": "repo.sync.start"}


@given(st.text(max_size=200), st.integers(min_value=0, max_value=4_000_000_000))
def test_signs_as_the_reference_package_does(body: str, seconds: int) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    ours = signing.headers("id-1", body.encode(), [signing.key_of(FIRST)], now)
    assert ours["webhook-signature"] == Webhook(FIRST).sign("id-1", now, body)
    assert ours["webhook-timestamp"] == str(seconds)


def test_a_secret_is_read_without_prefix_or_padding() -> None:
    bare = FIRST.removeprefix(signing.PREFIX)
    assert signing.key_of(FIRST) == signing.key_of(bare) == signing.key_of(bare.rstrip("="))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_" + "A" * 100, "correct horse", "whsec_ä" * 9])
def test_what_is_no_secret_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes") as caught:
        signing.key_of(secret)
    assert len(secret) < 8 or secret not in str(caught.value)
