"""Event listeners: which events are sent where, by which notifier (Pulp 2's listener manager, rule by rule)."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from pulpit.api.endpoints import Endpoints
from pulpit.api.listeners import (
    DeliveryState,
    ListenerFilters,
    PageSize,
    PageStart,
    delivery_states,
    given_filters,
    owner_seen,
)
from pulpit.api.redaction import masked, merged
from pulpit.api.services import CREATED, OK, Allowed, Asking, Provided, Services, returns
from pulpit.api.v2.models import V2, ListenerChanges, ListenerDocument, NewListener
from pulpit.errors import InvalidValue
from pulpit.events import check_event_types
from pulpit.store import listeners
from pulpit.store.listeners import Listener

router: Final = Endpoints(prefix="/events", tags=["event listeners"])

_CONFIG: Final = "notifier_config"


@router.post("/", responses=returns(CREATED, ListenerDocument, 400))
def create_listener(body: NewListener, services: Provided, user: Asking, rights: Allowed) -> JSONResponse:
    """Create a listener that begins with the next event to be fired.

    One that an operator creates belongs to that user, and only gets events that the user may see.
    """
    event_types = check_event_types(body.event_types)
    type_id = body.notifier_type_id
    if not isinstance(type_id, str) or type_id not in services.listener_types:
        raise InvalidValue("notifier_type_id", "there is no such type of notifier.")
    config = _config({}, body.notifier_config, type_id, services)
    filters = given_filters(body)
    if not rights.is_admin:
        filters |= {"owner": user.login, "visible": rights.visible()}
    with services.database.write() as tx:
        made = listeners.add(tx, type_id, config, event_types, now=services.clock(), **filters)
        [document] = _documents(tx.connection, [made], services)
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@router.get("/", responses=returns(OK, list[ListenerDocument], 400))
def list_listeners(
    services: Provided, user: Asking, rights: Allowed, limit: PageSize = None, after: PageStart = ""
) -> JSONResponse:
    """List the listeners, oldest first, all or page by page; users who may not read everything see their own."""
    with services.database.read() as connection:
        found = listeners.every(connection, after=after, limit=limit, owner=owner_seen(user, rights))
        return JSONResponse(_documents(connection, found, services))


@router.get("/{listener_id}/", responses=returns(OK, ListenerDocument, 404))
def read_listener(listener_id: str, services: Provided) -> JSONResponse:
    """Show one listener."""
    with services.database.read() as connection:
        [document] = _documents(connection, [listeners.get(connection, listener_id)], services)
    return JSONResponse(document)


@router.put("/{listener_id}/", responses=returns(OK, ListenerDocument, 400, 404))
def update_listener(listener_id: str, body: ListenerChanges, services: Provided) -> JSONResponse:
    """Change the configuration key by key and replace the event types; the notifier type cannot change."""
    while True:
        with services.database.read() as connection:
            listener = listeners.get(connection, listener_id)
        columns = given_filters(body)
        if body.event_types is not None:
            columns["event_types"] = check_event_types(body.event_types)
        if body.notifier_config is not None:  # checked outside any transaction: a plug-in may be slow
            old = listener.notifier_config
            columns[_CONFIG] = _config(old, body.notifier_config, listener.notifier_type_id, services)
        with services.database.write() as tx:
            if listeners.get(tx.connection, listener_id).notifier_config != listener.notifier_config:
                continue  # changed concurrently
            changed = listeners.change(tx, listener_id, **columns) if columns else listener
            [document] = _documents(tx.connection, [changed], services)
        return JSONResponse(document)


@router.delete("/{listener_id}/", responses=returns(OK, None, 404))
def delete_listener(listener_id: str, services: Provided) -> JSONResponse:
    """Delete a listener with its dead letters."""
    with services.database.write() as tx:
        listeners.remove(tx, listener_id)
    return JSONResponse(None)


def _config(old: dict[str, Any], delta: object, type_id: str, services: Services) -> dict[str, Any]:
    if delta is not None and not isinstance(delta, dict):
        raise InvalidValue(_CONFIG, "it must be an object.")
    kinds = services.listener_types
    config = merged(old, delta or {}, kinds.secret_keys(type_id, old), property_name=_CONFIG)
    kinds.check_config(type_id, config)
    return config


def _documents(connection: Connection, found: Sequence[Listener], services: Services) -> list[dict[str, Any]]:
    states = delivery_states(connection, found, services)
    return [_document(listener, states[listener.id], services) for listener in found]


def _document(listener: Listener, delivery: DeliveryState, services: Services) -> dict[str, Any]:
    """Return a listener with its secrets masked, and the state of its delivery.

    The original client hides keys with `_`.
    """
    secret_keys = services.listener_types.secret_keys(listener.notifier_type_id, listener.notifier_config)
    return {
        "id": listener.id,
        "notifier_type_id": listener.notifier_type_id,
        "notifier_config": masked(listener.notifier_config, secret_keys),
        "event_types": listener.event_types,
        "_filters": ListenerFilters.model_validate(listener).model_dump(),
        "_owner": listener.owner,
        "_delivery": delivery.model_dump(mode="json"),
        "_href": f"{V2}/events/{listener.id}/",
        "_id": {"$oid": listener.id},
        "_ns": "event_listeners",
    }
