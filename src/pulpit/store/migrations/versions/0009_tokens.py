"""Tokens, users who have to do with some repositories alone, and listeners that belong to such a user."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the table of tokens, and say of users and listeners which repositories they may see."""
    op.add_column("users", sa.Column("repo_ids", sa.Text(), nullable=True))
    op.add_column("listeners", sa.Column("owner", sa.String(length=255), nullable=True))
    op.add_column("listeners", sa.Column("visible", sa.Text(), nullable=True))
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("login", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["login"], ["users.login"], name=op.f("fk_tokens_login"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index("uq_tokens_login_name", "tokens", ["login", "name"], unique=True)
