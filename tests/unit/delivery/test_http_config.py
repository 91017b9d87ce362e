"""The configuration of an http listener."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.clock import system_clock
from pulpit.delivery import headers as event_headers
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.http_config import read
from pulpit.errors import InvalidValue
from pulpit.listener_options import HTTP

URL = "https://hooks.example/pulp"
SECRET = event_headers.new_secret()


def complaint(**config: Any) -> str:
    with pytest.raises(InvalidValue) as caught:
        Http(system_clock).check_config(config)
    assert caught.value.property_names == ["notifier_config"]
    return str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"username": "joe", "password": "pässword"},
        {"username": "joe"},
        {"headers": {"X-Token": "abc def", "Authorization": "Bearer t"}},
        {"secret": SECRET},
        {"proxy": "http://proxy.example:3128"},
        {"proxy": "http://proxy.example", "proxy_username": "joe", "proxy_password": "pw"},
        {"proxy": "none"},
        {"secret": SECRET.removeprefix("whsec_"), "old_secret": event_headers.new_secret()},
        {"timeout": 30, "redirects": True},
        {"timeout": "30"},
        {"url": "http://[2606:4700::1111]:8080"},
        {"url": "https://bücher.example/?a=b#part"},
    ],
)
def test_accepts(config: dict[str, Any]) -> None:
    Http(system_clock).check_config({"url": URL, **config})


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"url": ""}, "url is missing"),
        ({"url": None}, "url is missing"),
        ({"url": 7}, "url is missing"),
        ({"url": "hooks.example/x"}, "http://"),
        ({"url": "ftp://hooks.example/x"}, "http://"),
        ({"url": "file:///etc/passwd"}, "http://"),
        ({"url": "http:///x"}, "http://"),
        ({"url": "http://a:99999/"}, "not a URL"),
        ({"url": "http://a..b/"}, "not a URL"),
        ({"url": f"http://{'a' * 70}.example/"}, "not a URL"),
        ({"url": "http://joe:pw@hooks.example/"}, "username and password"),
        ({"url": "http://hooks.example/\r\nX: y"}, "printable"),
        ({"url": "http://hooks.example/" + "x" * 3000}, "2000"),
        ({"url": "http://127.0.0.1/"}, "webhook_allow"),
        ({"url": "http://[::1]/"}, "webhook_allow"),
        ({"url": "http://127.1/"}, "127.1 is no address"),
        ({"url": "http://2130706433/"}, "2130706433 is no address"),
        ({"url": "http://0177.0.0.1/"}, "0177.0.0.1 is no address"),
        ({"url": " http://hooks.example/"}, "without a blank"),
        ({"url": "http://[::1%lo]/"}, "zone"),
        ({"url": "http://hooks.example:0/"}, "port must be from 1 to 65535"),
        ({"url": "http://@hooks.example/"}, "username and password"),
        ({"proxy": "http://127.0.0.1:3128"}, "proxy: 127.0.0.1 is no public address"),
        ({"proxy": "https://proxy.example"}, "proxy must be http://"),
        ({"proxy": "socks5://proxy.example"}, "proxy must begin with http://"),
        ({"proxy": "http://proxy.example/path"}, "proxy must be http://"),
        ({"proxy": "http://joe:hunter22@proxy.example"}, "proxy_username and proxy_password"),
        ({"proxy_username": "joe", "proxy_password": "pw"}, "beside a proxy"),
        ({"proxy": "none", "proxy_username": "joe", "proxy_password": "pw"}, "beside a proxy"),
        ({"proxy": "http://proxy.example", "proxy_username": "joe"}, "belong together"),
        ({"colour": "red"}, "has no colour"),
        ({"username": "jo:e", "password": "x"}, "colon"),
        ({"username": "joe\n", "password": "x"}, "username"),
        ({"headers": ["X-Token=abc"]}, "headers"),
        ({"headers": {"X Token": "abc"}}, "no name"),
        ({"headers": {"": "abc"}}, "no name"),
        ({"headers": {"X-Token": "a\r\nEvil: yes"}}, "X-Token"),
        ({"headers": {"X-Token\n": "a"}}, "no name"),
        ({"headers": {"X-Token": 7}}, "X-Token"),
        ({"headers": {"X-Token": "x" * 5000}}, "4096"),
        ({"headers": {f"X-{n}": "" for n in range(33)}}, "32"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "twice"),
        ({"headers": {"Host": "other"}}, "server itself"),
        ({"headers": {"Content-Length": "3"}}, "server itself"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "server itself"),
        ({"headers": {"Webhook-Id": "3"}}, "server itself"),
        ({"headers": {"CE-Type": "3"}}, "server itself"),
        ({"headers": {"authorization": "x"}, "username": "joe", "password": "pw"}, "Authorization"),
        ({"secret": "correct horse"}, "openssl rand"),
        ({"secret": "whsec_c2hvcnQ="}, "24 to 64"),
        ({"old_secret": SECRET}, "beside a secret"),
        ({"ca_path": "ca.pem"}, "absolute"),
        ({"ca_path": "/nowhere/ca.pem"}, "No such file"),
        ({"client_cert_path": "client.pem"}, "absolute"),
        ({"client_cert_path": "/nowhere/client.pem"}, "client_cert_path"),
        ({"timeout": 0}, "1 to 60"),
        ({"timeout": 61}, "1 to 60"),
        ({"timeout": "soon"}, "1 to 60"),
        ({"timeout": True}, "1 to 60"),
        ({"timeout": [1]}, "1 to 60"),
        ({"redirects": "yes"}, "redirects"),
        ({"redirects": 1}, "redirects"),
    ],
)
def test_refuses_with_the_reason(config: dict[str, Any], word: str) -> None:
    assert word in complaint(**{"url": URL, **config})


def test_a_refusal_repeats_no_secret() -> None:
    for config in (
        {"secret": "hunter22"},
        {"headers": {"X-T": "hunter22\n"}},
        {"username": "a:b", "password": "hunter22"},
    ):
        assert "hunter22" not in complaint(url=URL, **config)


def test_secrets_are_known_to_the_api() -> None:
    assert {"password", "secret", "old_secret", "headers", "proxy_password"} == HTTP.secrets


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(HTTP.names), JSON))
def test_no_configuration_does_worse_than_be_refused(config: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidValue):
        read({"url": URL, **config})
