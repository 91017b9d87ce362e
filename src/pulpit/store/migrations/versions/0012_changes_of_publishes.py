"""Up to which event of the log a publication holds what was told."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Look the event up by the time of those publications that there are."""
    last_event = sa.Column("last_event", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    op.add_column("publications", last_event)
    op.execute(
        "UPDATE publications SET last_event = coalesce((SELECT number FROM events "
        "WHERE occurred_at <= publications.created_at ORDER BY number DESC LIMIT 1), 0)"
    )
