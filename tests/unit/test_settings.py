"""The configuration: accepted values, rejected values, and the messages."""

from pathlib import Path

import pytest

from pulpit.configuration import keys, load
from pulpit.errors import ConfigurationError


def test_no_file_at_all_is_fine() -> None:
    settings, warnings = load(None, {"PULP_SERVER_CONF": "/dev/null"}, {})
    assert (settings.server.host, settings.server.port, settings.broker.port) == ("127.0.0.1", 24880, 5672)
    assert settings.embedded_broker
    assert warnings == []


def test_a_file_of_pulp_2_is_understood_quotes_and_strange_keys_included(tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    text = "[messaging]\nurl: amqp://u:p@h:5673/v\ntopic_exchange: 'pulp'\ncacert: /ca\n[oauth]\nenabled: false\n"
    file.write_text(text + "[server]\nserver_name: here\n[email]\nfrom: a@b\nenabled: true\n")
    file.chmod(0o640)
    settings, warnings = load(file, {}, {})
    assert (settings.messaging.url, settings.messaging.topic_exchange) == ("amqp://u:p@h:5673/v", "pulp")
    assert (settings.email.sender, settings.email.enabled) == ("a@b", True)
    assert not settings.embedded_broker
    assert [warning.partition(": ")[2] for warning in warnings] == [
        "[oauth] enabled is unknown and was ignored",
        "[server] server_name is unknown and was ignored",
    ]


def test_misspelt_names_are_recognised(tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text("[server]\nprot: 1\ndatadir: /a\n[messagin]\nurl: amqp://u:pw@h\n[tasks]\nworker_timeout: 1\n")
    environment = {"PULPIT_PROT": "1", "PULPIT_URL": "http://h", "PULPIT_PASSWORD": "pw", "PULPIT_TOKEN": "t"}
    _, warnings = load(file, environment, {})
    assert [warning.removeprefix(f"{file}: ") for warning in warnings] == [
        "[messagin] url is unknown and was ignored; did you mean [messaging] url?",
        "[server] datadir is unknown and was ignored; did you mean [server] data_dir?",
        "[server] prot is unknown and was ignored; did you mean [server] port?",
        "[tasks] worker_timeout is unknown and was ignored",
        "PULPIT_PROT is unknown and was ignored; did you mean PULPIT_PORT?",
    ]


def test_an_ipv6_address_may_be_written_as_in_a_url() -> None:
    environment = {"PULP_SERVER_CONF": "/dev/null", "PULPIT_HOST": "[::1]", "PULPIT_BROKER_HOST": "::1"}
    settings, _ = load(None, environment, {})
    assert (settings.server.host, settings.broker.host) == ("::1", "::1")


def test_what_kubernetes_sets_for_a_service_called_pulpit_is_no_port() -> None:
    links = {"PULPIT_PORT": "tcp://10.0.0.1:24880", "PULPIT_BROKER_PORT": "tcp://10.0.0.2:5672"}
    environment = {
        "PULP_SERVER_CONF": "/dev/null",
        "PULPIT_SERVICE_HOST": "10.0.0.1",
        "PULPIT_SERVICE_PORT": "24880",
        **links,
    }
    settings, warnings = load(None, environment, {})
    assert (settings.server.port, settings.broker.port) == (24880, 5672)
    assert [warning.split()[0] for warning in warnings] == sorted(links)


def test_several_brokers_may_be_named(tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text("[messaging]\nurl: amqp://one, amqps://two\n")
    assert load(file, {}, {})[0].messaging.url == "amqp://one, amqps://two"
    file.write_text("[messaging]\nurl: amqp://one, http://two\n")
    with pytest.raises(ConfigurationError, match="amqp://"):
        load(file, {}, {})


def test_an_empty_url_turns_amqp_off_and_starts_no_broker(tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text("[messaging]\nurl:\n")
    settings, _ = load(file, {}, {})
    assert settings.messaging.url == ""
    assert not settings.embedded_broker


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text("[server]\nport: 1\nhost: a\ndata_dir: /a\n[broker]\nport: 4\n")
    environment = {"PULPIT_PORT": "2", "PULPIT_HOST": "b", "PULPIT_BROKER_PORT": "5"}
    settings, _ = load(file, environment, {("server", "port"): "3"})
    assert (settings.server.port, settings.server.host, settings.broker.port) == (3, "b", 5)
    assert settings.data_dir == Path("/a")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[server]\nport: many\n", "[server] port", "whole number, not 'many'"),
        ("[server]\nport: 70000\n", "[server] port", "from 0 to 65535"),
        ("[tasks]\nworkers: -1\n", "[tasks] workers", "from 0 to 64"),
        ("[email]\nenabled: perhaps\n", "[email] enabled", "true or false"),
        ("[messaging]\nurl: tomato://x\n", "[messaging] url", "amqp://"),
        ("[messaging]\nurl: amqp://localhost\nurl_file: /f\n", "[messaging] url_file", "keep one"),
        ("[server]\nlog_format: xml\n", "[server] log_format", "text, json"),
        ("[server]\nssl_key: /k\n", "[server] ssl_certificate", "needed together"),
        ("port: 1\n", "--config", "no section headers"),
        ("[server]\nport: 1\nport: 2\n", "--config", "already exists"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_key(tmp_path: Path, text: str, key: str, words: str) -> None:
    file = tmp_path / "server.conf"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load(file, {}, {})
    assert caught.value.key == key
    assert "\n" not in str(caught.value)


def test_a_secret_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text("[messaging]\nurl: http://u:hunter2@h\n")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[messaging]\nurl: amqps://u:hunter2@h\n", "[messaging] url"),
        ("[database]\nurl: postgresql://u:hunter2@h/d\n", "[database] url"),
        ("[email]\npassword: hunter2\n", "[email] password"),
        ("[email]\npassword:\n[messaging]\nurl: amqps://h:5671\n", None),
    ],
)
def test_a_password_that_others_can_read_is_warned_of(tmp_path: Path, text: str, key: str | None) -> None:
    file = tmp_path / "server.conf"
    file.write_text(text)
    file.chmod(0o644)
    warnings = load(file, {}, {})[1]
    assert [warning.removeprefix(f"{file}: ").partition(" holds")[0] for warning in warnings] == [key][
        : key is not None
    ]
    assert "hunter2" not in "".join(warnings)
    file.chmod(0o640)
    assert load(file, {}, {})[1] == []


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        load(tmp_path / "none", {}, {})
    with pytest.raises(ConfigurationError, match="there is no file"):
        load(None, {"PULP_SERVER_CONF": str(tmp_path / "none")}, {})


def test_every_key_says_what_it_means_and_numbers_have_a_unit() -> None:
    for key in keys():
        assert key.field.metadata["meaning"], key
        assert key.field.type is not int or key.field.metadata["unit"], key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("password geheim\n", "no section headers before line 1"),
        ("[messaging]\npassword geheim\n", "line 2 is no `key: value`"),
        ("[email]\nhost: mail\n\npassword geheim\nport: 25\nfrom geheim\n", "line 4, 6 is no"),
        ("[messaging]\nurl: a\nurl: amqp://joe:geheim@b\n", "the key in line 3 already exists"),
        ("[email]\n[email]\npassword: geheim\n", "the section in line 2 already exists"),
        ("[messaging]\nurl amqp://joe:geheim@host\nurl: geheim\n", "it must begin with amqp://"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_by_place_and_never_quoted(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "server.conf"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(path, {}, {})
    assert words in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_what_stands_before_a_stray_delimiter_is_not_shown(tmp_path: Path) -> None:
    """A password of which a piece is taken for a key."""
    path = tmp_path / "server.conf"
    path.write_text("[email]\npassword ge:heim\n")
    path.chmod(0o600)
    _, warnings = load(path, {}, {})
    assert len(warnings) == 1
    assert "ge" not in warnings[0].removeprefix(str(path)).split()


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    path.write_text("\ufeff[server]\nport: 7\n", encoding="utf-8")
    assert load(path, {}, {})[0].server.port == 7
