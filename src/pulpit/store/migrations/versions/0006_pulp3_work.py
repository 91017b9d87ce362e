"""Of which work of a Pulp 3 the events were fired."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table of that work."""
    op.create_table(
        "pulp3_work",
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("source", "object_id", name=op.f("pk_pulp3_work")),
    )
    op.create_index("ix_pulp3_work_ended_at_seen_at", "pulp3_work", ["ended_at", "seen_at"])
