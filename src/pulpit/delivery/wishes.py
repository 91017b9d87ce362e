"""What a listener wants to hear of."""

from collections.abc import Callable, Iterable

from pulpit.events import Event, as_topic
from pulpit.topics import TopicTrie

Wish = Callable[[Event], bool]


def wish(event_types: Iterable[str]) -> Wish:
    """Prepare a filter; types repeat, so each is matched once and remembered."""
    trie: TopicTrie[bool] = TopicTrie()
    for pattern in event_types:
        trie.add(as_topic(pattern), True)
    known: dict[str, bool] = {}

    def wanted(event: Event) -> bool:
        answer = known.get(event.event_type)
        if answer is None:
            answer = bool(trie.match(event.event_type))
            if len(known) < 1_000:  # noqa: PLR2004 - types are few; strangers may make up more, memory stays bounded
                known[event.event_type] = answer
        return answer

    return wanted
