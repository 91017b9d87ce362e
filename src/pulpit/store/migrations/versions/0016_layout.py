"""Publications whose lists are made out of those before."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Store the layout of a publication; existing publications are rebuilt once."""
    op.add_column("publications", sa.Column("layout", sa.String(length=64), nullable=True))
