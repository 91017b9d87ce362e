"""Authorization: scopes such as `sync:fedora-*`, of a user's role and of a token.

    rights    layers, each of which must allow the request: the user's, and the token's if there is one
    layer     scopes, of which one must cover it

So a token never allows more than its user may do at that moment. Which request needs which verb is in one table
(`_RULES`); requests without a rule need an administrator, or for `GET` a user who may read everything.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from pulpit.errors import InvalidValue, PermissionDenied
from pulpit.events import as_topic, check_event_types
from pulpit.store.users import User
from pulpit.text import shown
from pulpit.topics import matches

ADMIN: Final = "admin"
OPERATOR: Final = "operator"
READER: Final = "reader"
ROLES: Final = frozenset({ADMIN, OPERATOR, READER})

MOST_SCOPES: Final = 100
LONGEST_PATTERN: Final = 255


class Verb(StrEnum):
    """What a scope allows; all but `fire` and `admin` take a shell pattern of repositories."""

    FIRE = "fire"
    """Fire events; takes a pattern of event types, as listeners have."""
    READ = "read"
    SYNC = "sync"
    PUBLISH = "publish"
    """Publish, roll back to an earlier publication, and upload packages."""
    LISTEN = "listen"
    """Have own listeners and consumers, and read the events that they see."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A verb, and a pattern of its objects; an empty pattern is everything."""

    verb: Verb
    pattern: str = ""

    def __str__(self) -> str:
        return f"{self.verb}:{self.pattern}" if self.pattern else str(self.verb)

    def covers(self, verb: Verb, name: str | None) -> bool:
        """Whether it allows the verb on a name; `None` stands for everything."""
        if self.verb is Verb.ADMIN:
            return True
        if self.verb is not verb:
            return False
        if not self.pattern or name is None:
            return not self.pattern
        return matches(as_topic(self.pattern), name) if verb is Verb.FIRE else fnmatchcase(name, self.pattern)


Layer = tuple[Scope, ...]


def read_scopes(texts: Sequence[str]) -> Layer:
    """Parse scopes as users write them: `fire:ci.#`, `sync:fedora-*`, `read`.

    Raises:
        InvalidValue: `scopes`, with the invalid one.
    """
    if not 0 < len(texts) <= MOST_SCOPES:
        raise InvalidValue("scopes", f"there must be 1 to {MOST_SCOPES} of them.")
    return tuple(dict.fromkeys(_read_scope(text) for text in texts))


def _read_scope(text: str) -> Scope:
    word, colon, pattern = text.partition(":")
    if word not in set(Verb):
        raise InvalidValue("scopes", f"{shown(text, 60)!r} is none; a scope begins with {', '.join(Verb)}.")
    verb = Verb(word)
    if not colon:
        return Scope(verb)
    if verb is Verb.ADMIN:
        raise InvalidValue("scopes", "admin takes no pattern.")
    if not 0 < len(pattern) <= LONGEST_PATTERN or not pattern.isprintable():
        raise InvalidValue("scopes", f"the pattern behind {word}: has 1 to {LONGEST_PATTERN} printable characters.")
    if verb is Verb.FIRE:
        try:
            check_event_types([pattern])
        except InvalidValue as error:
            raise InvalidValue("scopes", str(error).partition(": ")[2]) from None
    return Scope(verb, pattern)


