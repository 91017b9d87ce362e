"""The log without an index of its ids, and on SQLite without a counter beside its newest number."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

COLUMNS = "number, id, event_type, repo_id, repo_number, result, occurred_at, traceparent, body"


def upgrade() -> None:
    """Drop both; SQLite cannot alter the table that way, so it is copied."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint("uq_events_id", "events")
        return
    op.create_table(
        "events_anew",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event_type", sa.String(length=200), nullable=False),
        sa.Column("repo_id", sa.String(length=255), nullable=True),
        sa.Column("repo_number", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.String(length=20), nullable=True),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("traceparent", sa.String(length=55), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_events")),
    )
    op.execute(f"INSERT INTO events_anew ({COLUMNS}) SELECT {COLUMNS} FROM events ORDER BY number")  # noqa: S608 - our own names
    op.drop_table("events")
    op.rename_table("events_anew", "events")
