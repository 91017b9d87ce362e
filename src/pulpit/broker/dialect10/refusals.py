"""What the broker refuses in the words of AMQP 1.0: conditions (part 2, section 2.8.15 and following).

    Refusal
    ├── LinkRefusal          the link is detached, the session lives on
    └── ConnectionRefusal    the connection is closed

What the core refuses with a reply code of AMQP 0-9-1 gets the condition of the same meaning.
"""

from collections.abc import Mapping
from typing import Final

from pulpit.amqp.amqp10 import words
from pulpit.amqp.amqp10.words import Condition
from pulpit.broker import refusals

_BY_CODE: Final[Mapping[int, str]] = {
    403: words.UNAUTHORIZED,
    404: words.NOT_FOUND,
    405: words.RESOURCE_LOCKED,
    406: words.PRECONDITION_FAILED,
    530: words.NOT_ALLOWED,
    540: words.NOT_IMPLEMENTED,
}


class Refusal(Exception):
    """The peer asked for something that it cannot have; `condition` goes into the frame that says so."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.condition: Final = Condition(name, reason)


class LinkRefusal(Refusal):
    """Ends the link on which it happened."""


class ConnectionRefusal(Refusal):
    """Ends the connection on which it happened."""


def translated(refusal: refusals.Refusal) -> LinkRefusal:
    """What the core refused, as the refusal of a link."""
    name = _BY_CODE.get(refusal.code, words.INTERNAL_ERROR)
    return LinkRefusal(name, refusal.text.partition(" - ")[2])
