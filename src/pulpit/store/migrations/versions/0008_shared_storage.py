"""What servers that share a database must agree on: where the files are, and who signs certificates of users."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Let a server say which storage it has and whether it delivers, and keep secrets that all of them need."""
    op.add_column("servers", sa.Column("storage", sa.String(length=64), nullable=True))
    op.add_column("servers", sa.Column("delivers", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_table(
        "shared_secrets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_shared_secrets")),
    )
