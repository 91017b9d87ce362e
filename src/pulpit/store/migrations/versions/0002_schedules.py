"""Schedules of syncs and publishes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of schedules, and let tasks say whose slot they are."""
    op.add_column("tasks", sa.Column("schedule_id", sa.String(length=24), nullable=True))
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("repo_id", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("plugin_id", sa.String(length=255), nullable=False),
        sa.Column("schedule", sa.String(length=100), nullable=False),
        sa.Column("override_config", sa.Text(), nullable=False),
        sa.Column("principal_login", sa.String(length=255), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("failure_threshold", sa.Integer(), nullable=True),
        sa.Column("consecutive_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_run", sa.BigInteger(), nullable=False),
        sa.Column("next_run", sa.BigInteger(), nullable=False),
        sa.Column("remaining_runs", sa.Integer(), nullable=True),
        sa.Column("total_run_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_run_at", sa.BigInteger(), nullable=True),
        sa.Column("last_task_id", sa.String(length=36), nullable=True),
        sa.Column("last_updated", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_schedules_repo_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
    )
    op.create_index("ix_schedules_repo_id_action", "schedules", ["repo_id", "action"])
    op.create_index("ix_schedules_enabled_next_run", "schedules", ["enabled", "next_run"])
