"""Hooks: URLs to which GitHub, GitLab, Gitea and others post, which fires events and starts syncs.

    POST /pulpit/v1/hooks           create one: its URL, and its secret, which is shown only once
    POST /pulpit/hooks/ID           called by the other system; the secret authenticates it

A request takes effect once, however often it is sent, and a sync that is waiting already is not queued again.
"""

import asyncio
import logging
import re
import secrets
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StrictStr

from pulpit.api import hook_providers
from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.hook_providers import PROVIDERS, NotSigned, Told
from pulpit.api.middleware import whole_body
from pulpit.api.services import ACCEPTED, CREATED, MOST_HOOKS, NO_CONTENT, OK, Provided, Services, returns
from pulpit.api.v1.models import Order
from pulpit.errors import ConflictingOperation, InvalidValue, MalformedRequest, MissingResource, PulpitError
from pulpit.events import HOPS, OWN_ROOTS
from pulpit.fire import fire
from pulpit.store import event_log, hooks, repositories, tasks
from pulpit.store.database import Transaction, database_time
from pulpit.store.hooks import Hook
from pulpit.tasks import queue
from pulpit.text import shown

router: Final = Endpoints(prefix="/hooks", tags=["hooks"])
receiver: Final = Endpoints(include_in_schema=False)

LONGEST_NAME: Final = 100
LONGEST_BODY: Final = 4 * 2**20
PATIENCE_S: Final = 20.0
MOST_HOPS: Final = 8
"""Hooks in a row that may lead to an event before it counts as a loop."""

_COUNT: Final = re.compile(r"[0-9]{1,5}\Z")

_log: Final = logging.getLogger(__name__)


class NewHook(Order):
    """A hook to create."""

    name: StrictStr
    provider: StrictStr
    fires: StrictStr | None = Field(default=None, max_length=200)
    repo_id: StrictStr | None = Field(default=None, max_length=255)
    starts_sync: StrictStr | None = None
    only: list[StrictStr] | None = Field(default=None, max_length=100)
    secret: StrictStr | None = Field(default=None, min_length=16, max_length=200)


class HookDocument(Document):
    """A hook without its secret."""

    id: str
    name: str
    provider: str
    path: str
    fires: str
    repo_id: str | None
    starts_sync: str | None
    only: list[str] | None
    created_at: datetime
    received: int
    last_received_at: datetime | None
    last_problem: str | None


class MadeHook(HookDocument):
    """A new hook; this is the only time that its secret is shown."""

    secret: str


class HooksPage(Document):
    """Hooks by name."""

    hooks: list[HookDocument]


@router.post("", responses=returns(CREATED, MadeHook, 400, 404, 409))
def create_hook(body: NewHook, response: Response, services: Provided) -> MadeHook:
    """Create a hook; without `fires` its events have the type `PROVIDER.{event}.{action}`."""
    if not 0 < len(body.name) <= LONGEST_NAME or not body.name.isprintable() or body.name != body.name.strip():
        raise InvalidValue("name", f"it has 1 to {LONGEST_NAME} printable characters, without blanks around.")
    if body.provider not in PROVIDERS:
        raise InvalidValue("provider", f"it is one of {', '.join(PROVIDERS)}.")
    if body.secret is not None and not (body.secret.isascii() and body.secret.isprintable() and " " not in body.secret):
        raise InvalidValue("secret", "it is one word of printable ASCII.")
    fires = body.fires if body.fires is not None else f"{body.provider}.{{event}}.{{action}}"
    _check_fires(fires)
    hook_providers.check_template("repo_id", body.repo_id or "")
    secret = secrets.token_urlsafe(32) if body.secret is None else body.secret
    with services.database.write() as tx:
        if body.starts_sync is not None:
            repositories.importer(tx.connection, body.starts_sync)
        if hooks.count(tx.connection) >= MOST_HOOKS:
            raise ConflictingOperation(f"There are {MOST_HOOKS} hooks, which is the most.")
        made = hooks.add(
            tx,
            now=services.clock(),
            name=body.name,
            provider=body.provider,
            secret=secret,
            fires=fires,
            repo_id=body.repo_id or None,
            starts_sync=body.starts_sync,
            only=body.only or None,
        )
    response.headers["Cache-Control"] = "no-store"
    return MadeHook(**_columns(made))


def _check_fires(template: str) -> None:
    """Reject a template that can never become a valid type, or one that only Pulpit may fire.

    Raises:
        InvalidValue: `fires`.
    """
    hook_providers.check_template("fires", template)
    if "{" in template.partition(".")[0]:
        raise InvalidValue("fires", "its first word must not be in braces.")
    if template.partition(".")[0] in OWN_ROOTS:
        raise InvalidValue("fires", f"{shown(template)} is fired by Pulpit alone.")
    try:
        hook_providers.event_type(template, Told(event="x", action="x", repository="x", ref="x"))
    except InvalidValue as error:
        raise InvalidValue("fires", str(error).partition(": ")[2]) from None


