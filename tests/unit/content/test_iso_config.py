"""Configurations of importer and distributor are checked when they are given."""

from typing import Any

import pytest

from pulpit.content.feed import Feed
from pulpit.content.iso import Iso
from pulpit.errors import InvalidValue, UnsupportedValue

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"feed": None},
        {"feed": "http://host/folder/"},
        {"feed": "https://user:password@host:8443/a%20b"},
        {"feed": "http://[::1]:8080/"},
        {"ssl_client_cert": PEM, "ssl_client_key": PEM, "ssl_ca_cert": PEM, "ssl_validation": False},
        {"proxy_host": "proxy", "proxy_port": 3128, "proxy_username": "a", "proxy_password": "b"},
        {"max_downloads": 4, "max_speed": 1000.5, "remove_missing": True, "validate": True},
        {"download_policy": "on_demand", "force_full": True},
    ],
)
def test_an_importer_takes(config: dict[str, Any]) -> None:
    Iso().check_importer_config(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feed", "ftp://host/"),
        ("feed", "file:///etc/"),
        ("feed", "host/folder"),
        ("feed", "http:///folder"),
        ("feed", "http://host:99999/"),
        ("feed", "http://host/?query"),
        ("feed", "http://host/\nX: y"),
        ("feed", " http://host/"),
        ("feed", "http://host/ "),
        ("feed", "http://host/a folder/"),
        ("feed", 5),
        ("ssl_ca_cert", "/path/to/file"),
        ("ssl_client_key", PEM),
        ("ssl_validation", "yes"),
        ("proxy_host", 5),
        ("proxy_port", 0),
        ("proxy_port", True),
        ("proxy_password", "without a user"),
        ("basic_auth_password", "without a user"),
        ("max_downloads", 0),
        ("max_downloads", "many"),
        ("max_downloads", 101),
        ("max_speed", -1),
        ("max_speed", float("nan")),
        ("remove_missing", 1),
        ("download_policy", "never"),
    ],
)
def test_an_importer_refuses(name: str, value: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        Iso().check_importer_config({name: value})
    assert caught.value.property_names == [name]


def test_unknown_keys_are_named() -> None:
    with pytest.raises(UnsupportedValue) as caught:
        Iso().check_importer_config({"fead": "http://host/", "feed": "http://host/"})
    assert caught.value.property_names == ["fead"]


@pytest.mark.parametrize(
    ("value", "place"), [(None, "zoo"), ("", "zoo"), ("a/b", "a/b"), ("/zoo", "zoo"), ("a/b/", "a/b")]
)
def test_a_distributor_publishes_at(value: str | None, place: str) -> None:
    config = {"relative_url": value, "serve_http": True, "serve_https": False}

    Iso().check_distributor_config(config)

    assert Iso().relative_url("zoo", config) == place


@pytest.mark.parametrize("value", ["../a", "a/../b", "a//b", ".", "a\nb", "/", 5, "a" * 300])
def test_a_distributor_refuses(value: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        Iso().check_distributor_config({"relative_url": value})
    assert caught.value.property_names == ["relative_url"]


@pytest.mark.parametrize(
    ("host", "port", "proxy"),
    [
        ("proxy", 3128, "http://proxy:3128"),
        ("http://proxy/", 3128, "http://proxy:3128"),
        ("https://proxy", None, "https://proxy"),
        (None, None, None),
    ],
)
def test_a_proxy_is_named_with_or_without_its_scheme(host: str | None, port: int | None, proxy: str | None) -> None:
    feed = Feed.of({"feed": "http://host/x", "proxy_host": host, "proxy_port": port})

    assert feed is not None
    assert (feed.url, feed.proxy) == ("http://host/x/", proxy)
