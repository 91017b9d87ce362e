"""The state of a Pulp that events come from, for log, metrics and status."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class State(Enum):
    CONNECTING = "connecting"
    READING = "reading"
    STANDBY = "standby"
    """Another server is the reader."""
    NOT_ATTACHED = "not attached"
    DOWN = "down"


@dataclass(slots=True)
class Progress:
    """What a reader has done since the server started; times of rows are those of Pulp's database."""

    name: str
    place: str
    state: State = State.CONNECTING
    since: datetime | None = None
    reason: str | None = None
    waiting: int = 0
    """Rows at the last look, before they were processed."""
    oldest_at: datetime | None = None
    last_row_at: datetime | None = None
    rows: int = 0
    events: int = 0
    refused: int = 0
    """Rows that could not be translated to an event."""
    reconciled: int = 0
    """Rows that the reconciler added."""
