"""Consumers: named positions in the log, stored by the server for pulling clients.

PUT  /pulpit/v1/consumers/NAME                  create it, if it does not exist
GET  /pulpit/v1/events?consumer=NAME            the events after its position
POST /pulpit/v1/consumers/NAME/acknowledge      advance; unacknowledged events are sent again
POST /pulpit/v1/consumers/NAME/move             set the position, also backwards
"""

import re
from datetime import datetime
from typing import Final

from fastapi import Response
from pydantic import Field, StrictInt
from sqlalchemy import Connection

from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.services import NO_CONTENT, OK, Allowed, Asking, Provided, Services, returns
from pulpit.api.v1.models import Order
from pulpit.errors import ConflictingOperation, InvalidValue
from pulpit.store import consumers, event_log
from pulpit.store.consumers import Consumer

router: Final = Endpoints(prefix="/consumers", tags=["event log"])

MOST_CONSUMERS: Final = 1_000
"""Per user."""
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")
HEAD: Final = -1


class ConsumerOrder(Order):
    """Where a new consumer begins: after this number; -1 is the end of the log."""

    after: StrictInt = Field(default=HEAD, ge=HEAD, lt=2**63)


class MoveOrder(Order):
    """A consumer's new position: after this number; -1 is the end of the log."""

    after: StrictInt = Field(ge=HEAD, lt=2**63)


class AcknowledgeOrder(Order):
    """The number up to which everything was handled: an event's, or the `next` of a page."""

    number: StrictInt = Field(ge=0, lt=2**63)


class ConsumerDocument(Document):
    """A consumer and its lag."""

    name: str
    user: str
    position: int
    lag_events: int
    lag_seconds: float
    created_at: datetime
    acknowledged_at: datetime | None


class ConsumersPage(Document):
    """Consumers by user and name."""

    consumers: list[ConsumerDocument]


@router.get("", responses=returns(OK, ConsumersPage))
def list_consumers(services: Provided, user: Asking, rights: Allowed) -> ConsumersPage:
    """List one's own consumers with their lag, or as an administrator all."""
    with services.database.read() as connection:
        found = consumers.every(connection, None if rights.is_admin else user.login)
        return ConsumersPage(consumers=documents(connection, found, services))


@router.get("/{name}", responses=returns(OK, ConsumerDocument, 404))
def read_consumer(name: str, services: Provided, user: Asking) -> ConsumerDocument:
    """Show one consumer."""
    with services.database.read() as connection:
        return _document(connection, consumers.get(connection, user.login, name), services)


@router.put("/{name}", responses=returns(OK, ConsumerDocument, 400, 409))
def put_consumer(name: str, body: ConsumerOrder, services: Provided, user: Asking) -> ConsumerDocument:
    """Create a consumer, at the end of the log unless `after` says otherwise; an existing one is unchanged."""
    if not NAME.match(name):
        raise InvalidValue("name", "it has 1 to 100 letters, digits, '.', '-' and '_', and does not begin with '.'.")
    with services.database.write() as tx:
        position = _number(tx.connection, body.after)
        if consumers.find(tx.connection, user.login, name) is None:
            if consumers.count(tx.connection, user.login) >= MOST_CONSUMERS:
                raise ConflictingOperation(f"{user.login} has {MOST_CONSUMERS} consumers, which is the most.")
            consumers.add(tx, user.login, name, position, now=services.clock())
        return _document(tx.connection, consumers.get(tx.connection, user.login, name), services)


@router.post("/{name}/move", responses=returns(OK, ConsumerDocument, 400, 404))
def move_consumer(name: str, body: MoveOrder, services: Provided, user: Asking) -> ConsumerDocument:
    """Set a consumer's position, back or forward."""
    with services.database.write() as tx:
        consumers.get(tx.connection, user.login, name)
        consumers.move(tx, user.login, name, _number(tx.connection, body.after))
        return _document(tx.connection, consumers.get(tx.connection, user.login, name), services)


def _number(connection: Connection, after: int) -> int:
    """Return the number that is meant.

    Raises:
        InvalidValue: `after` is beyond the end of the log.
    """
    head = event_log.head(connection)
    if after > head:
        raise InvalidValue("after", f"the log ends with {head}.")
    return head if after == HEAD else after


@router.post("/{name}/acknowledge", responses=returns(OK, ConsumerDocument, 400, 404))
def acknowledge(name: str, body: AcknowledgeOrder, services: Provided, user: Asking) -> ConsumerDocument:
    """Advance a consumer to a number; a number before its position changes nothing."""
    with services.database.write() as tx:
        consumers.get(tx.connection, user.login, name)
        head = event_log.head(tx.connection)
        if body.number > head:
            raise InvalidValue("number", f"the log ends with {head}.")
        consumers.acknowledge(tx, user.login, name, body.number, now=services.clock())
        return _document(tx.connection, consumers.get(tx.connection, user.login, name), services)


@router.delete("/{name}", responses=returns(NO_CONTENT, None, 404))
def delete_consumer(name: str, services: Provided, asking: Asking, rights: Allowed, user: str = "") -> Response:
    """Delete a consumer; an administrator may name its owner."""
    login = user if user and rights.is_admin else asking.login
    with services.database.write() as tx:
        consumers.remove(tx, login, name)
    return Response(status_code=NO_CONTENT)


def documents(connection: Connection, found: list[Consumer], services: Services) -> list[ConsumerDocument]:
    """Return consumers with their lag, computed as for listeners."""
    head, now = event_log.head(connection), services.clock()
    behind = event_log.times_after(connection, {consumer.position for consumer in found if consumer.position < head})

    def seconds(position: int) -> float:
        since = behind.get(position)
        return round(max(0.0, (now - since).total_seconds()), 3) if since else 0.0

    return [
        ConsumerDocument(
            name=consumer.name,
            user=consumer.login,
            position=consumer.position,
            lag_events=max(0, head - consumer.position),
            lag_seconds=seconds(consumer.position),
            created_at=consumer.created_at,
            acknowledged_at=consumer.acknowledged_at,
        )
        for consumer in found
    ]


def _document(connection: Connection, consumer: Consumer, services: Services) -> ConsumerDocument:
    [document] = documents(connection, [consumer], services)
    return document