@router.get("", responses=returns(OK, HooksPage))
def list_hooks(services: Provided) -> HooksPage:
    """List the hooks, with their last use and its error, if any."""
    with services.database.read() as connection:
        return HooksPage(hooks=[HookDocument(**_columns(hook)) for hook in hooks.every(connection)])


@router.delete("/{hook_id}", responses=returns(NO_CONTENT, None, 404))
def delete_hook(hook_id: str, services: Provided) -> Response:
    """Delete a hook; requests to it are then a 404."""
    with services.database.write() as tx:
        hooks.remove(tx, hook_id)
    return Response(status_code=NO_CONTENT)


def _columns(hook: Hook) -> dict[str, Any]:
    return {**asdict(hook), "path": f"/pulpit/hooks/{hook.id}"}


@receiver.post("/pulpit/hooks/{hook_id}")
async def receive(hook_id: str, request: Request, services: Provided) -> JSONResponse:
    """Accept a request of another system that knows the secret."""
    hook = await to_thread.run_sync(_find, services, hook_id)
    body = await _read(request, services)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        hook_providers.check_signature(hook.provider, hook.secret, headers, request.query_params.get("token", ""), body)
    except NotSigned as error:
        if hook.last_problem is None:  # only once, or strangers could cause many writes
            await to_thread.run_sync(_note_problem, services, hook, str(error))
        raise
    services.hook_gate.check_rate(hook.id)
    try:
        told = hook_providers.read(hook.provider, headers, hook_providers.read_body(headers, body))
        done = await to_thread.run_sync(_take, services, hook, told, headers.get(f"pulpit-{HOPS}", ""))
    except PulpitError as error:
        await to_thread.run_sync(_note_problem, services, hook, str(error))
        raise
    return JSONResponse(done, ACCEPTED)


async def _read(request: Request, services: Services) -> bytes:
    """Read the body within limits of time and concurrency.

    Raises:
        MalformedRequest: it is incomplete or too slow.
        RequestTooLarge: it is too long.
    """
    async with services.hook_gate.reading:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await whole_body(request.receive, LONGEST_BODY)
        except TimeoutError:
            raise MalformedRequest(f"The body did not come within {PATIENCE_S:.0f} seconds.") from None


def _find(services: Services, hook_id: str) -> Hook:
    if not (hook_id.isascii() and hook_id.isalnum()):  # PostgreSQL rejects a query with NUL
        raise MissingResource(hook=shown(hook_id))
    with services.database.read() as connection:
        return hooks.get(connection, hook_id)


def _note_problem(services: Services, hook: Hook, problem: str) -> None:
    """Record a problem with the hook, unless it is recorded already."""
    if hook.last_problem == problem:
        return
    _log.warning("the hook %s: %s", hook.name, problem, extra={"action": "hook_refused", "hook": hook.name})
    with services.database.write() as tx:
        hooks.note_problem(tx, hook.id, problem)


def _take(services: Services, hook: Hook, told: Told, hops_header: str) -> dict[str, Any]:
    """Fire the event and queue the sync, in one transaction, once for each delivery id."""
    if told.is_test or (hook.only is not None and told.event not in hook.only):
        return {"event": None, "task_id": None, "reason": f"{told.event} is not asked for"}
    hops = 1 + (int(hops_header) if _COUNT.match(hops_header) else 0)
    if hops > MOST_HOPS:
        _note_problem(services, hook, f"An event has come round: it was dropped after {MOST_HOPS} hooks.")
        return {"event": None, "task_id": None, "reason": f"it has come through {MOST_HOPS} hooks: it goes round"}
    event_type = hook_providers.event_type(hook.fires, told)
    repo_id = hook_providers.repository(hook.repo_id, told) if hook.repo_id else None
    with services.database.write() as tx:
        key = f"hook {hook.id} {told.delivery}"[: event_log.LONGEST_KEY] if told.delivery else ""
        before = event_log.take_key(tx, key, "", now=database_time(tx.connection)) if key else None
        if before:
            return {"event": before.answer[0], "task_id": None, "reason": "it was delivered before"}
        payload = {"hook": hook.name, "provider": hook.provider, **told.payload(), HOPS: hops}
        event = fire(tx, event_type, payload, clock=services.clock, repo_id=repo_id)
        task_id = _start_sync(tx, hook, hops, services)
        hooks.note(tx, hook.id, now=services.clock())
        if key:
            event_log.note_answer(tx, key, [event.number])
    return {"event": event.number, "task_id": task_id, "reason": None}


def _start_sync(tx: Transaction, hook: Hook, hops: int, services: Services) -> str | None:
    """Queue a sync, unless one is waiting already, which will see the same changes."""
    if hook.starts_sync is None:
        return None
    tags = [queue.repository_tag(hook.starts_sync), queue.action_tag("sync")]
    waiting = tasks.search(tx.connection, states=[tasks.WAITING], tags=tags)
    if waiting:
        return waiting[0].id
    return queue.sync(tx, hook.starts_sync, None, login=None, clock=services.clock, hops=hops).id
