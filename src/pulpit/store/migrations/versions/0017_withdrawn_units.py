"""Which units of a repository their upstream has withdrawn, as far as that was reported."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Count units that were yanked before as reported."""
    op.add_column("associations", sa.Column("withdrawn", sa.String(length=20), nullable=True))
    op.create_index(
        "ix_associations_withdrawn",
        "associations",
        ["repo_id"],
        sqlite_where=sa.text("withdrawn IS NOT NULL"),
        postgresql_where=sa.text("withdrawn IS NOT NULL"),
    )
    op.execute(
        sa.text(
            "UPDATE associations SET withdrawn = 'yanked' WHERE unit_type_id = 'python_package' AND unit_id IN "
            "(SELECT id FROM units WHERE type_id = 'python_package' AND metadata LIKE '%\"yanked\"\\:true%')"
        )
    )
