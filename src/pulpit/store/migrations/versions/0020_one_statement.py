"""On SQLite the log itself keeps the counters of its repositories, so that an event is one statement."""

from alembic import op

revision = "0020"
down_revision = "0019"

KEEP_COUNTER = """
CREATE TRIGGER keep_counter AFTER INSERT ON events WHEN new.repo_number IS NOT NULL
BEGIN
    INSERT INTO event_counters (repo_id, last_number) VALUES (new.repo_id, new.repo_number)
    ON CONFLICT (repo_id) DO UPDATE SET last_number = excluded.last_number;
END
"""


def upgrade() -> None:
    """Create the trigger; PostgreSQL counts and inserts in one statement without one."""
    if op.get_context().dialect.name == "sqlite":
        op.execute(KEEP_COUNTER)
