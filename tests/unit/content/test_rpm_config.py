"""The configuration of a yum repository: all that the original client sends is accepted, invalid values are not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pulpit.content.rpm import lists
from pulpit.content.rpm.yum import Yum
from pulpit.errors import InvalidValue, UnsupportedValue

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n-----END PGP PUBLIC KEY BLOCK-----\n"

IMPORTER: dict[str, Any] = {
    "feed": "http://f/pub/zoo/",
    "validate": True,
    "type_skip_list": ["rpm", "drpm", "srpm", "distribution", "erratum"],
    "require_signature": True,
    "allowed_keys": ["0123ABCD", "0x0123456789abcdef"],
    "ssl_ca_cert": PEM,
    "ssl_client_cert": PEM,
    "ssl_client_key": PEM,
    "ssl_validation": False,
    "proxy_host": "http://proxy",
    "proxy_port": 3128,
    "proxy_username": "u",
    "proxy_password": "p",
    "basic_auth_username": "u",
    "basic_auth_password": "p",
    "max_downloads": 3,
    "max_speed": 1000,
    "remove_missing": True,
    "retain_old_count": 0,
    "download_policy": "immediate",
}
DISTRIBUTOR: dict[str, Any] = {
    "relative_url": "pub/zoo/",
    "http": False,
    "https": True,
    "skip": ["drpm"],
    "checksum_type": "sha256",
    "updateinfo_checksum_type": "sha1",
    "generate_sqlite": True,
    "repoview": True,
    "gpgkey": KEY,
    "https_ca": PEM,
    "auth_ca": PEM,
    "auth_cert": PEM,
    "protected": True,
}


def test_everything_that_the_original_client_sends_is_taken() -> None:
    Yum().check_importer_config(IMPORTER)
    Yum().check_distributor_config(DISTRIBUTOR)


@pytest.mark.parametrize("feed", ["http://f/mirrorlist?repo=zoo&arch=x86_64", "https://f/metalink"])
def test_a_feed_may_be_a_list_of_mirrors(feed: str) -> None:
    Yum().check_importer_config({"feed": feed})


@pytest.mark.parametrize(
    "change",
    [
        {"feed": "ftp://f/"},
        {"feed": "http://f/#part"},
        {"type_skip_list": ["cats"]},
        {"type_skip_list": "rpm"},
        {"retain_old_count": -1},
        {"retain_old_count": True},
        {"allowed_keys": ["nothing hexadecimal"]},
        {"allowed_keys": ["123"]},
        {"require_signature": "yes"},
        {"repo_gpgcheck": True},
        {"gpgkey": "secret"},
    ],
)
def test_what_cannot_work_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(change))):
        Yum().check_importer_config(IMPORTER | change)


@pytest.mark.parametrize(
    "change",
    [{"checksum_type": "crc32"}, {"relative_url": "../up"}, {"skip": ["cats"]}, {"http": "yes"}, {"gpgkey": "none"}],
)
def test_a_distributor_that_cannot_work_is_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(change))):
        Yum().check_distributor_config(DISTRIBUTOR | change)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(UnsupportedValue):
        Yum().check_importer_config({"colour": "green"})


def test_without_glib_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, lists.CREATEREPO, None)
    lists.createrepo.cache_clear()
    try:
        with pytest.raises(InvalidValue, match=r"need GLib on the server \(Debian: libglib2.0-0\)") as refused:
            Yum().check_importer_config(IMPORTER)
    finally:
        lists.createrepo.cache_clear()
    assert refused.value.property_names == ["importer_type_id"]


def test_the_macros_of_the_machine_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "rpmrc").write_text("")
    (tmp_path / "macros").write_text("%broken() %{lua:\n")
    environment = {**os.environ, "RPM_CONFIGDIR": str(tmp_path)}

    def said(program: str) -> str:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr

    assert "unterminated body" in said("import createrepo_c")
    assert not said("from pulpit.content.rpm.lists import createrepo; createrepo()")


def test_a_server_can_do_without_yum() -> None:
    program = (
        f"import sys; sys.modules[{lists.CREATEREPO!r}] = None\n"
        "from pulpit.server.content_types import content_types\n"
        "assert {'iso_importer', 'python_importer', 'yum_importer'} <= content_types().keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
