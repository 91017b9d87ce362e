"""Alembic's entry point: runs the steps in one transaction, on the connection that it is given."""

from alembic import context
from sqlalchemy import text

from pulpit.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with connection.begin(), context.begin_transaction():
    if connection.dialect.name == "postgresql":  # of several servers that start at once, one does it
        connection.execute(text("SELECT pg_advisory_xact_lock(7085751)"))
    context.run_migrations()
