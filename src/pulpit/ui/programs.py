"""Access for programs: tokens, hooks, and consumers with their positions in the log.

All by the functions of the REST API, with its rights: tokens and consumers belong to each user, hooks to
administrators. A secret is only in the response to the form that created it.
"""

from typing import Final

from starlette.responses import Response

from pulpit.api import hook_providers
from pulpit.api.auth.rights import Verb, check_may
from pulpit.api.v1 import consumers as v1_consumers
from pulpit.api.v1 import hooks as v1_hooks
from pulpit.api.v1 import tokens as v1_tokens
from pulpit.api.v1.hooks import MadeHook, NewHook
from pulpit.api.v1.tokens import DEFAULT_LIFETIME, MadeToken, NewToken
from pulpit.errors import InvalidValue, PulpitError
from pulpit.intervals import span_seconds
from pulpit.ui.listeners import order
from pulpit.ui.visits import Visit, done

HERE: Final = "/programs"
SHOWN: Final = 200
"""Of each kind; the command line lists all."""
NEVER: Final = "never"


def show(visit: Visit) -> Response:
    return _page(visit)


def create_token(visit: Visit) -> Response:
    form = visit.form
    try:
        body = order(
            NewToken,
            name=form.text("name"),
            scopes=form.lines("scopes"),
            expires_in=_lifetime(form.text("expires")),
            user=form.text("login") or None,
        )
        made = v1_tokens.create_token(body, Response(), visit.services, visit.asking, visit.rights)
    except PulpitError as error:
        return _page(visit, complaints={"token": error})
    return _page(visit, token_made=made)


def revoke_token(visit: Visit) -> Response:
    v1_tokens.revoke_token(visit.path("id"), visit.services, visit.asking, visit.rights)
    return done(HERE, "revoked")


def create_hook(visit: Visit) -> Response:
    form = visit.form
    try:
        body = order(
            NewHook,
            name=form.text("name"),
            provider=form.text("provider"),
            fires=form.text("fires") or None,
            repo_id=form.text("repo_id") or None,
            starts_sync=form.text("starts_sync") or None,
            only=form.lines("only") or None,
        )
        made = v1_hooks.create_hook(body, Response(), visit.services)
    except PulpitError as error:
        return _page(visit, complaints={"hook": error})
    return _page(visit, hook_made=made)


def delete_hook(visit: Visit) -> Response:
    v1_hooks.delete_hook(visit.path("id"), visit.services)
    return done(HERE, "hook-deleted")


def delete_consumer(visit: Visit) -> Response:
    name, services = visit.path("name"), visit.services
    check_may(visit.asking, visit.rights, "DELETE", f"/pulpit/v1/consumers/{name}")
    v1_consumers.delete_consumer(name, services, visit.asking, visit.rights, user=visit.form.text("user"))
    return done(HERE, "consumer-deleted")


def _lifetime(text: str) -> int | None:
    """Parse a lifetime in seconds, as on the command line; null for a token that does not expire.

    Raises:
        InvalidValue: it is not a duration.
    """
    if text == NEVER:
        return None
    seconds = span_seconds(text) if text else DEFAULT_LIFETIME
    if seconds is None:
        raise InvalidValue("expires", f"it must be a time such as 12h or 90d, or {NEVER}.")
    return seconds


def _page(
    visit: Visit,
    *,
    token_made: MadeToken | None = None,
    hook_made: MadeHook | None = None,
    complaints: dict[str, PulpitError] | None = None,
) -> Response:
    services, asking, rights = visit.services, visit.asking, visit.rights
    tokens = v1_tokens.list_tokens(services, asking, rights).tokens
    hooks = v1_hooks.list_hooks(services).hooks
    listens = rights.may_some(Verb.LISTEN)
    consumers = v1_consumers.list_consumers(services, asking, rights).consumers if listens else []
    said = {"token": "", "hook": "", **{name: str(error) for name, error in (complaints or {}).items()}}
    return visit.page(
        "programs.html",
        status=next((error.status for error in (complaints or {}).values()), 200),
        title="Programs",
        tokens=tokens[:SHOWN],
        token_total=len(tokens),
        hooks=hooks[:SHOWN],
        hook_total=len(hooks),
        consumers=sorted(consumers, key=lambda consumer: -consumer.lag_events)[:SHOWN],
        consumer_total=len(consumers),
        listens=listens,
        providers=hook_providers.PROVIDERS,
        scopes=", ".join(Verb),
        token_made=token_made,
        hook_made=hook_made,
        hook_address=str(visit.request.url.replace(path=hook_made.path, query="")) if hook_made else "",
        now=services.clock(),
        complaints=said,
        texts=visit.form.as_dict() if complaints else {},
    )
