"""Error messages of a Pulp 3 without what must stay secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.pulp3.redaction import LONGEST, redacted

CASES = {
    "404, message='Not Found', url='https://me:s3cr3t@up.example.com/x'": "s3cr3t",
    "Cannot connect to https://s3cr3t@up.example.com/repo": "s3cr3t",
    "url='https://cdn.example.com/repodata/repomd.xml?__gda__=1795&sig=s3cr3t'": "s3cr3t",
    "url=https://cdn.example.com/?s3cr3t": "s3cr3t",
    "headers={'Authorization': 'Bearer s3cr3t'}": "s3cr3t",
    "Authorization: Basic s3cr3t": "s3cr3t",
    '{"password": "s3cr3t"}': "s3cr3t",
    "proxy_password=s3cr3t, retrying": "s3cr3t",
    "X-API-Key: s3cr3t": "s3cr3t",
    "-----BEGIN RSA PRIVATE KEY-----\ns3cr3t\n-----END RSA PRIVATE KEY-----": "s3cr3t",
}


@pytest.mark.parametrize(("text", "secret"), CASES.items())
def test_a_secret_is_not_repeated(text: str, secret: str) -> None:
    assert secret not in redacted(text)


def test_what_helps_is_left() -> None:
    text = "404, message='File not found', url='http://127.0.0.1:8080/zoo/PULP_MANIFEST?page=2'"
    assert redacted(text) == text


@given(st.text(max_size=200))
def test_any_text_becomes_one_that_steers_nothing(text: str) -> None:
    said = redacted(text)
    assert all(character.isprintable() or character in "\n\t" for character in said if character.isascii())


def test_a_long_text_is_cut_in_no_time() -> None:
    assert len(redacted("https://" + "a:" * 100_000)) <= LONGEST
