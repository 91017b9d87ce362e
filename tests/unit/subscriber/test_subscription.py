"""What a subscription remembers of handled events."""

from pulpit.subscriber.subscription import HandledIds


def test_the_last_ones_are_remembered_and_the_oldest_forgotten() -> None:
    handled = HandledIds(2)
    for event_id in ("a", "b", "a", "c"):
        handled.add(event_id)
    assert [event_id in handled for event_id in ("a", "b", "c")] == [True, False, True]
    assert len(handled) == 2


def test_an_event_without_an_id_is_no_duplicate() -> None:
    handled = HandledIds(2)
    handled.add("")
    assert "" not in handled


def test_nothing_is_remembered_when_nothing_shall_be() -> None:
    handled = HandledIds(0)
    handled.add("a")
    assert "a" not in handled
