"""Publisher confirms: as few frames as possible, and none too early."""

import struct
from collections.abc import Callable

from pulpit.broker.publishing import Confirms


class Turn:
    """Collects what is said, and ends turns."""

    def __init__(self) -> None:
        self.said: list[tuple[int, int, bool]] = []
        self._soon: list[Callable[[], None]] = []
        self.confirms = Confirms(say=self._say, soon=self._soon.append)

    def _say(self, payload: bytes) -> None:
        _, method, number, bits = struct.unpack(">HHQB", payload)
        self.said.append((method, number, bool(bits & 1)))

    def end(self) -> list[tuple[int, int, bool]]:
        calls, self._soon[:] = list(self._soon), []
        for call in calls:
            call()
        said, self.said = self.said, []
        return said


ACK, NACK = 80, 120


def test_one_ack_covers_a_turn() -> None:
    turn = Turn()
    for _ in range(5):
        turn.confirms.confirm(turn.confirms.expect())
    assert turn.end() == [(ACK, 5, True)]


def test_a_few_are_acknowledged_one_by_one() -> None:
    """The extension of PHP calls back for each ack, and programs count them."""
    turn = Turn()
    for _ in range(2):
        turn.confirms.confirm_next()
    assert turn.end() == [(ACK, 1, False), (ACK, 2, False)]


def test_an_ack_does_not_reach_over_one_that_still_waits() -> None:
    turn = Turn()
    numbers = [turn.confirms.expect() for _ in range(8)]
    for number in (1, 2, 3, 4, 5, 7, 8):
        turn.confirms.confirm(number)
    assert turn.end() == [(ACK, 5, True), (ACK, 7, False), (ACK, 8, False)]
    turn.confirms.confirm(numbers[5])
    assert turn.end() == [(ACK, 6, False)]


def test_a_refused_publish_is_said_before_an_ack_that_covers_it() -> None:
    turn = Turn()
    for _ in range(6):
        turn.confirms.expect()
    turn.confirms.refuse(2)
    for number in (1, 3, 4, 5, 6):
        turn.confirms.confirm(number)
    assert turn.end() == [(NACK, 2, False), (ACK, 6, True)]
