"""What listeners with lanes have settled beyond their position."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Keep it beside the position."""
    op.add_column("listeners", sa.Column("ahead", sa.Text()))
