"""Groups of repositories, and what users note about units."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of groups, and let units carry their users' metadata."""
    op.add_column("units", sa.Column("user_metadata", sa.Text(), nullable=True))
    op.create_table(
        "repository_groups",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("object_id", sa.String(length=24), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repository_groups")),
        sa.UniqueConstraint("object_id", name=op.f("uq_repository_groups_object_id")),
    )
    op.create_table(
        "repository_group_members",
        sa.Column("group_id", sa.String(length=255), nullable=False),
        sa.Column("repo_id", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["repository_groups.id"],
            name=op.f("fk_repository_group_members_group_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_repository_group_members_repo_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group_id", "repo_id", name=op.f("pk_repository_group_members")),
    )
    op.create_index(op.f("ix_repository_group_members_repo_id"), "repository_group_members", ["repo_id"], unique=False)
