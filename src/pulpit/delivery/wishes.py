"""What a listener wants to hear of."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Final

from pulpit.events import Event, star_covers
from pulpit.store.listeners import Listener
from pulpit.topics import ANY_WORD, ANY_WORDS, TopicTrie

Wish = Callable[[Event], bool]

REMEMBERED: Final = 1_000
"""Different texts whose answer is remembered; strangers may make up more, memory stays bounded."""


def wish(listener: Listener) -> Wish:
    """Prepare a listener's filter: event types, repositories, results, and what a replay is about."""
    of_type = _remembering(_matcher(listener.event_types))
    of_replay = _remembering(_matcher(listener.replay_types or [ANY_WORDS]))
    of_repository = _remembering(lambda repo_id: any(fnmatchcase(repo_id, each) for each in listener.repo_ids or ()))
    replay_to = listener.replay_to or 0

    def wanted(event: Event) -> bool:
        return (
            of_type(event.event_type)
            and (event.number > replay_to or of_replay(event.event_type))
            and (listener.results is None or event.result in listener.results)
            and (listener.repo_ids is None or (event.repo_id is not None and of_repository(event.repo_id)))
            and not _about(listener, event)
        )

    return wanted


def _about(listener: Listener, event: Event) -> bool:
    """Whether an event is about the listener itself, who cannot be told of its own failing."""
    return event.event_type.startswith("listener.") and event.payload.get("listener_id") == listener.id


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    trie: TopicTrie[bool] = TopicTrie()
    entries = set(patterns)
    for pattern in entries - {ANY_WORD}:
        trie.add(pattern, True)
    star = ANY_WORD in entries
    return lambda event_type: (star and star_covers(event_type)) or bool(trie.match(event_type))


def _remembering(answer: Callable[[str], bool]) -> Callable[[str], bool]:
    """Texts repeat, so each is asked about once."""
    known: dict[str, bool] = {}

    def remembered(text: str) -> bool:
        found = known.get(text)
        if found is None:
            found = answer(text)
            if len(known) < REMEMBERED:
                known[text] = found
        return found

    return remembered
