"""Secrets are shown as asterisks, and asterisks that are sent back keep them."""

import pytest

from pulpit.api.redaction import SECRET_KEYS, masked, merged
from pulpit.errors import InvalidValue

FEED = "https://feeder:hush@host:8443/a?b=c@d"
SHOWN = "https://feeder:*****@host:8443/a?b=c@d"


def test_the_password_of_a_url_is_a_secret_wherever_it_stands() -> None:
    config = {"feed": FEED, "password": "hush", "size": 7, "other": "http://host/u:p@x", "proxy_host": "http://u:p:q@h"}
    shown = masked(config, {"password"})
    assert shown == config | {"feed": SHOWN, "password": "*****", "proxy_host": "http://u:*****@h"}


def test_stars_that_are_sent_back_leave_the_secret_as_it_is() -> None:
    old = {"feed": FEED, "password": "hush"}
    same = merged(old, {"feed": SHOWN, "password": "*****"}, {"password"}, property_name="config")
    assert same == old
    changed = merged(old, {"feed": "https://host/"}, {"password"}, property_name="config")
    assert changed == {"feed": "https://host/", "password": "hush"}


@pytest.mark.parametrize(
    ("old", "delta"),
    [
        ({}, {"feed": SHOWN}),
        ({"feed": FEED}, {"feed": SHOWN.replace("host", "evil")}),  # the secret would go to another place
        ({"feed": FEED}, {"proxy_host": SHOWN}),
        ({}, {"password": "*****"}),
    ],
)
def test_stars_that_stand_for_nothing_are_refused(old: dict[str, str], delta: dict[str, str]) -> None:
    with pytest.raises(InvalidValue, match="none is kept here"):
        merged(old, delta, {"password"}, property_name="config")


def test_a12_the_token_of_a_feed_is_a_secret_as_its_password_is() -> None:
    old = {"feed": "https://updates.example.com/product/?t0ken", "query_auth_token": "t0ken"}

    shown = masked(old, SECRET_KEYS)

    assert shown == {"feed": "https://updates.example.com/product/?*****", "query_auth_token": "*****"}
    assert merged(old, shown, SECRET_KEYS, property_name="config") == old
    with pytest.raises(InvalidValue, match="none is kept here"):
        merged(old, {"feed": "https://evil.example.com/product/?*****"}, SECRET_KEYS, property_name="config")
