"""The contract of events, for programs: a JSON Schema of every type, and the AMQP side as a whole."""

from typing import Any, Final

from fastapi import APIRouter

from pulpit import __version__, catalogue
from pulpit.api.endpoints import OK, answers
from pulpit.errors import MissingResource
from pulpit.events import EVENT_TYPES

router: Final = APIRouter(prefix="/schemas", tags=["schemas"])


@router.get("", operation_id="list_schemas", responses=answers(OK, dict[str, Any]))
def list_schemas() -> dict[str, Any]:
    """Show the schema of every type, by type."""
    return {event_type: catalogue.schema(event_type) for event_type in sorted(EVENT_TYPES)}


@router.get("/asyncapi", operation_id="read_asyncapi", responses=answers(OK, dict[str, Any]))
def read_asyncapi() -> dict[str, Any]:
    """Show the AMQP side as an AsyncAPI 3 document."""
    return catalogue.asyncapi(__version__)


@router.get("/{event_type}", operation_id="read_schema", responses=answers(OK, dict[str, Any], 404))
def read_schema(event_type: str) -> dict[str, Any]:
    """Show the schema of one type's body."""
    if event_type not in EVENT_TYPES:
        raise MissingResource(event_type=event_type)
    return catalogue.schema(event_type)
