"""Tokens for programs: created and shown once, listed with their last use, revoked at once."""

from datetime import datetime, timedelta
from typing import Final

from fastapi import Response
from pydantic import Field, StrictInt, StrictStr

from pulpit.api.auth.rights import MOST_SCOPES, Rights, Verb, read_scopes, scopes_of
from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.services import CREATED, NO_CONTENT, Allowed, Asking, Provided, returns
from pulpit.api.v1.models import Order
from pulpit.errors import ConflictingOperation, InvalidValue, MissingResource, PermissionDenied
from pulpit.store import tokens, users
from pulpit.store.tokens import Token
from pulpit.store.users import User

router: Final = Endpoints(prefix="/tokens", tags=["tokens"])

DEFAULT_LIFETIME: Final = 90 * 24 * 3600
LONGEST_LIFETIME: Final = 10 * 365 * 24 * 3600
LONGEST_NAME: Final = 100
MOST_TOKENS: Final = 1_000
"""Per user."""


class NewToken(Order):
    """A token to create; `expires_in` is in seconds, null for one that does not expire."""

    name: StrictStr
    scopes: list[StrictStr] = Field(min_length=1, max_length=MOST_SCOPES)
    expires_in: StrictInt | None = Field(default=DEFAULT_LIFETIME, ge=1, le=LONGEST_LIFETIME)
    user: StrictStr | None = None


class TokenDocument(Document):
    """A token without its secret."""

    id: str
    name: str
    user: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class MadeToken(TokenDocument):
    """A new token; this is the only time that it is shown."""

    token: str


class TokensPage(Document):
    """Tokens by user and name."""

    tokens: list[TokenDocument]


@router.post("", responses=returns(CREATED, MadeToken, 400, 404, 409))
def create_token(body: NewToken, response: Response, services: Provided, user: Asking, rights: Allowed) -> MadeToken:
    """Create a token for oneself, or as an administrator for another user."""
    if rights.token is not None and not rights.is_admin:
        raise PermissionDenied("A token makes no tokens; this needs the password.")
    if not 0 < len(body.name) <= LONGEST_NAME or not body.name.isprintable() or body.name != body.name.strip():
        raise InvalidValue("name", f"it has 1 to {LONGEST_NAME} printable characters, without blanks around.")
    scopes = read_scopes(body.scopes)
    login = user.login if body.user is None else body.user
    if login != user.login and not rights.is_admin:
        raise PermissionDenied(f"The user {user.login} makes tokens for nobody else; this needs an administrator.")
    if login == user.login and not user.object_id:
        raise InvalidValue("user", f"{login} is a user of the Pulp 3, and tokens are for the server's own; name one.")
    secret, now = tokens.new_secret(), services.clock()
    expires_at = None if body.expires_in is None else now + timedelta(seconds=body.expires_in)
    with services.database.write() as tx:
        owner = users.get(tx.connection, login)
        _check_of_use(owner, {scope.verb for scope in scopes})
        if tokens.count(tx.connection, login) >= MOST_TOKENS:
            raise ConflictingOperation(f"{login} has {MOST_TOKENS} tokens, which is the most; revoke some.")
        words = [str(scope) for scope in scopes]
        made = tokens.add(tx, login, body.name, secret, words, now=now, expires_at=expires_at)
    response.headers["Cache-Control"] = "no-store"
    return MadeToken(**_document(made).model_dump(), token=secret)


@router.get("", responses=returns(200, TokensPage))
def list_tokens(services: Provided, user: Asking, rights: Allowed) -> TokensPage:
    """List one's own tokens, or as an administrator all; expired ones stay until they are revoked."""
    with services.database.read() as connection:
        found = tokens.every(connection, None if rights.is_admin else user.login)
    return TokensPage(tokens=[_document(token) for token in found])


@router.delete("/{token_id}", responses=returns(NO_CONTENT, None, 404))
def revoke_token(token_id: str, services: Provided, user: Asking, rights: Allowed) -> Response:
    """Revoke a token; the next request with it is rejected."""
    with services.database.write() as tx:
        token = tokens.get(tx.connection, token_id)
        if not rights.is_admin and (token.login != user.login or rights.token is not None):
            raise MissingResource(token=token_id)
        tokens.remove(tx, token_id)
    return Response(status_code=NO_CONTENT)


def _check_of_use(owner: User, verbs: set[Verb]) -> None:
    """Reject scopes that exceed all of the user's rights: every request with the token would be rejected."""
    may = Rights((scopes_of(owner),))
    for verb in sorted(verbs):
        if not may.may_some(verb):
            raise InvalidValue(
                "scopes", f"{owner.login} is {owner.role} and may not {verb}, nor may a token of theirs."
            )


def _document(token: Token) -> TokenDocument:
    return TokenDocument(
        id=token.id,
        name=token.name,
        user=token.login,
        scopes=token.scopes,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
    )
