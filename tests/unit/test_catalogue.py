"""The event schemas are complete and valid, and every fired event matches its schema."""

import jsonschema
import pytest

from pulpit import catalogue
from pulpit.events import EVENT_TYPES, PULP_TYPES, star_covers
from pulpit.tasks.operations import OPERATIONS


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_every_type_has_a_valid_schema(event_type: str) -> None:
    jsonschema.Draft202012Validator.check_schema(catalogue.schema(event_type))


def test_a_body_without_what_is_promised_is_no_event() -> None:
    body = {"event_type": "repo.sync.finish", "payload": {"repo_id": "zoo"}, "call_report": None}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, catalogue.schema("repo.sync.finish"))


def test_the_star_covers_what_pulp_2_had_and_what_others_fire() -> None:
    assert {event_type for event_type in EVENT_TYPES if star_covers(event_type)} == PULP_TYPES
    assert star_covers("build.image.done")


def test_every_operation_of_a_worker_is_announced() -> None:
    """Queued by `tasks/queue.py:_add` and ended by `tasks/completion.py:end`; both fire, and no other queues."""
    assert OPERATIONS
    assert all(isinstance(task_type, str) for task_type in OPERATIONS)
