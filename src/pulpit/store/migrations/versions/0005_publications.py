"""Publications, the places where readers find them, and what places showed before."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables of publications, and let repositories count theirs."""
    op.add_column(
        "repositories", sa.Column("last_publication", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.create_table(
        "publications",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("repo_id", sa.String(length=255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("distributor_id", sa.String(length=255), nullable=False),
        sa.Column("distributor_object_id", sa.String(length=24), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("inventory", sa.String(length=64), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("file_count", sa.Integer(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("unit_counts", sa.Text(), nullable=False),
        sa.Column("made_of", sa.Text(), nullable=True),
        sa.Column("pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_publications_repo_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publications")),
    )
    op.create_index(
        op.f("ix_publications_distributor_object_id"), "publications", ["distributor_object_id"], unique=False
    )
    op.create_index("uq_publications_repo_id_number", "publications", ["repo_id", "number"], unique=True)
    op.create_table(
        "places",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("publication_id", sa.String(length=24), nullable=False),
        sa.Column("distributor_object_id", sa.String(length=24), nullable=False),
        sa.Column("shown_at", sa.BigInteger(), nullable=False),
        sa.Column("promoted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("only_promoted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["publication_id"], ["publications.id"], name=op.f("fk_places_publication_id")),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_places")),
    )
    op.create_index(op.f("ix_places_publication_id"), "places", ["publication_id"], unique=False)
    op.create_index(op.f("ix_places_distributor_object_id"), "places", ["distributor_object_id"], unique=False)
    op.create_table(
        "former_publications",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("publication_id", sa.String(length=24), nullable=False),
        sa.Column("hidden_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["publication_id"],
            ["publications.id"],
            name=op.f("fk_former_publications_publication_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("path", "publication_id", name=op.f("pk_former_publications")),
    )
