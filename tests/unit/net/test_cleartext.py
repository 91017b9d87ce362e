"""Where a password may travel as it is."""

import pytest

from pulpit.errors import ConfigurationError
from pulpit.net.cleartext import check_password_is_safe, is_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "127.255.3.4", "::1", "[::1]", "::1%lo", "::ffff:127.0.0.1"]
)
def test_this_machine_is_known_by_name_and_address(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "broker", "localhost.example.com", "128.0.0.1", "127.0.0.1.example.com", "::2", "::", "127"]
)
def test_nothing_else_is_taken_for_this_machine(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "tls", "allowed"),
    [("localhost", False, False), ("broker", True, False), ("broker", False, True)],
)
def test_a_password_may_go_to_this_machine_or_encrypted_or_where_it_is_allowed(
    host: str, *, tls: bool, allowed: bool
) -> None:
    check_password_is_safe("--url", host, tls=tls, allowed=allowed, permission="--allow")


def test_any_other_way_is_refused_by_a_sentence_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=r"^--url: .* broker unencrypted; .*TLS.* --allow to") as refused:
        check_password_is_safe("--url", "broker", tls=False, allowed=False, permission="--allow")
    assert "\n" not in str(refused.value)
