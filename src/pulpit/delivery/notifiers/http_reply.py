"""What the answer of a web hook means for the event, and how long the receiver wants to be left alone.

2xx                                     delivered
410                                     gone: the listener pauses
401 403 404 405 407 421                 retry: the operator of either side can mend address and credentials
408 423 425 429 and 5xx                 retry: it passes, when the receiver says so in Retry-After
3xx                                     refused, unless it was followed
every other status                      refused: the receiver read this event and does not want it

`outcome_of` is this table.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from pulpit.delivery.notifiers.port import Delivered, Gone, Outcome, Refused, Retry

SHORTEST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(hours=1)
"""Bounds of what is believed of `Retry-After`."""
QUOTED: Final = 200
"""Characters of the receiver's text that go into a reason."""

_MENDED_BY_PEOPLE: Final = frozenset({401, 403, 404, 405, 407, 421})
_PASSING: Final = frozenset({408, 423, 425, 429})
_SECONDS: Final = re.compile(r"[0-9]{1,9}\Z")


def outcome_of(status: int, phrase: str, text: str, *, receiver: str, after: timedelta | None) -> Outcome:
    """What an answer means; `text` is what is kept of its body."""
    answer = " ".join(filter(None, (str(status), phrase)))
    said = f"{receiver} answered {answer}" + (f": {text[:QUOTED]}" if text else ".")
    if status // 100 == 2:  # noqa: PLR2004 - the class of success, RFC 9110 section 15.3
        return Delivered(answer=f"{answer}\n{text}" if text else answer)
    if status == HTTPStatus.GONE:
        return Gone(reason=f"{receiver} answered 410 Gone: it asks for no more events.")
    if status in _MENDED_BY_PEOPLE | _PASSING or not 100 <= status < 500:  # noqa: PLR2004 - 5xx, and what is no status
        return Retry(reason=said, after=after)
    if status // 100 == 3:  # noqa: PLR2004 - redirection, RFC 9110 section 15.4
        return Refused(reason=f"{receiver} answered {answer}: it sends elsewhere, and this is not followed.")
    return Refused(reason=said)


def pause(retry_after: str | None, now: datetime) -> timedelta | None:
    """Read `Retry-After`, seconds or a date (RFC 9110 section 10.2.3); nonsense and the past count as absent."""
    if not retry_after:
        return None
    wish = _wish(retry_after.strip(), now)
    if wish is None or wish <= timedelta(0):
        return None
    return min(max(wish, SHORTEST_PAUSE), LONGEST_PAUSE)


def _wish(text: str, now: datetime) -> timedelta | None:
    if _SECONDS.match(text):
        return timedelta(seconds=int(text))
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
