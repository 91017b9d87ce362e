"""Dead letters: see them, have them sent again, or throw them away."""

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from pulpit.api.endpoints import ACCEPTED, OK, Provided, answers
from pulpit.api.services import Services
from pulpit.api.v1.shapes import (
    CountShape,
    DeadLetterShape,
    DeadLettersShape,
    FullDeadLetterShape,
    LettersOrder,
    event_shape,
)
from pulpit.errors import InvalidValue, MissingValue
from pulpit.store import dead_letters, event_log, listeners

router: Final = APIRouter(prefix="/listeners/{listener_id}/dead-letters", tags=["dead letters"])

MOST_IDS: Final = 1000

Limit = Annotated[int, Query(ge=1, le=dead_letters.MOST)]
Ids = Annotated[list[str] | None, Query(alias="id", max_length=MOST_IDS)]


@router.get("", operation_id="list_dead_letters", responses=answers(OK, DeadLettersShape, 400, 404))
def list_dead_letters(listener_id: str, services: Provided, limit: Limit = 100) -> DeadLettersShape:
    """List the dead letters of a listener by the number of their events."""
    with services.database.read() as connection:
        listeners.get(connection, listener_id)
        found = dead_letters.of_listener(connection, listener_id, limit=limit)
        total = dead_letters.counts(connection).get(listener_id, 0)
    return DeadLettersShape(dead_letters=[DeadLetterShape.model_validate(each) for each in found], total=total)


@router.get("/{letter_id}", operation_id="read_dead_letter", responses=answers(OK, FullDeadLetterShape, 404))
def read_dead_letter(listener_id: str, letter_id: str, services: Provided) -> FullDeadLetterShape:
    """Show one dead letter with its event."""
    with services.database.read() as connection:
        letter = dead_letters.get(connection, listener_id, letter_id)
        event = event_log.get(connection, letter.event_number)
    shown = DeadLetterShape.model_validate(letter).model_dump()
    return FullDeadLetterShape(**shown, event=None if event is None else event_shape(event))


@router.post(
    "/send-again",
    operation_id="send_dead_letters_again",
    status_code=ACCEPTED,
    responses=answers(ACCEPTED, CountShape, 400, 404),
)
def send_again(listener_id: str, body: LettersOrder, services: Provided) -> CountShape:
    """Have some dead letters, or all, tried once more; each that is delivered goes away."""
    ids = _chosen(body.ids, everything=body.all)
    with services.database.write() as tx:
        _check(tx.connection, listener_id, ids)
        return CountShape(count=dead_letters.send_again(tx, listener_id, ids))


@router.delete("", operation_id="drop_dead_letters", responses=answers(OK, CountShape, 400, 404))
def drop(
    listener_id: str,
    services: Provided,
    ids: Ids = None,
    everything: Annotated[bool, Query(alias="all")] = False,
) -> CountShape:
    """Throw some dead letters away, or all."""
    return _drop(listener_id, _chosen(ids, everything=everything), services)


def _drop(listener_id: str, ids: Sequence[str] | None, services: Services) -> CountShape:
    with services.database.write() as tx:
        _check(tx.connection, listener_id, ids)
        return CountShape(count=dead_letters.drop(tx, listener_id, ids))


def _chosen(ids: Sequence[str] | None, *, everything: bool) -> Sequence[str] | None:
    """The ids that are meant, `None` for all."""
    if everything and ids is not None:
        raise InvalidValue("all", "name some dead letters, or say all.")
    if not everything and not ids:
        raise MissingValue("ids")
    return None if everything else ids


def _check(connection: Connection, listener_id: str, ids: Sequence[str] | None) -> None:
    """Refuse ids that nobody knows, before anything is done.

    Raises:
        MissingResource: `event_listener` or `dead_letter`.
    """
    listeners.get(connection, listener_id)
    for letter_id in ids or ():
        dead_letters.get(connection, listener_id, letter_id)
