"""What a rule looks at, and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pulpit.repositories.workplace import Workplace
from pulpit.store import audit

Mend = Callable[[], None]
Say = Callable[[str, int, int], None]
"""Told what is looked at, how many parts of it were, and of how many."""

SYNC_AGAIN: Final = "`--repair` has the next sync fetch it again."
PUBLISH_AGAIN: Final = "`--repair` has the next publish lay it out anew."
BY_STARTING: Final = "The server puts it right when it starts, and so does `--repair`."
NO_WAY: Final = "Restore a backup."


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A breach of a rule, or, if `harmless`, something that is left over: nothing is missing, and it goes by itself."""

    rule: str
    """`books.gap`: part and rule; it stays the same from version to version."""
    subject: str
    problem: str
    remedy: str
    harmless: bool = False
    mend: Mend | None = None
    """Heals it without losing anything; call it when no server runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A data folder and its database."""

    workplace: Workplace
    deep: bool
    """Whether every file is read and its checksum compared."""
    is_served: bool
    """Whether a server runs here; otherwise nothing is under way, whatever the tables say."""
    kept_for: timedelta | None
    kept_count: int | None
    """What retention leaves of the log; `None` is everything."""
    say: Say

    def busy(self) -> list[Any]:
        """The tasks under way, if a server runs."""
        if not self.is_served:
            return []
        with self.workplace.database.read() as connection:
            return list(audit.running(connection))

    def is_busy_with(self, repo_id: str) -> bool:
        """Whether a task works on a repository at this moment."""
        return any(task.arguments.get("repo_id") == repo_id for task in self.busy())
