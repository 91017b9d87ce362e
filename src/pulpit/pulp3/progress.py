"""How it stands with a Pulp that events come from, as log, metrics and status tell it."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class State(Enum):
    """What a reader is doing."""

    CONNECTING = "connecting"
    READING = "reading"
    STANDBY = "standby"
    """Another server reads."""
    NOT_ATTACHED = "not attached"
    DOWN = "down"


@dataclass(slots=True)
class Progress:
    """What a reader has done and seen since the server started; times of rows are those of Pulp's database."""

    name: str
    place: str
    state: State = State.CONNECTING
    since: datetime | None = None
    reason: str | None = None
    waiting: int = 0
    """Rows at the last look, before they were taken."""
    oldest_at: datetime | None = None
    last_row_at: datetime | None = None
    rows: int = 0
    events: int = 0
    refused: int = 0
    """Rows that no event could be made of."""
    reconciled: int = 0
    """Rows that were made up for."""
