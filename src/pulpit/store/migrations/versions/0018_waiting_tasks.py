"""The oldest waiting task is found without sorting those that wait."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the order of creation to the index by state."""
    op.create_index("ix_tasks_state_object_id", "tasks", ["state", "object_id"])
    op.drop_index("ix_tasks_state", "tasks")
