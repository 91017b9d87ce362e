"""A common form for webhook requests of GitHub, GitLab, Gitea and others: verification of the sender, and parsing.

Nothing here opens a socket or a database: a request's headers and body go in, a `Told` comes out.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from pulpit.api.middleware import strict_json
from pulpit.errors import AuthenticationFailed, InvalidValue, MalformedRequest
from pulpit.events import check_event_type

GITHUB: Final = "github"
GITLAB: Final = "gitlab"
GITEA: Final = "gitea"
GENERIC: Final = "generic"
LONGEST_WORD: Final = 100
LONGEST_BODY_PASSED_ON: Final = 256 * 1024
"""Bytes of the body of a generic request, which becomes part of the event."""

_FORM: Final = "application/x-www-form-urlencoded"
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
FIELDS: Final = frozenset({"event", "action", "repository", "ref"})
"""Allowed placeholders."""
LONGEST_REPOSITORY: Final = 255
_NO_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NO_WORD: Final = re.compile(r"[^A-Za-z0-9_-]+")

Headers = Mapping[str, str]
Body = dict[str, Any]


class NotSigned(AuthenticationFailed):
    """The request is not signed with the hook's secret."""

    auth_error_code = "invalid_signature"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """The content of a request, in the same form for every sender; missing texts are empty."""

    event: str
    """For example `push` or `release`."""
    delivery: str = ""
    """The sender's own id of it, the same in a redelivery."""
    action: str = ""
    repository: str = ""
    ref: str = ""
    commit: str = ""
    sender: str = ""
    url: str = ""
    body: Body | None = field(default=None, repr=False)
    """The whole body of a generic request."""

    @property
    def is_test(self) -> bool:
        """Whether the sender only tests the connection."""
        return self.event == "ping"

    def payload(self) -> dict[str, Any]:
        """Return the payload for an event."""
        names = ("event", "delivery", "action", "repository", "ref", "commit", "sender", "url")
        known = {name: getattr(self, name) for name in names if getattr(self, name)}
        return known if self.body is None else {**known, "body": self.body}


def check_signature(provider: str, secret: str, headers: Headers, token: str, body: bytes) -> None:
    """Reject a request whose sender does not know the secret.

    Args:
        provider: decides the form of the signature.
        secret: the hook's secret.
        headers: the request's headers, names in lower case.
        token: the parameter `token` of the URL, for senders that cannot send a header.
        body: the raw body.

    Raises:
        NotSigned: the signature is wrong or missing.
    """
    signature = {
        GITHUB: headers.get("x-hub-signature-256", "").removeprefix("sha256="),
        GITEA: headers.get("x-gitea-signature", "") or headers.get("x-hub-signature-256", "").removeprefix("sha256="),
        GENERIC: headers.get("x-hub-signature-256", "").removeprefix("sha256="),
    }.get(provider, "")
    if signature:
        expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if not _equal(expected, signature.lower()):
            raise NotSigned("The signature is not that of this body by the secret of the hook.")
        return
    shown = ""
    if provider == GITLAB:
        shown = headers.get("x-gitlab-token", "")
    elif provider == GENERIC:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = bearer.strip() if scheme.lower() == "bearer" else token
    if not _equal(secret, shown):
        raise NotSigned(_HOW[provider])


def _equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode(errors="replace"))


_HOW: Final = {
    GITHUB: "The request must be signed by the secret of the hook (X-Hub-Signature-256).",
    GITEA: "The request must be signed by the secret of the hook (X-Gitea-Signature).",
    GITLAB: "The request must have the secret of the hook as its token (X-Gitlab-Token).",
    GENERIC: "The request must be signed by the secret of the hook (X-Hub-Signature-256), or show it as a Bearer token"
    " or as ?token= of the address.",
}


