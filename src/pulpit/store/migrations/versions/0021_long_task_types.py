"""The type of every task has room on PostgreSQL, which holds a column to its length."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Widen the column; SQLite, which ignores the length, copies the table to have the same declaration."""
    with op.batch_alter_table("tasks") as batch:
        batch.alter_column("task_type", type_=sa.String(255), existing_type=sa.String(64), existing_nullable=False)
