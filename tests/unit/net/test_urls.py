"""Validation of the URLs that the server is to call."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.net.addresses import literal
from pulpit.net.urls import http_url


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("http://a", "http://a"),
        ("HTTP://A.Example:8080/B", "http://a.example:8080/B"),
        ("http://a:/x", "http://a/x"),
        ("http://a?x=%2F", "http://a/?x=%2F"),
        ("https://a/%2F%3a%7e%2b+~?x=%7E#part", "https://a/%2F%3a%7e%2b+~?x=%7E"),
        ("http://bücher.example/ü?q=ü", "http://xn--bcher-kva.example/%C3%BC?q=%C3%BC"),
        ("http://[2606:4700:0::1111]:80/", "http://[2606:4700::1111]/"),
        ("http://\uff11\uff12\uff17.0.0.1/", "http://127.0.0.1/"),
        ("http://a_b.example./x", "http://a_b.example./x"),
    ],
)
def test_what_is_written_is_what_is_sent(written: str, sent: str) -> None:
    assert str(http_url(written)) == sent


@pytest.mark.parametrize(
    "written",
    [
        "http://127.1/", "http://2130706433/", "http://0177.0.0.1/", "http://0x7f.1/", "http://0x7f000001/",
        "http://127.0.0.1./", "http://256.1.1.1/", "http://1.2.3.4.5/", "http://a.0x/", "http://a.1/",
        " http://a/", "http://a/ ", "http://a b/", "http://a\t/", "http://a/\x00", "http://a\u200b/", "\ufeffhttp://a/",
        "http://[::1%lo]/", "http://[::1%25lo]/", "http://[::1", "http://::1/", "http://[]/", "http://[v1.x]/",
        "http://a:0/", "http://a:99999/", "http://a:-1/", "http://a:\uff18\uff10/", "http://a:1:2/", "http://a:b/",
        "http://joe@b/", "http://joe:pw@b/", "http://@b/", "http://:@b/", "http://a@b@c/", "http://a\\@b/", "http://a\\b/",
        "http://a%2eb/", "http://a..b/", "http://-a/", "http://a,b/", "http://xn--/", "http://" + "a." * 130 + "b/",
        "http:a", "http:///x", "http//a", "ftp://a/", "", "//a/",
    ],
)  # fmt: skip
def test_b12_what_two_parsers_may_read_as_two_things_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|is not a URL)"):
        http_url(written)


@given(st.from_regex(r"[0-9a-fx.\[\]:%@]{1,16}", fullmatch=True))
def test_a_host_is_an_address_as_it_is_written_or_a_name_that_is_none(host: str) -> None:
    try:
        url = http_url(f"http://{host}/")
    except ValueError:
        return
    found = literal(url.raw_host or "")
    assert found is None or str(ip_address(found)) == url.raw_host
    assert found is not None or not (url.raw_host or "").rstrip(".").rpartition(".")[2].isdigit()
