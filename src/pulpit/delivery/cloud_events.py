"""An event's CloudEvents 1.0 attributes, for the transports that carry them beside the body (binary mode)."""

from urllib.parse import quote

from pulpit.clock import iso_micro
from pulpit.events import Event

_KEPT = "".join(map(chr, range(0x21, 0x7F))).translate({ord('"'): None, ord("%"): None})


def attributes(event: Event, source: str) -> dict[str, str]:
    """The attributes by their names without any prefix; `subject` is the repository, if there is one."""
    context = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.event_type,
        "time": iso_micro(event.occurred_at),
    }
    return context if event.repo_id is None else {**context, "subject": event.repo_id}


def http_headers(event: Event, source: str) -> dict[str, str]:
    """The same as HTTP headers; what is no printable ASCII is percent-encoded (HTTP binding, section 3.1.3.2)."""
    return {f"ce-{name}": quote(text, safe=_KEPT) for name, text in attributes(event, source).items()}
