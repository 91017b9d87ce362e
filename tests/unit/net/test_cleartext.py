"""Where a password may travel as it is."""

import pytest

from pulpit.errors import ConfigurationError
from pulpit.net.cleartext import check_password_is_safe


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
