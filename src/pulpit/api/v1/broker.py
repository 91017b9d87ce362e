"""A look into the embedded broker: what there is, how much of it, and who is connected."""

from typing import Any, Final

from fastapi import APIRouter

from pulpit.api.endpoints import OK, Provided, answers
from pulpit.errors import MissingResource

router: Final = APIRouter(prefix="/broker", tags=["broker"])

PARTS: Final = ("queues", "exchanges", "bindings", "connections")


@router.get("", operation_id="read_broker", responses=answers(OK, dict[str, Any], 404))
def read_broker(services: Provided) -> dict[str, Any]:
    """Show the embedded broker: memory, rates, queues, exchanges, bindings and connections.

    Sizes are bytes, rates messages a second within the last second. 404 where the events go to a broker of your own.
    """
    if services.broker_status is None:
        raise MissingResource(broker="embedded")
    return services.broker_status()
