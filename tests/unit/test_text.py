"""Untrusted texts and system errors in readable form."""

import errno
import socket
import ssl
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.text import STEERING, blanked, clean, escaped, masked_url, one_line, shown, system_reason

EVIL = "a\x1b[31mb\r\nc\u202ed\u2028e\ud800f\x85g"


def steers(text: str) -> bool:
    return any(unicodedata.category(character) in STEERING for character in text)


def test_each_way_with_what_steers() -> None:
    assert escaped(EVIL) == "a\\x1b[31mb\\r\\nc\\u202ed\\u2028e\\ud800f\\x85g"
    assert blanked(EVIL) == "a [31mb  c d e f g"
    assert clean(EVIL) == "a[31mb  cdefg"
    assert one_line(EVIL, 100) == "a [31mb c d e f g"
    assert one_line("one  two three", 8) == "one two…"
    assert shown("x" * 130) == "x" * 120 + "…"
    assert escaped("zoo\tgrößer 日本\u3000", keep="\t") == "zoo\tgrößer 日本\u3000"


@given(st.text())
def test_nothing_that_steers_is_left(text: str) -> None:
    for made in (escaped(text), blanked(text), clean(text), shown(text), one_line(text, 20)):
        assert not steers(made)
    assert len(one_line(text, 20)) <= 20


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), "No such file or directory"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("it broke off"), "it broke off"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_of_the_system_is_said_in_its_own_words(error: OSError, words: str) -> None:
    assert system_reason(error) == words


def test_an_error_of_tls_is_said_by_its_reason() -> None:
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context().wrap_bio(ours, theirs, server_hostname="zoo").do_handshake()
    assert system_reason(caught.value) == "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host/a/", "http://host/a/"),
        ("http://me:word@host/a/", "http://me:*****@host/a/"),
        ("https://updates.example.com/product/?t0ken", "https://updates.example.com/product/?*****"),
        ("https://h/p/?exp=1~acl=/*~hmac=0123456789abcdef0123456789abcdef", "https://h/p/?exp=*****"),
        ("https://h/x?X-Amz-Signature=ab&X-Amz-Expires=60", "https://h/x?X-Amz-Signature=*****&X-Amz-Expires=60"),
        ("https://h/metalink?repo=fedora-39&arch=x86_64", "https://h/metalink?repo=fedora-39&arch=x86_64"),
        ("https://h/?a=1&t0ken&#part", "https://h/?a=1&*****&#part"),
        ("what? a sentence", "what? a sentence"),
    ],
)
def test_a12_a_url_is_shown_without_what_may_be_a_secret(url: str, expected: str) -> None:
    assert masked_url(url) == expected
