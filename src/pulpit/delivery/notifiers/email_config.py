"""The configuration of an email listener, validated and read into one value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pulpit.errors import InvalidValue
from pulpit.intervals import span_seconds
from pulpit.listener_options import EMAIL
from pulpit.text import shown

PLACEHOLDERS: Final = frozenset({"event_type", "repo_id", "result"})
DEFAULT_SUBJECT: Final = "[pulp] {event_type} {repo_id} {result}"
LONGEST_SUBJECT: Final = 200
MOST_ADDRESSES: Final = 100
LONGEST_ADDRESS: Final = 254
"""Characters (RFC 5321 section 4.5.3.1, less the angle brackets)."""
SHORTEST_DIGEST: Final = timedelta(minutes=1)
LONGEST_DIGEST: Final = timedelta(days=1)
MOST_LANES: Final = 8
"""Repositories of one listener that mail is sent about at a time, one session each."""

_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*\Z"
)
_LONGEST_LOCAL_PART: Final = 64
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mailing:
    """An email listener's recipients, and how they get events."""

    subject: str
    addresses: tuple[str, ...]
    digest: timedelta | None
    """How long events are gathered into one message; `None` sends each at once."""


def read(config: Mapping[str, Any]) -> Mailing:
    """Read a configuration.

    Raises:
        InvalidValue: `notifier_config`.
    """
    EMAIL.refuse_strangers(config)
    if _lanes(config.get("lanes")) > 1 and config.get("digest"):
        raise _invalid("a digest is about all repositories, so lanes have no meaning beside it; leave one of them out")
    return Mailing(
        subject=_subject(config.get("subject")),
        addresses=_addresses(config.get("addresses")),
        digest=_digest(config.get("digest")),
    )


def is_address(text: object) -> bool:
    """Whether a text is one plain mail address; nothing in it can end a header or an SMTP command."""
    if not isinstance(text, str) or len(text) > LONGEST_ADDRESS or not _ADDRESS.match(text):
        return False
    return len(text.partition("@")[0]) <= _LONGEST_LOCAL_PART


def filled(template: str, values: Mapping[str, str]) -> str:
    """Replace the known `{placeholders}`; all other braces are text."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def _subject(given: object) -> str:
    if given is None or given == "":
        return DEFAULT_SUBJECT
    if not isinstance(given, str) or len(given) > LONGEST_SUBJECT or not given.isprintable():
        raise _invalid(f"subject must be at most {LONGEST_SUBJECT} printable characters in one line")
    unknown = set(_PLACEHOLDER.findall(given)) - PLACEHOLDERS
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
        raise _invalid(f"subject: {{{min(unknown)}}} is unknown; there are {known}")
    return given


def _addresses(given: object) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MOST_ADDRESSES:
        raise _invalid(f"addresses must be a list of 1 to {MOST_ADDRESSES} mail addresses")
    for address in given:
        if isinstance(address, str) and len(address) > LONGEST_ADDRESS:
            raise _invalid(
                f"addresses: {shown(address, 60)!r} is no mail address: longer than {LONGEST_ADDRESS} characters"
            )
        if not is_address(address):
            raise _invalid(f"addresses: {shown(str(address), 100)!r} is no mail address such as joe@example.com")
    return tuple(dict.fromkeys(given))


def _digest(given: object) -> timedelta | None:
    if given is None or given == "":
        return None
    seconds = span_seconds(given) if isinstance(given, str) else None
    if seconds is None or not SHORTEST_DIGEST.total_seconds() <= seconds <= LONGEST_DIGEST.total_seconds():
        raise _invalid("digest must be a time from 1m to 1d, such as 90s, 15m or 2h")
    return timedelta(seconds=seconds)


def _lanes(given: object) -> int:
    if given is None:
        return 1
    number = int(given) if isinstance(given, int | str) and str(given).isdecimal() and len(str(given)) < 4 else 0  # noqa: PLR2004 - digits
    if isinstance(given, bool) or not 1 <= number <= MOST_LANES:
        raise _invalid(f"lanes must be a whole number from 1 to {MOST_LANES}")
    return number


def _invalid(reason: str) -> InvalidValue:
    return InvalidValue("notifier_config", f"{reason}.")
