"""The body of a webhook request: Pulp's message, CloudEvents, the event's identity, or a chat message."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from json.encoder import encode_basestring as quoted
from typing import Any, Final

from pulpit.clock import iso_micro
from pulpit.delivery.notifiers import cdevents
from pulpit.delivery.notifiers.email_message import changed_lines, headline
from pulpit.events import Event
from pulpit.text import one_line

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
CLOUDEVENT: Final = "application/cloudevents+json"
CLOUDEVENTS: Final = "application/cloudevents-batch+json"
LINES: Final = "application/x-ndjson"
MOST_CHANGES: Final = 5
"""Changes listed in a chat message."""
LONGEST_ERROR: Final = 300
LONGEST_SENTENCE: Final = 1_900
"""Characters; Discord takes 2,000."""
ADAPTIVE_CARD: Final = "application/vnd.microsoft.card.adaptive"


class Format(StrEnum):
    """`format` of an http listener."""

    PULP = "pulp"
    """The message as every other listener sends it."""
    THIN = "thin"
    """Which event it is and where to read it, without its payload."""
    CLOUDEVENTS = "cloudevents"
    """CloudEvents 1.0, structured: attributes and message in one JSON object."""
    CDEVENTS = "cdevents"
    """A run of a task, as the CDEvents specification has it."""
    SLACK = "slack"
    MATTERMOST = "mattermost"
    DISCORD = "discord"
    TEAMS = "teams"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Body:
    """A request body and its content type."""

    content: bytes
    content_type: str = JSON


def body_of(event: Event, form: Format, source: str) -> Body:
    """Write the body of a request; the same event gives the same bytes on every attempt."""
    if form is Format.PULP:
        return Body(event.body.encode())
    if form is Format.TEXT:
        return Body((sentence(event) + "\n").encode(), TEXT)
    if form is Format.CLOUDEVENTS:
        return Body(_structured(event, source).encode(), CLOUDEVENT)
    if form is Format.CDEVENTS:
        return Body(_compact(cdevents.document(event, source)).encode())
    return Body(_compact(_thin(event) if form is Format.THIN else _CHATS[form](sentence(event))).encode())


def bodies_of(events: Sequence[Event], form: Format, source: str) -> Body:
    """Write several events into one body: an array for `cloudevents`, else a line for each."""
    if form is Format.CLOUDEVENTS:
        return Body(f"[{','.join([_structured(event, source) for event in events])}]".encode(), CLOUDEVENTS)
    if form is Format.PULP:
        return Body("\n".join([*(event.body for event in events), ""]).encode(), LINES)
    content = b"".join(body_of(event, form, source).content.rstrip(b"\n") + b"\n" for event in events)
    return Body(content, TEXT if form is Format.TEXT else LINES)


def _structured(event: Event, source: str) -> str:
    """Write an event with its attributes; the message is identical to every other listener's, byte for byte.

    The attributes are those of `event_headers.attributes`, joined as text: an encoder would cost twice as much as
    everything else that is done for an event of a batch.
    """
    number, identity, event_type, repo_id, repo_number, _, occurred_at, traceparent, body = event
    subject = "" if repo_id is None else f'"subject":{quoted(repo_id)},'
    counted = "" if repo_number is None else f'"reponumber":"{repo_number}",'
    return (
        f'{{"specversion":"1.0","id":{quoted(identity)},"source":{quoted(source)},"type":{quoted(event_type)},'
        f'"time":"{iso_micro(occurred_at)}",{subject}"datacontenttype":"{JSON}",'
        f'"traceparent":{quoted(traceparent)},"sequence":"{number}",{counted}"data":{body}}}'
    )


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def sentence(event: Event) -> str:
    """Say what happened, then what changed or went wrong, one per line."""
    lines = [headline(event)]
    error = event.payload.get("error_message")
    if isinstance(error, str) and error:
        lines.append(one_line(error, LONGEST_ERROR))
    lines += [line.strip() for line in changed_lines(event, MOST_CHANGES)]
    text = "\n".join(lines)
    return text if len(text) <= LONGEST_SENTENCE else text[: LONGEST_SENTENCE - 1] + "…"


def _thin(event: Event) -> dict[str, Any]:
    return {
        "number": event.number,
        "id": event.id,
        "event_type": event.event_type,
        "repo_id": event.repo_id,
        "result": event.result,
        "occurred_at": iso_micro(event.occurred_at),
        "href": f"/pulpit/v1/events/{event.number}",
    }


def _slack(text: str) -> dict[str, Any]:
    """Escape what Slack reads as markup: `<!channel>` in foreign text notifies nobody."""
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def _mattermost(text: str) -> dict[str, Any]:
    """Put a zero-width space after each `@`, so that foreign text notifies nobody."""
    return {"text": text.replace("@", "@\u200b")}


def _discord(text: str) -> dict[str, Any]:
    return {"content": text, "allowed_mentions": {"parse": []}}


def _teams(text: str) -> dict[str, Any]:
    """Return a message with an adaptive card, as the workflow "post when a webhook request is received" expects it."""
    lines = [{"type": "TextBlock", "text": line, "wrap": True} for line in text.splitlines()]
    card = {"type": "AdaptiveCard", "version": "1.4", "body": lines}
    return {"type": "message", "attachments": [{"contentType": ADAPTIVE_CARD, "content": card}]}


_CHATS: Final[Mapping[Format, Callable[[str], dict[str, Any]]]] = {
    Format.SLACK: _slack,
    Format.MATTERMOST: _mattermost,
    Format.DISCORD: _discord,
    Format.TEAMS: _teams,
}

BATCHED: Final = frozenset({Format.PULP, Format.THIN, Format.CLOUDEVENTS, Format.CDEVENTS, Format.TEXT})
"""Formats that can hold several events in one body."""
