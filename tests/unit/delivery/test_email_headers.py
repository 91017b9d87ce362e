"""Mail header fields, read back by three parsers: one written for this test and the two of the standard library."""

import base64
import binascii
import re
from email import message_from_string
from email.header import decode_header, make_header
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.delivery.notifiers.email_headers import addresses_field, mailbox_field, text_field
from pulpit.text import one_line

ENCODED = re.compile(r"=\?utf-8\?([qb])\?([^? ]*)\?=")
ADDRESS = "pulp@example.com"
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" =?_üß日本\U0001f980"), max_size=200)


def read_back(field: str) -> str:
    """The text of a field by RFC 2047: blanks between encoded words belong to the folding, all others to the text."""
    value = field.partition(":")[2].replace("\r\n", "")
    assert value.startswith(" ")
    words, text = value[1:].split(" "), ""
    for index, word in enumerate(words):
        found = ENCODED.fullmatch(word)
        if index and not (found and ENCODED.fullmatch(words[index - 1])):
            text += " "
        text += decoded(found[1], found[2]) if found else word
    return text


def decoded(encoding: str, payload: str) -> str:
    assert payload, "an empty encoded word"
    if encoding == "b":
        return base64.b64decode(payload, validate=True).decode()
    return binascii.a2b_qp(payload.encode(), header=True).decode()


def check_form(field: str) -> None:
    assert field.isascii()
    for number, line in enumerate(field.split("\r\n")):
        assert len(line) <= 78, line
        assert "\n" not in line
        assert "\r" not in line
        assert line.strip(), "a line of blanks"
        assert number == 0 or line.startswith(" ")
    for word in field.replace("\r\n", "").split(" "):
        if "=?" in word:
            assert ENCODED.fullmatch(word), word
            assert len(word) <= 75


SUBJECTS = [
    "x" * 52 + " ü",
    "日本 " * 13,
    "日本" * 13,
    "=?utf-8?q?x?=",
    "a =?utf-8?q?x?= b",
    "=? ?= =?",
    "größer als zoo",
    "x" * 900,
    " ".join(["word"] * 60),
    "ü" + " word" * 60 + " ü",
    "\U0001f980" * 70,
    "[pulp] repo.sync.finish 日本 success",
    "_ = ? _",
]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_b11_subjects_that_were_folded_wrongly(subject: str) -> None:
    text = one_line(subject, 2000)
    field = text_field("Subject", text)
    check_form(field)
    assert read_back(field) == text
    assert message_from_string(field + "\r\n\r\n", policy=SMTP)["Subject"] == text


@given(TEXT)
def test_b11_any_text_is_read_back_as_it_was(subject: str) -> None:
    text = one_line(subject, 2000)
    field = text_field("Subject", text)
    if text:
        check_form(field)
        assert read_back(field) == text
        value = field.partition(": ")[2]
        assert str(make_header(decode_header(value.replace("\r\n", "")))) == text


@given(TEXT)
def test_b11_any_name_of_a_sender_is_read_back_as_it_was(name: str) -> None:
    text = one_line(name, 200)
    field = mailbox_field("From", text, ADDRESS)
    check_form(field)
    header = message_from_string(field + "\r\n\r\n", policy=SMTP)["From"]
    assert [box.addr_spec for box in header.addresses] == [ADDRESS]
    if "=?" in field:  # the standard library's reader of display names leaves blanks between encoded words
        assert read_back(field) == f"{text} <{ADDRESS}>"
    else:
        assert header.addresses[0].display_name == text


def test_plain_texts_stay_readable() -> None:
    assert text_field("Subject", "[pulp] repo.sync.finish zoo") == "Subject: [pulp] repo.sync.finish zoo"
    assert text_field("Subject", "zoo: größer now") == "Subject: zoo: =?utf-8?q?gr=C3=B6=C3=9Fer?= now"
    assert mailbox_field("From", "Pulp Server", ADDRESS) == f"From: Pulp Server <{ADDRESS}>"
    assert mailbox_field("From", 'The "zoo", Inc.', ADDRESS) == f'From: "The \\"zoo\\", Inc." <{ADDRESS}>'


@given(st.lists(st.from_regex(r"[a-z]{1,64}@[a-z]{1,60}\.example", fullmatch=True), min_size=1, max_size=100))
def test_many_addresses_are_read_back(addresses: list[str]) -> None:
    field = addresses_field("To", addresses)
    assert all(len(line) <= 998 for line in field.split("\r\n"))
    header = message_from_string(field + "\r\n\r\n", policy=SMTP)["To"]
    assert [box.addr_spec for box in header.addresses] == addresses