def scopes_of(user: User) -> Layer:
    """Return what a user's role allows, restricted to the user's repositories."""
    if user.role == ADMIN:
        return (Scope(Verb.ADMIN),)
    verbs = (Verb.READ, Verb.SYNC, Verb.PUBLISH, Verb.LISTEN) if user.role == OPERATOR else (Verb.READ,)
    patterns = [""] if user.repo_ids is None else user.repo_ids
    return tuple(Scope(verb, pattern) for verb in verbs for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Rights:
    """What the client may do."""

    layers: tuple[Layer, ...]
    token: str | None = None
    """The name of the client's token, if it used one."""

    @property
    def is_admin(self) -> bool:
        return self.may(Verb.ADMIN)

    def may(self, verb: Verb, name: str | None = None) -> bool:
        """Whether a verb is allowed on a name, or on everything."""
        return all(any(scope.covers(verb, name) for scope in layer) for layer in self.layers)

    def may_some(self, *verbs: Verb) -> bool:
        """Whether one of the verbs is allowed on anything at all; the endpoint checks the name."""
        wanted = {*verbs, Verb.ADMIN}
        return all(any(scope.verb in wanted for scope in layer) for layer in self.layers)

    def sees(self, repo_id: str | None) -> bool:
        """Whether events about a repository, or about none, are visible."""
        return all(
            any(scope.covers(verb, repo_id) for scope in layer for verb in (Verb.READ, Verb.LISTEN))
            for layer in self.layers
        )

    def visible(self) -> list[list[str] | None]:
        """Return for each layer the patterns of the repositories with visible events; `None` is all events."""
        found: list[list[str] | None] = []
        for layer in self.layers:
            seen = [scope for scope in layer if scope.verb in (Verb.READ, Verb.LISTEN, Verb.ADMIN)]
            found.append(None if any(not scope.pattern for scope in seen) else sorted({s.pattern for s in seen}))
        return found

    def check_admin(self, what: str) -> None:
        """Reject what only an administrator may do.

        Raises:
            PermissionDenied: the client is not an administrator.
        """
        if not self.is_admin:
            raise PermissionDenied(f"Only an administrator may give {what}.")


ALL_RIGHTS: Final = Rights(((Scope(Verb.ADMIN),),))


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs: one of the verbs, on one repository, or on whatever the endpoint finds.

    `listener_id` names a listener that must belong to the client.
    """

    verbs: tuple[Verb, ...]
    repo_id: str | None = None
    listener_id: str | None = None

    def is_met(self, rights: Rights) -> bool:
        if not self.verbs:
            return True
        if self.repo_id is None:
            return rights.may_some(*self.verbs)
        return any(rights.may(verb, self.repo_id) for verb in self.verbs)


_V1: Final = "/pulpit/v1"
_V2: Final = "/pulp/api/v2"
LOGIN: Final = f"{_V2}/actions/login/"
_READS: Final = frozenset({"GET", "HEAD"})
_REPOSITORY: Final = r"/repositories/(?P<repo_id>[^/]+)"
_LISTENER: Final = r"(?P<listener_id>[^/]+)"
_ANY: Final = "GET HEAD POST PUT DELETE"


def _rule(methods: str, path: str, *verbs: Verb) -> tuple[frozenset[str], re.Pattern[str], tuple[Verb, ...]]:
    return frozenset(methods.split()), re.compile(path + r"\Z"), verbs


_RULES: Final = (
    _rule("GET HEAD", f"{_V2}/repositories/search/", Verb.READ),  # the endpoint filters
    _rule("GET HEAD", f"{_V2}{_REPOSITORY}/.*", Verb.READ),
    _rule("POST", f"{_V2}{_REPOSITORY}/search/units/", Verb.READ),
    _rule("GET HEAD", f"{_V1}{_REPOSITORY}/.*", Verb.READ),
    _rule("POST", f"{_V2}{_REPOSITORY}/actions/sync/", Verb.SYNC),
    _rule("POST", f"{_V2}{_REPOSITORY}/actions/(?:publish|import_upload)/", Verb.PUBLISH),
    _rule("POST", f"{_V1}{_REPOSITORY}/rollback", Verb.PUBLISH),
    _rule("POST", "/pulp/python/upload/(?P<repo_id>[^/]+)/?", Verb.PUBLISH),
    # From here on the endpoint checks, or filters what it shows.
    _rule("GET HEAD", f"{_V2}/repositories/", Verb.READ),
    _rule("POST", f"{_V2}/repositories/search/", Verb.READ),
    _rule("GET HEAD", f"{_V2}/tasks/(?!search/)[^/]+/", Verb.READ, Verb.SYNC, Verb.PUBLISH),
    _rule("POST", f"{_V2}/content/uploads/", Verb.PUBLISH),
    _rule("GET HEAD PUT DELETE", f"{_V2}/content/uploads/[^/]+/.*", Verb.PUBLISH),
    _rule("GET HEAD", f"{_V1}/events(?:/[^/]+)?", Verb.READ, Verb.LISTEN),
    _rule("POST", f"{_V1}/events", Verb.FIRE),
    _rule(_ANY, f"{_V1}/consumers(?:/.*)?", Verb.LISTEN),
    _rule("GET HEAD POST", f"{_V2}/events/", Verb.LISTEN),
    _rule("GET HEAD PUT DELETE", f"{_V2}/events/{_LISTENER}/", Verb.LISTEN),
    _rule("GET HEAD", f"{_V1}/listeners", Verb.LISTEN),
    _rule(_ANY, f"{_V1}/listeners/{_LISTENER}(?:/.*)?", Verb.LISTEN),
    _rule(_ANY, f"{_V1}/tokens(?:/[^/]+)?"),
    _rule("GET HEAD", f"{_V1}/schemas(?:/[^/]+)?"),
)


def check_may(user: User, rights: Rights, method: str, path: str) -> Need | None:
    """Reject a request that is not allowed; return what an allowed one still depends on, if anything.

    Raises:
        PermissionDenied: a user with more rights must do this.
    """
    if path == LOGIN:
        if rights.token is not None:
            raise PermissionDenied("A token cannot log in; this needs the password.")
        return None
    searches = path.endswith(("/search/", "/search/units/"))
    is_own = path == f"{_V2}/users/{user.login}/" and not searches
    if rights.token is None and method in ("GET", "HEAD", "PUT") and is_own:
        return None
    if rights.is_admin:
        return None
    reads = method in _READS or (method == "POST" and searches)
    if reads and rights.may(Verb.READ):
        return None
    need = needed(method, path)
    if need is None or not need.is_met(rights):
        raise PermissionDenied(_refusal(user, rights))
    return need


def needed(method: str, path: str) -> Need | None:
    """Return what a request needs of a user who is not an administrator, if such a user may make it at all."""
    for methods, pattern, verbs in _RULES:
        found = pattern.match(path)
        if found and method in methods:
            return Need(verbs, **found.groupdict())
    return None


def _refusal(user: User, rights: Rights) -> str:
    if rights.token is not None:
        scopes = _listed(rights.layers[-1])
        return f"The token {rights.token} may not do this: its scopes are {scopes}, and its user is {user.login}."
    if user.role == READER and user.repo_ids is None:
        return f"The user {user.login} may only read; this needs an administrator."
    return f"The user {user.login} may not do this: what a {user.role} may is {_listed(rights.layers[0])}."


def _listed(scopes: Iterable[Scope]) -> str:
    return shown(", ".join(str(scope) for scope in scopes), 300)
