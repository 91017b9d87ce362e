"""Version and clock of each server, which `pulpit doctor` compares."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Let a server say its version, and by how many seconds its clock is ahead of the database's."""
    op.add_column("servers", sa.Column("version", sa.String(length=64), nullable=True))
    op.add_column("servers", sa.Column("clock_ahead", sa.Float(), nullable=True))
