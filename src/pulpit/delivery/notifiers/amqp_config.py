"""What an amqp listener is, whichever version of AMQP carries its events: its configuration and its pace."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from pulpit.delivery.notifiers.port import Pace
from pulpit.errors import InvalidValue
from pulpit.events import Event

PACE: Final = Pace(batch=500, overlap=2, first_retry=timedelta(seconds=0.5), longest_retry=timedelta(seconds=15))
OF_THE_BROKER: Final = "amq."
"""Begins the names of exchanges that belong to brokers, and are never created (AMQP 0-9-1 section 3.1.3)."""
LONGEST_NAME: Final = 127
"""Bytes of an exchange name (AMQP 0-9-1, domain `exchange-name`), and of a template for routing keys."""
LONGEST_KEY: Final = 255
"""Bytes of a routing key (AMQP 0-9-1, a short string)."""
KEYS: Final = ("exchange", "routing_key", "require_route")
PLACEHOLDERS: Final = ("event_type", "repo_id", "result")
"""What a template for routing keys may hold, in braces."""
NOTHING: Final = "_"
"""Stands for what an event does not have, so that the number of words stays the same."""


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse unknown keys and values that AMQP does not allow.

    Raises:
        InvalidValue: `notifier_config`.
    """
    strangers = sorted(config.keys() - KEYS)
    if strangers:
        raise InvalidValue("notifier_config", f"an amqp listener has no {', '.join(strangers)}, but {', '.join(KEYS)}.")
    for key in ("exchange", "routing_key"):
        text = config.get(key)
        if text is not None and not isinstance(text, str):
            raise InvalidValue("notifier_config", f"{key} must be text.")
        if text and (len(text.encode()) > LONGEST_NAME or not text.isprintable()):
            raise InvalidValue(
                "notifier_config", f"{key} must be at most {LONGEST_NAME} bytes of printable characters."
            )
    unknown = [name for name in re.findall(r"{([^}]*)}", config.get("routing_key") or "") if name not in PLACEHOLDERS]
    if unknown:
        names = ", ".join(PLACEHOLDERS)
        raise InvalidValue("notifier_config", f"routing_key has no {unknown[0]!r} to fill in; there are {names}.")
    if not isinstance(config.get("require_route", False), bool):
        raise InvalidValue("notifier_config", "require_route must be true or false.")


def routing_key(event: Event, template: str | None) -> str:
    """The key (0-9-1) or subject (1.0) of an event: its own, or that of the listener's template, cut at 255 bytes."""
    if template is None:
        return event.subject
    key = template
    for name in PLACEHOLDERS:
        key = key.replace(f"{{{name}}}", getattr(event, name) or NOTHING)
    return key.encode()[:LONGEST_KEY].decode(errors="ignore")
