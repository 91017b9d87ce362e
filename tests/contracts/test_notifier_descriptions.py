"""Every notifier describes what it would send: JSON without secrets, without connecting."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.amqp.amqp10.client import ClientSettings
from pulpit.amqp.amqp10.publisher import Publisher as Publisher10
from pulpit.clock import system_clock
from pulpit.delivery.notifiers import amqp_listener, email_config
from pulpit.delivery.notifiers.amqp091 import Amqp091
from pulpit.delivery.notifiers.amqp10 import Amqp10
from pulpit.delivery.notifiers.email import Email
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.kinds import SwitchedOff
from pulpit.delivery.notifiers.port import NotifierType
from pulpit.listener_options import AMQP, EMAIL
from pulpit.settings import EmailSettings
from support.made_events import event

HUSH = "hush-hush"
HOOK = {
    "url": "https://user.example.com/hook",
    "username": "me",
    "password": HUSH,
    "headers": {"X-Token": HUSH},
    "secret": "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2g=",
}
MAIL = {"addresses": ["a@example.com", "b@example.com"], "subject": "{event_type} of {repo_id}", "digest": "15m"}


def _amqp() -> NotifierType:
    far = BrokerAddress(host="127.0.0.1", port=1, user="guest", password=HUSH)
    return Amqp091(Publisher([far]), "amq.topic", source="/pulpit/test")


def _amqp10() -> NotifierType:
    far = BrokerAddress(host="127.0.0.1", port=1, user="guest", password=HUSH)
    return Amqp10(Publisher10([far], ClientSettings(name="test")), "amq.topic", source="/pulpit/test")


KINDS: list[tuple[str, Callable[[], NotifierType], Mapping[str, Any], set[str]]] = [
    ("amqp", _amqp, {"exchange": "pulp"}, {"broker", "exchange", "routing_key", "properties", "body"}),
    (
        "amqp 1.0",
        _amqp10,
        {"exchange": "pulp"},
        {"broker", "exchange", "address", "properties", "application_properties", "body"},
    ),
    ("amqp off", lambda: SwitchedOff(AMQP, amqp_listener.check_config, "Off."), {}, set()),
    ("http", lambda: Http(system_clock), HOOK, {"method", "url", "headers", "body"}),
    ("http misconfigured", lambda: Http(system_clock), {}, set()),
    ("email", lambda: Email(EmailSettings(), system_clock), MAIL, {"server", "from", "to", "subject", "message"}),
    ("email off", lambda: SwitchedOff(EMAIL, email_config.read, "Off."), MAIL, set()),
]


@pytest.mark.parametrize(("make", "config", "keys"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS])
def test_what_would_be_sent_is_said(
    make: Callable[[], NotifierType], config: Mapping[str, Any], keys: set[str]
) -> None:
    async def story() -> dict[str, Any]:
        kind = make()
        notifier = kind.open(config)
        try:
            return notifier.describe(event(7, result="success"))
        finally:
            await notifier.close()
            await kind.close()

    described = asyncio.run(story())
    assert set(described) == keys
    assert HUSH not in json.dumps(described)


def test_a_letter_is_shown_whole() -> None:
    described = Email(EmailSettings(), system_clock).open(MAIL).describe(event(7, result="success"))
    assert (described["to"], described["subject"]) == (MAIL["addresses"], "repo.sync.finish of zoo")
    assert "Subject: repo.sync.finish of zoo" in described["message"]
