"""What changed in repositories, unit by unit, and listeners that want some packages alone."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables of changes; how existing content was added is unknown."""
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "change_sets",
        sa.Column("id", serial, nullable=False),
        sa.Column("repo_id", sa.String(length=255), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("event_number", sa.BigInteger(), nullable=True),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Integer(), nullable=False),
        sa.Column("replaced", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_sets")),
    )
    op.create_index(op.f("ix_change_sets_task_id"), "change_sets", ["task_id"], unique=False)
    op.create_index(op.f("ix_change_sets_event_number"), "change_sets", ["event_number"], unique=False)
    op.create_index("ix_change_sets_repo_id_event_number", "change_sets", ["repo_id", "event_number"], unique=False)
    op.create_table(
        "changes",
        sa.Column("set_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("change", sa.String(length=10), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["set_id"], ["change_sets.id"], name=op.f("fk_changes_set_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("set_id", "position", name=op.f("pk_changes")),
    )
    op.add_column("listeners", sa.Column("packages", sa.Text(), nullable=True))
    op.add_column(
        "repositories", sa.Column("changes_from", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    )
    op.execute("UPDATE repositories SET changes_from = (SELECT coalesce(max(number), 0) FROM events)")