def read_body(headers: Headers, body: bytes) -> Body:
    """Parse a body: a JSON object, or a form whose field `payload` is JSON, which is GitHub's default.

    Raises:
        MalformedRequest: it is neither.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        try:
            body = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=10)["payload"][0].encode()
        except (ValueError, KeyError):
            raise MalformedRequest("The form has no field payload.") from None
    value = strict_json(body or b"{}")
    if not isinstance(value, dict):
        raise MalformedRequest("The body must be a JSON object.")
    return value


def read(provider: str, headers: Headers, body: Body) -> Told:
    """Parse a request.

    Raises:
        MalformedRequest: it is not from that provider, or too long to pass on.
    """
    return _READERS[provider](headers, body)


def _github(headers: Headers, body: Body, prefix: str = "x-github") -> Told:
    event = headers.get(f"{prefix}-event", "")
    if not event:
        raise MalformedRequest(f"The request has no {prefix.title()}-Event.")
    head = (
        _in(body, "pull_request", "head", "sha") or _in(body, "head_commit", "id") or _in(body, "check_run", "head_sha")
    )
    return Told(
        event=_word(event) or "received",
        delivery=_text(headers.get(f"{prefix}-delivery")),
        action=_text(body.get("action")),
        repository=_in(body, "repository", "full_name"),
        ref=_text(body.get("ref")) or _in(body, "release", "tag_name"),
        commit=_text(body.get("after")) or head,
        sender=_in(body, "sender", "login"),
        url=next((found for path in _URLS if (found := _in(body, *path))), ""),
    )


_URLS: Final = (
    ("pull_request", "html_url"),
    ("release", "html_url"),
    ("issue", "html_url"),
    ("workflow_run", "html_url"),
    ("compare",),
    ("compare_url",),
    ("repository", "html_url"),
)


def _gitlab(headers: Headers, body: Body) -> Told:
    kind = _text(body.get("object_kind")) or _text(body.get("event_name"))
    event = kind or headers.get("x-gitlab-event", "").removesuffix(" Hook").lower()
    if not event:
        raise MalformedRequest("The request has neither an object_kind nor an X-Gitlab-Event.")
    return Told(
        event=_word(event) or "received",
        delivery=_text(headers.get("x-gitlab-event-uuid")),
        action=_in(body, "object_attributes", "action") or _text(body.get("action")),
        repository=_in(body, "project", "path_with_namespace"),
        ref=_text(body.get("ref")) or _in(body, "object_attributes", "ref") or _text(body.get("tag")),
        commit=_text(body.get("checkout_sha")) or _in(body, "object_attributes", "sha") or _text(body.get("after")),
        sender=_text(body.get("user_username")) or _in(body, "user", "username"),
        url=_in(body, "object_attributes", "url") or _text(body.get("url")) or _in(body, "project", "web_url"),
    )


def _generic(headers: Headers, body: Body) -> Told:
    if len(json.dumps(body, ensure_ascii=False).encode()) > LONGEST_BODY_PASSED_ON:
        raise MalformedRequest(f"The body has more than {LONGEST_BODY_PASSED_ON} bytes.")
    event = next((text for key in ("event_type", "event", "type") if (text := _text(body.get(key)))), "received")
    return Told(
        event=_word(event) or "received",
        delivery=_text(headers.get("webhook-id")),
        action=_text(body.get("action")),
        repository=_text(body.get("repository")) or _text(body.get("repo_id")) or _in(body, "payload", "repo_id"),
        ref=_text(body.get("ref")),
        body=body,
    )


_READERS: Final[Mapping[str, Callable[[Headers, Body], Told]]] = {
    GITHUB: _github,
    GITLAB: _gitlab,
    GITEA: lambda headers, body: _github(headers, body, "x-gitea"),
    GENERIC: _generic,
}
PROVIDERS: Final = tuple(_READERS)


def repository(template: str, told: Told) -> str:
    """Return the event's repository: the template with placeholders filled in unchanged."""
    return _FIELD.sub(lambda found: _NO_ID.sub("-", getattr(told, found[1])), template)[:LONGEST_REPOSITORY]


def event_type(template: str, told: Told) -> str:
    """Return the event's type, with each placeholder filled in as one word; empty words are omitted.

    Raises:
        InvalidValue: the result cannot be fired.
    """
    words = _FIELD.sub(lambda found: _word(getattr(told, found[1])), template).split(".")
    found = ".".join(word for word in words if word)
    check_event_type(found)
    return found


def check_template(name: str, template: str) -> None:
    """Reject unknown placeholders.

    Raises:
        InvalidValue: the property of that name.
    """
    unknown = [word for word in _FIELD.findall(template) if word not in FIELDS]
    if unknown or "{" in _FIELD.sub("", template) or "}" in _FIELD.sub("", template):
        raise InvalidValue(name, f"in braces may stand {', '.join(sorted(FIELDS))}.")


def _word(text: str) -> str:
    return _NO_WORD.sub("-", text)[:LONGEST_WORD].strip("-").lower()


def _text(value: Any) -> str:
    return value[:1000] if isinstance(value, str) else ""


def _in(body: Any, *path: str) -> str:
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    return _text(body)
