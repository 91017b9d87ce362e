"""Where pulp-admin finds the server and the password."""

from pathlib import Path

import pytest

from pulpit import configuration
from pulpit.client.failures import WrongSettings, WrongUse
from pulpit.client.settings import DEFAULT_URL, Credentials, Options, Settings, load
from pulpit.errors import ConfigurationError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def loaded(home: Path, options: Options | None = None, **environment: str) -> Settings:
    known = {"PULPIT_DATA_DIR": str(home / "data"), **environment}
    return load(options or Options(), known, lambda user: f"asked for {user}", home / "no-such-file")


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_with_nothing_said_it_is_the_server_of_this_machine(home: Path) -> None:
    settings = loaded(home)
    assert settings.url.geturl() == DEFAULT_URL
    assert settings.credentials is None
    assert settings.verify


def test_the_administrators_password_is_found_in_the_data_folder(home: Path) -> None:
    private(home / "data" / "admin-password", "s3cret\n")
    assert loaded(home).credentials == Credentials(user="admin", password="s3cret", is_first=True)


def test_a_password_that_others_can_read_is_refused(home: Path) -> None:
    private(home / "data" / "admin-password", "s3cret\n", 0o640)
    with pytest.raises(WrongSettings, match="chmod 600"):
        loaded(home)


def test_the_local_password_is_never_sent_to_another_machine(home: Path) -> None:
    private(home / "data" / "admin-password", "s3cret\n")
    assert loaded(home, Options(url="https://pulp.example.com")).credentials is None
    assert loaded(home, Options(url="http://[::1]:24880")).credentials is not None


def test_options_go_before_environment_before_file(home: Path) -> None:
    private(home / ".pulp" / "admin.conf", "[server]\nhost = conf\n[auth]\nusername: c\npassword: cp\n")
    assert loaded(home).url.geturl() == "https://conf:443"
    assert loaded(home).credentials == Credentials(user="c", password="cp")
    there = loaded(home, PULPIT_URL="http://env:1", PULPIT_PASSWORD="ep")
    assert (there.url.netloc, there.credentials) == ("env:1", Credentials(user="admin", password="ep"))
    option = loaded(home, Options(url="http://opt", username="o", password="op"), PULPIT_URL="x", PULPIT_PASSWORD="ep")
    assert (option.url.netloc, option.credentials) == ("opt", Credentials(user="o", password="op"))


def test_a_user_without_a_password_is_asked(home: Path) -> None:
    assert loaded(home, Options(username="u")).credentials == Credentials(user="u", password="asked for u")
    assert loaded(home, Options(username="u"), PULPIT_PASSWORD="e").credentials == Credentials(user="u", password="e")


def test_a_password_without_a_user_is_wrong_use(home: Path) -> None:
    with pytest.raises(WrongUse):
        loaded(home, Options(password="p"))


def test_a_password_file_must_be_private(home: Path) -> None:
    path = private(home / "pw", "secret\nmore")
    assert loaded(home, Options(username="u", password_file=path)).credentials == Credentials(
        user="u", password="secret"
    )
    path.chmod(0o644)
    with pytest.raises(WrongSettings, match="chmod 600"):
        loaded(home, Options(username="u", password_file=path))


def test_pulp2s_admin_conf_is_understood(home: Path) -> None:
    path = private(
        home / "a.conf",
        "[server]\nhost: pulp.example.com\nport: 8443\nverify_ssl: False\nca_path: ~/ca.pem\napi_prefix: /other/api\n"
        "[output]\npoll_frequency_in_seconds: 0.25\nenable_color: true\n",
    )
    settings = loaded(home, Options(config=path))
    assert settings == Settings(
        url=settings.url, prefix="/other/api", verify=False, ca_path=home / "ca.pem", poll_seconds=0.25
    )
    assert settings.url.geturl() == "https://pulp.example.com:8443"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[server]\nverify_ssl: maybe\n", "verify_ssl"),
        ("[output]\npoll_frequency_in_seconds: -1\n", "poll_frequency"),
        ("[output]\npoll_frequency_in_seconds: nan\n", "poll_frequency"),
        ("no section", "cannot be read"),
        ("[server]\nhost: a b\nport: x\n", "address"),
        ("[server]\nurl: ftp://x\n", "address"),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(home: Path, text: str, names: str) -> None:
    with pytest.raises(WrongSettings, match=names) as raised:
        loaded(home, Options(config=private(home / "a.conf", text)))
    assert "\n" not in str(raised.value)


def test_a_config_that_was_named_must_exist(home: Path) -> None:
    with pytest.raises(WrongSettings, match=r"absent\.conf cannot be read"):
        loaded(home, Options(config=home / "absent.conf"))


def test_a_configured_password_that_everybody_can_read_is_refused(home: Path) -> None:
    path = private(home / "a.conf", "[auth]\nusername: u\npassword: p\n", 0o644)
    with pytest.raises(WrongSettings, match="chmod"):
        loaded(home, Options(config=path))


@pytest.mark.parametrize(
    "url", ["localhost:24880", "http://", "http://h:x", "http://u:p@h", "http://[::1", "http://h:0"]
)
def test_an_address_that_cannot_be_is_refused(home: Path, url: str) -> None:
    with pytest.raises(WrongSettings) as raised:
        loaded(home, Options(url=url))
    assert "u:p" not in str(raised.value) or "user" in str(raised.value)


def test_secrets_stay_out_of_texts() -> None:
    assert "geheim" not in repr(Credentials(user="u", password="geheim"))
    assert "geheim" not in repr(Options(password="geheim"))


SECRETS = [
    "http://joe:s3cr/et@host:x/",
    "ftp://joe:s3cret@host/",
    "http://joe:s3cret@host/",
    "http://joe:s3cret@[::1",
    "joe:s3cret@host",
    "http://joe:s3cret@host:99999/",
]


@pytest.mark.parametrize("url", SECRETS)
def test_b6_an_address_that_cannot_be_read_is_not_quoted(url: str, tmp_path: Path) -> None:
    conf = tmp_path / "admin.conf"
    conf.write_text(f"[server]\nurl: {url}\n")
    for options, environment in (
        (Options(url=url), {}),
        (Options(), {"PULPIT_URL": url}),
        (Options(config=conf), {}),
    ):
        with pytest.raises(WrongSettings) as caught:
            load(options, environment, lambda _: "", tmp_path / "none")
        assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("password s3cret\n", "no section headers before line 1"),
        ("[auth]\nusername: joe\npassword s3cret\n", "line 3 is no `key: value`"),
        ("[auth]\npassword: s3cret\npassword: s3cret2\n", "the key in line 3 already exists"),
        ("[auth]\n[auth]\npassword: s3cret", "the section in line 2 already exists"),
        ("[auth\npassword: s3cret", "line 1"),
    ],
)
def test_b6_a_file_that_cannot_be_read_is_not_quoted(text: str, words: str, tmp_path: Path) -> None:
    conf = tmp_path / "admin.conf"
    conf.write_text(text)
    with pytest.raises(WrongSettings, match=words) as caught:
        load(Options(config=conf), {}, lambda _: "", tmp_path / "none")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=words) as refused:
        configuration.load(conf, {}, {})
    assert "s3cret" not in str(refused.value)
