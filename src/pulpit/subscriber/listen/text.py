"""A message as lines for a person or a program."""

import base64
import json
from typing import Any, Final

from pulpit.subscriber.message import Message, neutral, parse_body, plain

SEPARATOR: Final = "-" * 70


def as_subject(message: Message) -> str:
    """The one line of quiet mode."""
    return neutral(message.subject)


def as_text(message: Message) -> str:
    """A separator, what is known of the message, an empty line, and the body; JSON is indented."""
    known = {
        "subject": message.subject,
        "exchange": message.exchange,
        **message.properties,
        **{f"header {name}": value for name, value in message.headers.items()},
    }
    width = max(map(len, known)) + 1
    lines = [f"{neutral(name) + ':':<{width}} {_one_line(value)}" for name, value in known.items()]
    return "\n".join([SEPARATOR, *lines, "", _readable_body(message.body)])


def as_json(message: Message) -> str:
    """One JSON object in one line of plain ASCII; a body that is neither JSON nor text stands in `body_base64`."""
    document: dict[str, Any] = {
        "subject": message.subject,
        "exchange": message.exchange,
        "headers": plain(message.headers),
        "properties": plain(message.properties),
        "redelivered": message.redelivered,
    }
    parsed = parse_body(message.body)
    if isinstance(parsed, bytes):
        document["body_base64"] = base64.b64encode(parsed).decode("ascii")
    else:
        document["body"] = parsed
    return json.dumps(document)


def _one_line(value: Any) -> str:
    simple = plain(value)
    return neutral(simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False))


def _readable_body(body: bytes) -> str:
    parsed = parse_body(body)
    if isinstance(parsed, bytes):
        return repr(parsed)
    text = parsed if isinstance(parsed, str) else json.dumps(parsed, indent=2, ensure_ascii=False)
    return neutral(text, keep="\n\t")
