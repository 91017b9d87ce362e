"""What the reply of a webhook means for the event, and how long the receiver wants to be left alone.

2xx                                     delivered
410                                     gone: the listener pauses
401 403 404 405 407 421                 retry: the operator of either side can mend address and credentials
408 423 425 429 and 5xx                 retry: it passes, when the receiver says so in Retry-After
1xx and 3xx                             retry, unless it was followed: maintenance may redirect for an evening
every other status                      refused: the receiver read this event and does not want it

`outcome_of` is this table.
"""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from pulpit import backoff
from pulpit.delivery.notifiers.port import Delivered, Gone, Outcome, Refused, Retry

SHORTEST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(hours=1)
"""Upper bound for `Retry-After`."""
QUOTED: Final = 200
"""Characters of the receiver's text that a reason quotes."""

_MENDED_BY_PEOPLE: Final = frozenset({401, 403, 404, 405, 407, 421})
_PASSING: Final = frozenset({408, 423, 425, 429})


def outcome_of(
    status: int, phrase: str, text: str, *, receiver: str, after: timedelta | None, target: str = ""
) -> Outcome:
    """Return the outcome for a reply; `text` is the start of its body, `target` the redirect's location."""
    answer = " ".join(filter(None, (str(status), phrase)))
    said = f"{receiver} answered {answer}" + (f": {text[:QUOTED]}" if text else ".")
    match status // 100:
        case 2:
            return Delivered(answer=f"{answer}\n{text}" if text else answer)
        case 3:
            where = f"it redirects to {target}" if target else "it redirects elsewhere"
            return Retry(reason=f"{receiver} answered {answer}: {where}, and this is not followed.", after=after)
        case 4 if status == HTTPStatus.GONE:
            return Gone(reason=f"{receiver} answered 410 Gone: it asks for no more events.")
        case 4 if status not in _MENDED_BY_PEOPLE | _PASSING:
            return Refused(reason=said)
    return Retry(reason=said, after=after)


def pause(retry_after: str | None, now: datetime) -> timedelta | None:
    """Return how long to wait for a receiver that sent this `Retry-After`, capped at `LONGEST_PAUSE`."""
    asked = backoff.retry_after(retry_after, now)
    return None if asked is None else min(max(asked, SHORTEST_PAUSE), LONGEST_PAUSE)
