"""Holds events against their contract."""

import json
from typing import Any

import jsonschema

from pulpit import catalogue
from pulpit.events import EVENT_TYPES, Event


def check(event: Event) -> None:
    """Fail unless an event's body is what its schema says."""
    check_body(json.loads(event.body))


def check_body(body: dict[str, Any]) -> None:
    """Fail unless a body is what the schema of its type says; other systems' types have none."""
    if body["event_type"] in EVENT_TYPES:
        jsonschema.validate(body, catalogue.schema(body["event_type"]), jsonschema.Draft202012Validator)
