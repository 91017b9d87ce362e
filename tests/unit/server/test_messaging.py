"""The connection to an external broker as the configuration describes it."""

from pathlib import Path

import pytest

from pulpit.amqp.address import BrokerAddress
from pulpit.configuration import load
from pulpit.errors import ConfigurationError
from pulpit.server.messaging import broker_addresses, trust
from pulpit.settings import MessagingSettings

SECRET = "hunter2"


def places(section: MessagingSettings) -> list[str]:
    return [str(address) for address in broker_addresses(section)]


def test_several_brokers_keep_their_order() -> None:
    assert places(MessagingSettings(url="amqp://localhost, amqps://two")) == [
        "amqp://localhost:5672",
        "amqps://two:5671",
    ]
    assert places(MessagingSettings(url="")) == places(MessagingSettings()) == []


def test_a_password_that_would_travel_unencrypted_is_refused_by_name_of_the_key() -> None:
    section = MessagingSettings(url=f"amqps://u:{SECRET}@one, amqp://u:{SECRET}@two")
    with pytest.raises(ConfigurationError, match=r"\[messaging\] allow_plain_without_tls") as refused:
        broker_addresses(section)
    assert refused.value.key == "[messaging] url"
    assert "two" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_it_travels_where_the_key_allows_it() -> None:
    assert places(MessagingSettings(url="amqp://two", allow_plain_without_tls=True)) == ["amqp://two:5672"]


def private(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_the_address_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    section = MessagingSettings(url_file=private(tmp_path / "url", f"amqps://u:{SECRET}@one, amqp://localhost\nmore\n"))
    assert places(section) == ["amqps://one:5671", "amqp://localhost:5672"]
    with pytest.raises(ConfigurationError, match="must begin with amqp") as refused:
        broker_addresses(MessagingSettings(url_file=private(tmp_path / "url", f"{SECRET}\n")))
    assert refused.value.key == "[messaging] url_file"
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("amqps://one", "bob", "p/w:@,#%é"),
        ("amqps://ann@one:1/vhost", "ann", "p/w:@,#%é"),
        ("amqps://ann:own@one", "ann", "own"),
    ],
)
def test_user_and_password_of_their_own_keys_fill_what_the_url_leaves_open(
    tmp_path: Path, url: str, user: str, password: str
) -> None:
    secret = private(tmp_path / "password", "p/w:@,#%é\n")
    (found,) = broker_addresses(MessagingSettings(url=url, username="bob", password_file=secret))
    assert (found.user, found.password, found.host) == (user, password, "one")


def test_a_file_with_a_secret_must_be_closed_to_others(tmp_path: Path) -> None:
    secret = Path(private(tmp_path / "password", SECRET))
    secret.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600") as refused:
        broker_addresses(MessagingSettings(url="amqps://one", username="u", password_file=str(secret)))
    assert refused.value.key == "[messaging] password_file"
    with pytest.raises(ConfigurationError, match=r"url_file: .* cannot be read"):
        broker_addresses(MessagingSettings(url_file=str(tmp_path / "absent")))


@pytest.mark.parametrize(
    "url",
    [
        f"amqps://u:{SECRET}/x@one",
        f"amqps://u:{SECRET}@one:x",
        "amqps://u@[::1",
        "amqp://h:0",
        "amqp://joe@localhost/",
        "amqp://localhost/?nope=1",
        "amqp://localhost/?heartbeat=x",
        f"amqp://joe:{SECRET}@",
    ],
)
def test_an_address_that_cannot_be_used_stops_the_start_and_is_not_repeated(url: str) -> None:
    """Judged when the configuration is read, by the parser that everything uses."""
    with pytest.raises(ConfigurationError) as refused:
        load(Path("/dev/null"), {"PULPIT_MESSAGING_URL": url}, {})
    assert refused.value.key == "[messaging] url"
    assert SECRET not in str(refused.value)


def test_a_user_may_have_the_password_in_a_file_of_its_own() -> None:
    environment = {"PULPIT_MESSAGING_URL": "amqp://joe@localhost", "PULPIT_MESSAGING_PASSWORD_FILE": "/etc/secret"}
    load(Path("/dev/null"), environment, {})


@pytest.mark.parametrize("key", ["cacert", "clientcert"])
def test_files_for_tls_that_cannot_be_used_are_named(tmp_path: Path, key: str) -> None:
    for text, words in ((None, "cannot be read"), ("nothing", "holds no certificate")):
        path = tmp_path / "pem"
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigurationError, match=words) as refused:
            url = "amqps://one"
            trust(
                MessagingSettings(url=url, cacert=str(path))
                if key == "cacert"
                else MessagingSettings(url=url, clientcert=str(path))
            )
        assert refused.value.key == f"[messaging] {key}"


@pytest.mark.parametrize(
    ("url", "transport", "is_10"),
    [
        ("amqp://localhost", "", False),
        ("amqps://one", "amqp091", False),
        ("amqp://localhost", "amqp10", True),
        ("amqp+10://localhost, amqps+10://two", "", True),
        ("qpid://localhost", "", True),
        ("tcp://localhost", "", True),
        ("tcp://localhost", "qpid", True),
        ("tcp://localhost:5672", "rabbitmq", False),
        ("ssl://one", "rabbitmq", False),
        ("amqps://one", "rabbitmq", False),
    ],
)
def test_the_version_of_amqp_is_named_or_goes_by_the_url(url: str, transport: str, is_10: bool) -> None:
    assert {address.speaks_10 for address in broker_addresses(MessagingSettings(url=url, transport=transport))} == {
        is_10
    }


def test_what_contradicts_itself_is_said() -> None:
    with pytest.raises(ConfigurationError, match="the transport is rabbitmq"):
        broker_addresses(MessagingSettings(url="amqp+10://localhost", transport="rabbitmq"))
    with pytest.raises(ConfigurationError, match="some of the URLs mean AMQP 0-9-1"):
        broker_addresses(MessagingSettings(url="amqp+10://localhost, amqp://localhost"))


def test_pulps_own_schemes_are_those_of_0_9_1_where_its_transport_was_rabbitmq() -> None:
    section = MessagingSettings(url="tcp://localhost:5673, ssl://two", transport="rabbitmq")
    assert places(section) == ["amqp://localhost:5673", "amqps://two:5671"]
    with pytest.raises(ConfigurationError, match="allow_plain_without_tls"):
        broker_addresses(MessagingSettings(url="tcp://two", transport="rabbitmq"))


def test_over_1_0_only_a_password_needs_tls() -> None:
    section = MessagingSettings(url="qpid://two, ssl://ann:x@three/vhost")
    assert list(broker_addresses(section)) == [
        BrokerAddress(host="two", port=5672, speaks_10=True),
        BrokerAddress(
            host="three", port=5671, tls=True, user="ann", password="x", virtual_host="vhost", speaks_10=True
        ),
    ]
    with pytest.raises(ConfigurationError, match="allow_plain_without_tls"):
        broker_addresses(MessagingSettings(url="qpid://ann:x@two"))
    broker_addresses(MessagingSettings(url="qpid://ann:x@two", allow_plain_without_tls=True))
