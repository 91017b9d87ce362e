"""The ids of events that were handled, as many as one wants to remember."""

from collections import OrderedDict
from typing import Final


class Handled:
    """Remembers the last ids, at most `limit` of them; an empty id is nobody's."""

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, event_id: str) -> None:
        """Remember one, and forget the oldest above the limit."""
        if not event_id or not self._limit:
            return
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)
