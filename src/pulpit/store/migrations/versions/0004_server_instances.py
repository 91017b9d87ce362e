"""Which process of which data folder has a server's name, where several servers share the database."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Let a server say which process it is, and which folder it serves."""
    op.add_column("servers", sa.Column("instance", sa.String(length=32), nullable=True))
    op.add_column("servers", sa.Column("home", sa.String(length=255), nullable=True))
